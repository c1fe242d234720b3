"""An engine may go live only if it reproduces the golden tiles, whatever tile size it was built for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper

from jetspect.errors import EngineError, GoldenMismatchError
from jetspect.runtime.bundle import Bundle, GoldenTiles
from jetspect.runtime.engines.base import EngineInfo
from jetspect.runtime.engines.onnxruntime import OnnxRuntimeEngine
from jetspect.runtime.golden import check_golden
from jetspect.runtime.manifest import Precision

U8 = npt.NDArray[np.uint8]


class StaticEngine(OnnxRuntimeEngine):
    """Takes one batch and one tile size, as a TensorRT engine does; ``spoil`` moves every score by some levels."""

    def __init__(self, graph: bytes, *, batch: int, tile_px: int, spoil: int = 0) -> None:
        super().__init__(graph, threads=1)
        self._fixed = (batch, tile_px, tile_px, 3)
        self._spoil = spoil

    @property
    def dynamic(self) -> bool:
        return False

    def run(self, tiles: U8) -> U8:
        assert tiles.shape == self._fixed
        return np.clip(super().run(tiles).astype(np.int16) + self._spoil, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def small(metal_demo: Path) -> Bundle:
    """The shipped bundle with fewer golden tiles, to be quick."""
    bundle = Bundle.open(metal_demo)
    full = bundle.golden()
    golden = GoldenTiles(full.tiles[:2], full.scores[:2])
    bundle.golden = lambda *_: golden  # type: ignore[method-assign]
    return bundle


@pytest.fixture(scope="module")
def engine(small: Bundle) -> Iterator[OnnxRuntimeEngine]:
    with OnnxRuntimeEngine(small.graph("fp32")) as engine:
        yield engine


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_graphs_of_a_bundle_reproduce_its_golden_tiles(small: Bundle, precision: Precision) -> None:
    with OnnxRuntimeEngine(small.graph(precision), precision=precision) as engine:
        report = check_golden(engine, small, precision)
    tolerance = small.manifest.graphs[precision].tolerance
    assert report.tiles == 2
    assert report.max_levels <= tolerance.max_levels and report.mean_levels <= tolerance.mean_levels


def test_a_changed_weight_is_caught_and_the_worst_tile_is_named(small: Bundle) -> None:
    model = onnx.load_from_string(small.graph("fp32"))
    head = next(node for node in reversed(model.graph.node) if node.op_type in ("Conv", "ConvTranspose"))
    bias = next(t for t in model.graph.initializer if t.name == head.input[2])
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(0.5), bias.name))
    with (
        OnnxRuntimeEngine(model.SerializeToString()) as engine,
        pytest.raises(
            GoldenMismatchError, match=r"does not reproduce \d of 2 golden tiles .* tile \d is off by up to \d+"
        ),
    ):
        check_golden(engine, small, "fp32")


@pytest.mark.parametrize("step", [-2, 1])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_tile_of_another_size_is_compared_where_it_can_be(small: Bundle, step: int, batch: int) -> None:
    """Smaller ones stitch to the whole golden tile; in a larger one a halo at the right and bottom is left out."""
    contract, golden_px = small.manifest.tiling, small.manifest.golden.tile_px
    tile = golden_px + step * contract.stride_px
    assert tile > 2 * contract.halo_px
    with StaticEngine(small.graph("fp32"), batch=batch, tile_px=tile) as engine:
        report = check_golden(engine, small, "fp32", tile_px=tile, batch=batch)
    assert report.max_levels <= small.manifest.graphs["fp32"].tolerance.max_levels
    with (
        StaticEngine(small.graph("fp32"), batch=batch, tile_px=tile, spoil=40) as engine,
        pytest.raises(GoldenMismatchError, match=r"off by up to (3[89]|4[0-2]) of 255 levels"),
    ):
        check_golden(engine, small, "fp32", tile_px=tile, batch=batch)


def test_a_wrong_slot_of_a_batch_is_caught(small: Bundle) -> None:
    golden_px = small.manifest.golden.tile_px

    class OneBadSlot(StaticEngine):
        def run(self, tiles: U8) -> U8:
            scores = super().run(tiles)
            scores[1] ^= 64
            return scores

    with (
        OneBadSlot(small.graph("fp32"), batch=2, tile_px=golden_px) as engine,
        pytest.raises(GoldenMismatchError, match=r"off by up to 6[2-6] of"),
    ):
        check_golden(engine, small, "fp32", batch=2)


def test_a_blended_model_is_proven_at_the_golden_size_only(small: Bundle, engine: OnnxRuntimeEngine) -> None:
    blend = small.manifest.tiling.model_copy(update={"mode": "blend"})
    blended = Bundle.open(small.path)
    blended.manifest = small.manifest.model_copy(update={"tiling": blend})
    golden_px = small.manifest.golden.tile_px
    assert check_golden(engine, blended, "fp32").max_levels <= 2
    with pytest.raises(EngineError, match=f"build it for tiles of {golden_px} px"):
        check_golden(engine, blended, "fp32", tile_px=golden_px + small.manifest.tiling.stride_px)


def test_an_engine_that_answers_in_another_shape_is_refused(small: Bundle, engine: OnnxRuntimeEngine) -> None:
    class Cropping:
        info = EngineInfo("cropping", "1", "cpu", "fp32")
        dynamic = True

        def run(self, tiles: U8) -> U8:
            return engine.run(tiles)[:, :, :-1]

        def close(self) -> None: ...

        def __enter__(self) -> Cropping:
            return self

        def __exit__(self, *error: object) -> None: ...

    with pytest.raises(EngineError, match=re.escape("cropping 1 fp32 on cpu returns scores (1, ")):
        check_golden(Cropping(), small, "fp32")
