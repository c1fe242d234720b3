"""The real PyCUDA under jetspect's driver, on a CUDA driver made of this processor. Run by build.sh, not by CI."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from jetspect.benchmarks.gpu_checks import PassThrough
from jetspect.errors import EngineError
from jetspect.runtime.cuda.driver import PyCuda
from jetspect.runtime.manifest import ClassSpec, OutputContract, TilingContract
from jetspect.runtime.postprocess.cuda import ComponentFinder, pitch_of
from jetspect.runtime.postprocess.reference import find_components
from jetspect.runtime.private import private_folder
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.scoring_cuda import CudaMapper


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETSPECT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(params=[False, True], ids=["discrete", "integrated"])
def cuda(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[PyCuda]:
    if request.param:
        monkeypatch.setenv("FAKE_CUDA_INTEGRATED", "1")
    with PyCuda() as cuda:
        yield cuda
    assert left() == ""


def left() -> str:
    """What the driver still holds, one line per kind."""
    library = ctypes.CDLL("libcuda.so.1")
    library.fake_left.restype = ctypes.c_char_p
    told: bytes = library.fake_left()
    return told.decode()


def test_the_device_is_described(cuda: PyCuda) -> None:
    assert str(cuda.info) == "a processor (sm_90, CUDA 12.6)"
    assert cuda.info.memory_bytes == 1 << 32
    assert cuda.stream != 0


def test_what_is_copied_there_comes_back(cuda: PyCuda) -> None:
    data = np.arange(1000, dtype=np.int32)
    before = cuda.free_bytes()
    buffer = cuda.alloc(data.nbytes)
    assert before - cuda.free_bytes() == data.nbytes
    cuda.upload(buffer, data)
    got = np.zeros_like(data)
    cuda.download(got, buffer)
    cuda.synchronise()
    assert (got == data).all()
    other = cuda.alloc(data.nbytes)
    cuda.copy(other, buffer)
    cuda.free(buffer)
    buffer = other
    cuda.fill(buffer.at(4 * 500), 255)
    cuda.download(got, buffer)
    cuda.synchronise()
    assert (got[:500] == data[:500]).all() and (got[500:] == -1).all()
    cuda.free(buffer)
    assert cuda.free_bytes() == before


def test_host_memory_is_the_devices_own_where_they_share_it(cuda: PyCuda) -> None:
    array, mapped = cuda.host((3, 4), np.uint8)
    assert array.shape == (3, 4)
    assert (mapped is not None) == cuda.info.integrated
    assert mapped is None or (mapped.address, mapped.nbytes) == (array.ctypes.data, 12)


def test_kernels_give_the_references_answer(cuda: PyCuda) -> None:
    """Every kind of argument: buffers, ints, unsigned ints and doubles."""
    rng = np.random.default_rng(0)
    output = OutputContract(
        classes=(ClassSpec(name="pit", threshold=0.8, threshold_low=0.4, max_aspect=2.5, min_area_px=3),),
        open_px=1,
        close_px=2,
    )
    scores = np.zeros((200, pitch_of(333)), np.uint8)
    scores[:, :333] = np.where(rng.random((200, 333)) < 0.7, 255, 0)
    buffer = cuda.alloc(scores.nbytes)
    cuda.upload(buffer, scores)
    finder = ComponentFinder(cuda, (200, 333), places=7)
    found, _ = finder.find(buffer, 0, output)
    expected = find_components(scores[None, :, :333], output)
    assert len(expected) > 7
    assert [(c.box_yxyx, c.area_px, c.sum_x, c.bitmap.tobytes()) for c in found] == [
        (c.box_yxyx, c.area_px, c.sum_x, c.bitmap.tobytes()) for c in expected
    ]
    finder.close()


def test_marks_tell_the_time_between_them(cuda: PyCuda) -> None:
    buffer = cuda.alloc(1 << 20)
    start = cuda.mark()
    cuda.fill(buffer, 1)
    assert cuda.mark().ms_since(start) > 0


def test_a_recorded_graph_repeats_its_work(cuda: PyCuda) -> None:
    score = np.full((8, 32), 200, np.uint8)
    source, mask = cuda.alloc(score.nbytes), cuda.alloc(8 * 4)
    cuda.fill(mask, 0)
    replay = cuda.graph(lambda: cuda.launch("binarise", (8, 1, 1), source, mask, 8, 100))
    got = np.ones(8, np.uint32)
    cuda.download(got, mask)
    cuda.synchronise()
    assert not got.any()  # recording runs nothing
    cuda.upload(source, score)
    replay()
    cuda.download(got, mask)
    cuda.synchronise()
    assert (got == 0xFFFFFFFF).all()


def test_another_thread_inspects(cuda: PyCuda) -> None:
    """As in a station: opened here, used there for many frames of changing kinds, and closed here."""
    contract = TilingContract(mode="exact", stride_px=16, halo_px=16, halo_error=0.0, tile_px=96)
    told: list[object] = []

    def inspect() -> None:
        with PassThrough(cuda, 2, 96) as engine:
            mapper = CudaMapper(contract, 1, 1, engine, TilingSettings(batch=2))
            for seed in range(5):
                shape = ((130, 140), (200, 90), (200, 90, 3))[seed % 3]
                frame = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
                _, stages = mapper.score(frame)
                grey = frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
                told.append(((mapper.download()[0] == grey).all(), min(stages.spent_ms()) >= 0))
            mapper.close()

    thread = threading.Thread(target=inspect)
    thread.start()
    thread.join()
    assert told == [(True, True)] * 5


def test_closed_by_another_thread() -> None:
    cuda = PyCuda()
    cuda.launch("flatten", (1, 1, 1), None, None, 0)
    cuda.mark()
    cuda.host((5,), np.uint8)
    thread = threading.Thread(target=cuda.close)
    thread.start()
    thread.join()
    assert left() == ""


def test_kept_kernels_that_are_damaged_are_made_anew(cuda: PyCuda) -> None:
    (kept,) = private_folder("kernels").glob("*.cubin")
    kept.write_bytes(b"")
    cuda.launch("flatten", (1, 1, 1), None, None, 0)
    assert kept.stat().st_size > 0


def test_too_little_memory_is_said(cuda: PyCuda) -> None:
    with pytest.raises(
        EngineError, match=r"cannot give 8192.0 MiB of memory on a processor.*out of memory.*smaller tile"
    ):
        cuda.alloc(8 << 30)


def test_an_unknown_kernel_is_said(cuda: PyCuda) -> None:
    with pytest.raises(EngineError, match="cannot run nothing_like_it"):
        cuda.launch("nothing_like_it", (1, 1, 1), 1)


def test_a_copy_that_does_not_fit_is_refused(cuda: PyCuda) -> None:
    with pytest.raises(EngineError, match=r"a copy of 8 bytes .* has 4"):
        cuda.upload(cuda.alloc(4), np.zeros(8, np.uint8))


def test_a_closed_device_says_so(cuda: PyCuda) -> None:
    cuda.close()
    cuda.close()
    with pytest.raises(EngineError, match=r"was closed and cannot give"):
        cuda.alloc(1)


def test_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match="there is no CUDA device 3, this machine has 1"):
        PyCuda(3)
    monkeypatch.setenv("FAKE_CUDA_BROKEN", "1")
    with pytest.raises(EngineError, match=r"cannot open the device.*nvidia-smi"):
        PyCuda()


def test_no_driver_at_all() -> None:
    code = "from jetspect.runtime.cuda.driver import PyCuda; PyCuda()"
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert "EngineError: no CUDA driver: libcuda.so.1 cannot be loaded" in done.stderr
