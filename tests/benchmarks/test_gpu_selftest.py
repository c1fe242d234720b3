"""The self-test of a GPU, on the processor that stands in for one: it must pass there, and fail where a kernel is wrong."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from host_cuda import HostCuda
from rich.console import Console
from typer.testing import CliRunner

from jetspect.benchmarks.gpu_selftest import SelfTest, self_test, show
from jetspect.cli import app
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.cuda.base import Argument

DEMO = Path(__file__).parents[2] / "bundles/metal-demo"


def test_a_device_that_computes_right_passes() -> None:
    with HostCuda() as cuda:
        before = cuda.free_bytes()
        result = self_test(cuda, None, frame_wh=(900, 700), tile_px=256, batch=2, runs=2)
        assert cuda.free_bytes() == before
    assert result.ok, [c for c in result.checks if not c.ok]
    assert len(result.checks) > 25
    assert result.timing.tiles == 7 * 5  # a halo of 64 px
    assert not result.engines
    assert len([c for c in result.checks if c.name.startswith("frames in")]) == 4


def test_a_bundle_that_no_engine_is_proven_with_is_not_fit() -> None:
    with HostCuda() as cuda:
        result = self_test(cuda, Bundle.open(DEMO), frame_wh=(300, 200), tile_px=256, batch=1, runs=1)
    assert all(c.ok for c in result.checks)
    assert not result.ok
    assert {e.state for e in result.engines} == {"missing"}
    told = {(e.kind, e.precision): e.told for e in result.engines}
    assert "onnxruntime-gpu" in told["onnxruntime-cuda", "fp32"]
    assert "tensorrt" in told["tensorrt", "fp16"].lower()


class Wrong(HostCuda):
    """A device on which one kernel does nothing."""

    broken = ""

    def launch(self, kernel: str, threads: tuple[int, int, int], *arguments: Argument) -> None:
        if kernel != self.broken:
            super().launch(kernel, threads, *arguments)


@pytest.mark.parametrize(
    ("kernel", "found_by"),
    [
        ("join_rows", "components of"),
        ("dilate", "components of a part opened"),
        ("scatter_cores", "tiles of"),
        ("blend_tile", "frames in"),
    ],
)
def test_a_device_that_computes_wrong_fails(kernel: str, found_by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wrong, "broken", kernel)
    with Wrong() as cuda:
        result = self_test(cuda, None, frame_wh=(300, 200), tile_px=256, batch=1, runs=1)
    assert not result.ok
    assert any(c.name.startswith(found_by) for c in result.checks if not c.ok)
    told = printed(result)
    assert "wrong: " in told


def printed(result: SelfTest) -> str:
    out = StringIO()
    show(result, Console(file=out, width=120))
    return out.getvalue()


def test_what_is_printed_and_kept_is_the_same() -> None:
    with HostCuda() as cuda:
        result = self_test(cuda, None, frame_wh=(640, 480), tile_px=256, batch=1, runs=3)
    kept = json.loads(json.dumps(result.as_dict()))
    assert kept["ok"] is True
    assert [s["name"] for s in kept["timing"]["stages"]] == ["upload", "gather", "scatter", "find", "all"]
    total = kept["timing"]["stages"][-1]
    assert total["ms"] == pytest.approx(sum(s["ms"] for s in kept["timing"]["stages"][:-1]))
    assert np.isfinite(total["times_floor"])
    assert f"{total['ms']:.3f} ms" in printed(result)


def test_a_gpu_that_shares_memory_has_nothing_to_upload() -> None:
    with HostCuda(integrated=True) as cuda:
        result = self_test(cuda, None, frame_wh=(640, 480), tile_px=256, batch=1, runs=2)
    assert result.timing.mapped
    assert result.timing.stages[0].floor_ms == 0
    assert "reads the frame where it lies" in printed(result)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--frame", "12by9"], "WIDTHxHEIGHT"),
        (["--frame", "0x9"], "WIDTHxHEIGHT"),
        (["--tile", "1000"], "multiple of 16 px, got 1000; next larger: 1008"),
        (["no/such/bundle"], "no/such/bundle does not exist"),
    ],
)
def test_bad_input_is_refused_before_the_device_is_opened(arguments: list[str], told: str) -> None:
    done = CliRunner().invoke(app, ["device", "selftest", *arguments])
    assert told in str(done.exception)


def test_a_machine_without_a_gpu_says_what_is_missing() -> None:
    done = CliRunner().invoke(app, ["device", "selftest"])
    assert "PyCUDA is needed" in str(done.exception) or "no CUDA driver" in str(done.exception)
