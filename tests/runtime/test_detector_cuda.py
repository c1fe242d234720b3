"""What runs around the engine on a GPU gives the answer that the processor gives, bit by bit."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from device_engines import Echo, OnDevice
from host_cuda import HostCuda, view
from hypothesis import given, settings
from hypothesis import strategies as st

from jetspect.errors import InputError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.detector import HostDetector, open_detector
from jetspect.runtime.detector_cuda import CudaDetector
from jetspect.runtime.engines.onnxruntime import OnnxRuntimeEngine
from jetspect.runtime.foreground import ForegroundMask
from jetspect.runtime.frames import Frame
from jetspect.runtime.inspector import Inspector, InspectorSettings
from jetspect.runtime.manifest import Manifest
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.scoring import ScoreMapper
from jetspect.runtime.scoring_cuda import CudaMapper
from jetspect.runtime.sources.synthetic import render_part

U8 = npt.NDArray[np.uint8]
TILE = 96


def manifest_of(bundle: Bundle, mode: str, channels: int, stride: int = 16) -> Manifest:
    data = bundle.manifest.model_dump()
    data["tiling"] = {"mode": mode, "stride_px": stride, "halo_px": 16, "halo_error": 0.0, "tile_px": TILE}
    data["input"] |= {"channels": channels, "colour_order": "BGR" if channels == 3 else "GREY"}
    data["input"] |= {"mean": (100.0,) * channels, "std": (50.0,) * channels}
    return Manifest.model_validate(data)


def both(cuda: HostCuda, manifest: Manifest, tiling: TilingSettings) -> tuple[HostDetector, CudaDetector]:
    classes = len(manifest.output.classes)
    shape = tiling.batch, TILE, TILE, manifest.input.channels
    host = HostDetector(ScoreMapper(manifest, Echo(classes), tiling), manifest.output)
    device = open_detector(manifest, OnDevice(Echo(classes), cuda, shape, classes), tiling)
    assert isinstance(device, CudaDetector)
    return host, device


def mask_of(rng: np.random.Generator, hw: tuple[int, int], scale: int, kind: str) -> ForegroundMask | None:
    if kind == "none":
        return None
    blocks = np.zeros((max(1, hw[0] // scale), max(1, hw[1] // scale)), np.uint8)
    blocks[rng.random(blocks.shape) < {"full": 1.0, "noise": 0.05, "empty": 0.0}[kind]] = 255
    return ForegroundMask(blocks, blocks, scale, hw)


@settings(max_examples=80)
@given(
    st.integers(1, 260),
    st.integers(1, 260),
    st.sampled_from([(3, 3), (3, 1), (1, 3), (1, 1)]),
    st.integers(1, 4),
    st.sampled_from(["exact", "blend"]),
    st.booleans(),
    st.booleans(),
    st.lists(st.sampled_from(["none", "full", "noise", "empty"]), min_size=2, max_size=4),
    st.integers(2, 2**31),
)
def test_frames_are_scored_and_searched_as_on_the_processor(
    bundle: Bundle,
    height: int,
    width: int,
    channels: tuple[int, int],
    batch: int,
    mode: str,
    region: bool,
    integrated: bool,
    kinds: list[str],
    seed: int,
) -> None:
    """Frames with alternating masks: nothing of the frame before may shine through."""
    rng = np.random.default_rng(seed)
    of_frame, of_model = channels
    roi = (width // 5, height // 7, width - width // 8, height - height // 6) if region else None
    manifest = manifest_of(bundle, mode, of_model)
    with HostCuda(integrated=integrated, seed=seed % 1000) as cuda:
        host, device = both(cuda, manifest, TilingSettings(roi_xyxy=roi, batch=batch))
        for kind in kinds:
            shape = (height, width) if of_frame == 1 else (height, width, 3)
            image = rng.integers(0, 256, shape, dtype=np.uint8)
            mask = mask_of(rng, (height, width), 7, kind)
            expected, got = host.detect(image, mask), device.detect(image, mask)
            assert (device.score_map() == host.score_map()).all()
            assert [c.box_yxyx for c in got.components] == [c.box_yxyx for c in expected.components]
            assert [c.sum_score for c in got.components] == [c.sum_score for c in expected.components]
            assert (got.grid.tiles, got.grid.skipped) == (expected.grid.tiles, expected.grid.skipped)
            if mask is not None:
                assert device.share(mask) == host.share(mask)


def test_grey_is_what_opencv_makes_of_colour(bundle: Bundle) -> None:
    """All of a cube of colours, so that no rounding is left to luck."""
    levels = np.arange(0, 256, 5, dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(52, 52 * 52, 3)
    with HostCuda() as cuda:
        _, device = both(cuda, manifest_of(bundle, "exact", 1), TilingSettings())
        device.detect(np.ascontiguousarray(cube))
        assert (device.score_map()[0] == cv2.cvtColor(cube, cv2.COLOR_BGR2GRAY)).all()


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_places_that_no_vector_load_can_reach(bundle: Bundle, stride: int) -> None:
    """Tiles that begin anywhere: the copies of 16 bytes must give way to smaller ones."""
    manifest = manifest_of(bundle, "exact", 3, stride)
    image = np.random.default_rng(stride).integers(0, 256, (201, 203, 3), dtype=np.uint8)
    with HostCuda() as cuda:
        host, device = both(cuda, manifest, TilingSettings(batch=2))
        host.detect(image)
        device.detect(image)
        assert (device.score_map() == host.score_map()).all()


def test_a_frame_in_the_devices_own_memory_is_not_copied(bundle: Bundle) -> None:
    with HostCuda(integrated=True) as cuda:
        host, device = both(cuda, manifest_of(bundle, "exact", 3), TilingSettings())
        frame = device.host_frame((130, 140, 3))
        frame[:] = np.random.default_rng(0).integers(0, 256, frame.shape)
        device.detect(frame)
        host.detect(frame)
        assert (device.score_map() == host.score_map()).all()
        assert device.host_frame((130, 140, 3)) is frame


def test_frames_of_another_size_and_memory_that_comes_back(bundle: Bundle) -> None:
    with HostCuda() as cuda:
        _, device = both(cuda, manifest_of(bundle, "blend", 3), TilingSettings())
        device.prepare((64, 64))
        device.close()
        before = cuda.free_bytes()
        for hw in ((100, 50), (300, 200), (100, 50)):
            image = np.full((*hw, 3), 200, np.uint8)
            assert device.detect(image).components[0].area_px == hw[0] * hw[1]
        device.close()
        pinned = 4 * (256 * 56 + 8) + 3 * 3 * 300 * 200 + 1000
        assert before - cuda.free_bytes() < pinned


def test_an_engine_for_other_tiles_is_refused(bundle: Bundle) -> None:
    manifest = manifest_of(bundle, "exact", 3)
    classes = len(manifest.output.classes)
    with HostCuda() as cuda:
        engine = OnDevice(Echo(classes), cuda, (2, TILE, TILE, 3), classes)
        with pytest.raises(InputError, match=r"2 tiles of 96 x 96 px.*asks for 1 of 96 x 96 px.*jetspect build"):
            open_detector(manifest, engine, TilingSettings())
        with pytest.raises(InputError, match="before the first frame"):
            CudaMapper(manifest.tiling, 3, classes, engine, TilingSettings(batch=2)).download()


def test_a_whole_inspection_is_the_same(bundle: Bundle) -> None:
    """The shipped demo model over a rendered part: verdict, defects and polygons."""
    part = render_part(100, (700, 500), texture="brushed", defects=4).image
    tile, classes = bundle.manifest.tiling.tile_px, len(bundle.manifest.output.classes)
    tiling = InspectorSettings.model_validate({"tiling": {"tile_px": tile, "batch": 2}})
    graph = bundle.graph("fp32")
    with HostCuda() as cuda:
        on_device = OnDevice(OnnxRuntimeEngine(graph), cuda, (2, tile, tile, bundle.manifest.input.channels), classes)
        with (
            Inspector(bundle, on_device, tiling) as device,
            Inspector(bundle, OnnxRuntimeEngine(graph), tiling) as host,
        ):
            got, expected = device.inspect(Frame(part, "p")), host.inspect(Frame(part, "p"))
            assert got.defects == expected.defects
            assert (got.verdict, got.reasons) == (expected.verdict, expected.reasons)
            assert len(got.defects) > 0
            assert got.timings.engine_ms > 0
            assert (device.segment(part) == host.segment(part)).all()


@pytest.mark.parametrize("kernel", ["gather_f32", "gather_f16"])
@pytest.mark.parametrize("rgb", [0, 1])
def test_tiles_for_foreign_engines_are_normalised_planes(kernel: str, rgb: int) -> None:
    dtype = np.float32 if kernel == "gather_f32" else np.float16
    rng = np.random.default_rng(rgb)
    frame = rng.integers(0, 256, (50, 60, 3), dtype=np.uint8)
    mean, std = np.array([103.5, 116.3, 123.7], np.float32), np.array([57.4, 57.1, 58.4], np.float32)
    origins = np.array([(0, 0), (16, 32)], np.int32)
    with HostCuda() as cuda:
        buffers = []
        for array in (frame, origins, mean, std):
            buffers.append(cuda.alloc(array.nbytes))
            cuda.upload(buffers[-1], array)
        tiles = cuda.alloc(2 * 3 * 32 * 32 * np.dtype(dtype).itemsize)
        device_frame, device_origins, device_mean, device_std = buffers
        cuda.launch(
            kernel,
            (32 * 32, 1, 2),
            device_frame,
            50,
            60,
            3,
            device_origins,
            tiles,
            32,
            32,
            3,
            rgb,
            device_mean,
            device_std,
        )
        cuda.synchronise()
        got = view(tiles, (2, 3, 32, 32), dtype).copy()
    for tile, (y, x) in zip(got, origins.tolist(), strict=True):
        part = frame[y : y + 32, x : x + 32]
        part = np.pad(part, ((0, 32 - part.shape[0]), (0, 32 - part.shape[1]), (0, 0)), mode="reflect")
        colours = part[..., ::-1] if rgb else part
        assert (tile == ((colours.astype(np.float32) - mean) / std).astype(dtype).transpose(2, 0, 1)).all()
