"""A machine with a TensorRT of a chosen version, in the host's memory."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from jetspect.runtime.bundle import Bundle, GoldenTiles

HERE = Path(__file__).resolve().parent


def load(name: str) -> ModuleType:
    """Import a helper that lies beside the tests."""
    known = f"jetspect_tests_{name}"
    if known not in sys.modules:
        spec = importlib.util.spec_from_file_location(known, HERE / f"{name}.py")
        assert spec is not None and spec.loader is not None
        sys.modules[known] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[known]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for a version once for each whose bindings exist for this Python."""
    if "trt_version" in metafunc.fixturenames:
        metafunc.parametrize("trt_version", load("trt_bindings").VERSIONS)


class Machine:
    """What a test may set: the version, what goes wrong, and the device."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.faults: Any = None
        self.cudas: list[Any] = []
        self.free = 4 * 1024**3
        self.info = load("host_cuda").ORIN

    def install(self, version: str = "10.13.3.9") -> Any:
        """Make ``import tensorrt`` find the stand-in; the next device is a host's memory."""
        fake, host = load("fake_tensorrt"), load("host_cuda")
        self.faults = fake.Faults()
        self._patch.setitem(sys.modules, "tensorrt", fake.make(version, self.faults))

        def open_cuda() -> Any:
            self.cudas.append(host.HostCuda(self.info, free=self.free))
            return self.cudas[-1]

        self._patch.setattr("jetspect.runtime.engines.device.open_cuda", open_cuda)
        return self.faults


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """A machine with TensorRT 10.13; engines go under the test's folder."""
    monkeypatch.setenv("JETSPECT_ENGINE_DIR", str(tmp_path / "engines"))
    made = Machine(monkeypatch)
    made.install()
    return made


@pytest.fixture(scope="session")
def helper() -> Callable[[str], ModuleType]:
    return load


@pytest.fixture
def small(metal_demo: Path) -> Bundle:
    """The shipped bundle with one golden tile, to be quick."""
    bundle = Bundle.open(metal_demo)
    full = bundle.golden()
    golden = GoldenTiles(full.tiles[:1], full.scores[:1])
    bundle.golden = lambda *_: golden  # type: ignore[method-assign]
    return bundle
