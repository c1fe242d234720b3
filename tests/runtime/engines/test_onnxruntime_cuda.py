"""ONNX Runtime over a device's memory, with the processor as device; CUDA's own provider is proven on GPUs by the self-test."""

from __future__ import annotations

import numpy as np
import pytest
from host_cuda import HostCuda

from jetspect.errors import EngineError, MissingDependencyError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines.base import DeviceEngine
from jetspect.runtime.engines.onnxruntime_cuda import OnnxRuntimeCudaEngine
from jetspect.runtime.golden import check_golden


class OnProcessor(OnnxRuntimeCudaEngine):
    """The same calls to ONNX Runtime, with its provider for processors; its runs wait for what is queued before them."""

    PROVIDER = "CPUExecutionProvider"
    DEVICE = "cpu"

    def _launch(self) -> None:
        self.cuda.synchronise()
        super()._launch()


def engine_for(bundle: Bundle, cuda: HostCuda, batch: int = 1, **options: object) -> OnProcessor:
    tile, channels = bundle.manifest.golden.tile_px, bundle.manifest.input.channels
    shape = batch, tile, tile, channels
    return OnProcessor(bundle.graph("fp32"), cuda=cuda, shape=shape, **options)  # type: ignore[arg-type]


def test_golden_tiles_are_reproduced_from_device_memory(bundle: Bundle) -> None:
    with HostCuda() as cuda, engine_for(bundle, cuda, 2) as engine:
        assert isinstance(engine, DeviceEngine)
        assert check_golden(engine, bundle, "fp32", batch=2).max_levels <= 1
        assert str(engine.info).startswith("onnxruntime-cuda")


def test_memory_is_given_back_and_the_device_closed(bundle: Bundle) -> None:
    cuda = HostCuda()
    engine = engine_for(bundle, cuda, owns_cuda=True)
    engine.close()
    engine.close()
    assert cuda.closed
    with pytest.raises(EngineError, match="is closed"):
        OnnxRuntimeCudaEngine.enqueue(engine)


def test_only_the_shape_it_was_opened_for(bundle: Bundle) -> None:
    wrong = pytest.raises(EngineError, match=r"was made for contiguous uint8 tiles \(1, .*, got uint8 \(2, 8, 8, 3\)")
    with HostCuda() as cuda, engine_for(bundle, cuda) as engine, wrong:
        engine.run(np.zeros((2, 8, 8, 3), np.uint8))


def test_too_little_memory_gives_everything_back(bundle: Bundle) -> None:
    cuda = HostCuda(memory_bytes=1000)
    with pytest.raises(EngineError, match="bytes left"):
        engine_for(bundle, cuda, owns_cuda=True)
    assert cuda.closed


def test_a_corrupt_graph(bundle: Bundle) -> None:
    with HostCuda() as cuda, pytest.raises(EngineError, match="cannot run this graph on host"):
        OnProcessor(bundle.graph("fp32")[:1000], cuda=cuda, shape=(1, 64, 64, 3))


def test_an_onnx_runtime_without_cuda_says_what_to_install(bundle: Bundle) -> None:
    """Never the processor in its place."""
    with HostCuda() as cuda, pytest.raises(MissingDependencyError, match=r"with CUDA .* pip install onnxruntime-gpu"):
        OnnxRuntimeCudaEngine(bundle.graph("fp32"), cuda=cuda, shape=(1, 64, 64, 3))
