"""A machine with TensorRT, made of a processor: a stand-in for the package over a stand-in for the device."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import fake_tensorrt
import pytest
from host_cuda import HostCuda

from jetspect.runtime.bundle import Bundle
from jetspect.runtime.cuda.base import Buffer, CudaInfo
from jetspect.runtime.engines import open_engine
from jetspect.runtime.engines.device import BuildReport, build_engine
from jetspect.runtime.engines.options import DeviceOptions
from jetspect.runtime.engines.tensorrt import TensorRtEngine

ORIN = CudaInfo("Orin", (8, 7), True, (12, 6), 8 * 1024**3)

SHAPE = (2, 384, 384, 3)
OPTIONS = DeviceOptions(tile_px=384, batch=2)


class Orin(HostCuda):
    """A host's memory that says it is an Orin; counts what an engine holds, and replays of graphs."""

    def __init__(self, info: CudaInfo, memory_bytes: int) -> None:
        super().__init__(memory_bytes=memory_bytes)
        self.info = info
        self.stream = id(self)
        fake_tensorrt.STREAMS[self.stream] = self.queue
        self.replays = 0
        self.held: set[int] = set()

    def alloc(self, nbytes: int) -> Buffer:
        buffer = super().alloc(nbytes)
        self.held.add(buffer.address)
        return buffer

    def free(self, buffer: Buffer) -> None:
        super().free(buffer)
        self.held.remove(buffer.address)

    def host(self, shape: tuple[int, ...], dtype: object) -> object:  # type: ignore[override]
        array, seen = super().host(shape, dtype)
        self.held.discard(array.ctypes.data)  # goes with its array
        return array, seen

    def graph(self, work: Callable[[], None]) -> Callable[[], None]:
        recorded = super().graph(work)

        def replay() -> None:
            self.replays += 1
            recorded()

        return replay


class Machine:
    """What a test may set: the version, what goes wrong, and the device."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.faults = fake_tensorrt.Faults()
        self.cudas: list[Orin] = []
        self.free = 4 * 1024**3
        self.info = ORIN

    def install(self, version: str = "10.13.3.9") -> fake_tensorrt.Faults:
        """Make ``import tensorrt`` find the stand-in; the next device is a host's memory."""
        self.faults = fake_tensorrt.Faults()
        self._patch.setitem(sys.modules, "tensorrt", fake_tensorrt.make(version, self.faults))

        def open_cuda() -> Orin:
            self.cudas.append(Orin(self.info, self.free))
            return self.cudas[-1]

        self._patch.setattr("jetspect.runtime.engines.device.open_cuda", open_cuda)
        return self.faults


def build(bundle: Bundle, **changes: Any) -> BuildReport:
    return build_engine(bundle, "fp32", dataclasses.replace(OPTIONS, **changes))


def opened(bundle: Bundle, **changes: Any) -> TensorRtEngine:
    engine, _ = open_engine(bundle, kind="tensorrt", device=dataclasses.replace(OPTIONS, **changes))
    assert isinstance(engine, TensorRtEngine)
    return engine
