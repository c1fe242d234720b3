"""A machine with a TensorRT of a chosen version, and a small bundle."""

from __future__ import annotations

from pathlib import Path

import pytest
import trt_bindings
from trt_machine import Machine

from jetspect.runtime.bundle import Bundle, GoldenTiles


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for a version once for each whose bindings exist for this Python."""
    if "trt_version" in metafunc.fixturenames:
        metafunc.parametrize("trt_version", trt_bindings.VERSIONS)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """A machine with TensorRT 10.13; engines go under the test's folder."""
    monkeypatch.setenv("JETSPECT_ENGINE_DIR", str(tmp_path / "engines"))
    made = Machine(monkeypatch)
    made.install()
    return made


@pytest.fixture
def small(metal_demo: Path) -> Bundle:
    """The shipped bundle with one golden tile, to be quick."""
    bundle = Bundle.open(metal_demo)
    full = bundle.golden()
    golden = GoldenTiles(full.tiles[:1], full.scores[:1])
    bundle.golden = lambda *_: golden  # type: ignore[method-assign]
    return bundle
