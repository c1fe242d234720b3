from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_graphs import graph
from onnx import TensorProto

from jetspect.errors import EngineError, GoldenMismatchError, InputError, MissingDependencyError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import open_engine
from jetspect.runtime.engines.openvino import OpenVinoEngine
from jetspect.runtime.inspector import Inspector
from jetspect.runtime.sources.synthetic import render_part


def test_tiles_go_in_and_scores_come_out_in_reused_memory() -> None:
    with OpenVinoEngine(graph(), threads=1) as engine:
        rng = np.random.default_rng(0)
        tiles = rng.integers(0, 255, (2, 8, 9, 3), dtype=np.uint8)
        first = engine.run(tiles)
        assert (first == tiles.transpose(0, 3, 1, 2)).all()
        other = rng.integers(0, 255, (1, 5, 6, 3), dtype=np.uint8)
        assert (engine.run(other) == other.transpose(0, 3, 1, 2)).all()
        second = engine.run(np.zeros_like(tiles))
        assert np.shares_memory(first, second)
        assert not second.any()
        assert engine.dynamic
        assert engine.decisions is None
        assert str(engine.info).startswith("openvino ")
        assert engine.info.device == "cpu x1"


def test_tiles_that_may_not_be_written_to_are_taken_too() -> None:
    tiles = np.full((1, 4, 4, 3), 7, np.uint8)
    tiles.flags.writeable = False
    with OpenVinoEngine(graph(), threads=1) as engine:
        assert (engine.run(tiles) == 7).all()


def test_many_shapes_do_not_pile_up() -> None:
    with OpenVinoEngine(graph(), threads=1) as engine:
        for edge in range(1, 30):
            assert engine.run(np.full((1, edge, edge, 3), edge, np.uint8)).min() == edge
        assert len(engine._scores) <= 8


def test_a_graph_of_fixed_size_is_not_dynamic() -> None:
    with OpenVinoEngine(graph(shape=(1, 16, 16, 3))) as engine:
        assert not engine.dynamic
        with pytest.raises(EngineError, match="failed on tiles"):
            engine.run(np.zeros((1, 8, 8, 3), np.uint8))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (b"", "cannot load"),
        (b"not onnx at all", "cannot load"),
        (graph(TensorProto.FLOAT), "takes f32"),
        (graph(shape=("N", "H", "W", 4)), "uint8 N x H x W x 1 or 3"),
    ],
)
def test_a_graph_that_is_none_of_ours_is_refused(model: bytes, says: str) -> None:
    with pytest.raises(EngineError, match=says) as caught:
        OpenVinoEngine(model)
    assert "\n" not in str(caught.value)
    assert "Exception from" not in str(caught.value)


@pytest.mark.parametrize(
    "tiles",
    [
        np.zeros((1, 8, 8, 1), np.uint8),
        np.zeros((1, 8, 8, 3), np.float32),
        np.zeros((1, 8, 16, 3), np.uint8)[:, :, ::2],
    ],
)
def test_what_are_no_tiles_is_refused(tiles: Any) -> None:
    with OpenVinoEngine(graph()) as engine, pytest.raises(EngineError, match="takes contiguous uint8 tiles"):
        engine.run(tiles)


def test_threads_are_counted() -> None:
    with pytest.raises(InputError, match="0 \\(all cores\\) or more, got -1"):
        OpenVinoEngine(graph(), threads=-1)


def test_without_the_package_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'jetspect\[openvino\]'"):
        OpenVinoEngine(graph())


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_it_finds_what_onnx_runtime_finds(metal_demo: Path, precision: str) -> None:
    part = render_part(3, (640, 480), texture="brushed", defects=4)
    found = {}
    for kind in ("onnxruntime", "openvino"):
        bundle = Bundle.open(metal_demo)
        engine, golden = open_engine(bundle, kind=kind, precision=precision)  # type: ignore[arg-type]
        assert golden.max_levels <= 2
        with Inspector(bundle, engine) as inspector:
            found[kind] = inspector.segment(part.image)
    assert found["onnxruntime"].any()
    union = (found["onnxruntime"] | found["openvino"]) > 0
    assert (found["onnxruntime"] == found["openvino"])[union].mean() > 0.995


def test_a_decision_comes_as_second_output(brightest: Any, tmp_path: Path) -> None:
    whole_bundle = Bundle.open(brightest.write(tmp_path / "b"))
    tiles = whole_bundle.golden("fp32").tiles[:1]
    answers = []
    for kind in ("onnxruntime", "openvino"):
        engine, _ = open_engine(whole_bundle, kind=kind)
        with engine:
            engine.run(np.ascontiguousarray(tiles))
            answers.append(engine.decisions)
    assert answers[0] is not None
    assert (answers[0] == answers[1]).all()


def test_an_engine_that_does_not_give_the_golden_answers_does_not_go_live(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = OpenVinoEngine.run
    monkeypatch.setattr(OpenVinoEngine, "run", lambda self, tiles: np.roll(run(self, tiles), 1, axis=2))
    with pytest.raises(GoldenMismatchError, match="openvino"):
        open_engine(bundle, kind="openvino")
