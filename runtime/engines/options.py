"""What engines on a CUDA device are opened with: the tile shape, the device, and the proof at the end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jetspect.errors import InputError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.cuda.base import Cuda
from jetspect.runtime.engines.base import DeviceEngine
from jetspect.runtime.golden import GoldenReport, check_golden
from jetspect.runtime.manifest import Manifest, Precision
from jetspect.runtime.tiling import plan_tiles

DEFAULT_OPT_LEVEL = 3
MAX_OPT_LEVEL = 5


@dataclass(frozen=True)
class DeviceOptions:
    """How a bundle runs on a CUDA device.

    Attributes
    ----------
    tile_px, batch
        The one tile shape that the engine runs; None takes the bundle's tile.
    folder
        TensorRT: where engines are kept; None takes the user's own place.
    opt_level
        TensorRT: how long a build searches for fast kernels, 0-5.
    cuda_graph
        TensorRT: replay runs as a CUDA graph.
    """

    tile_px: int | None = None
    batch: int = 1
    folder: Path | None = None
    opt_level: int = DEFAULT_OPT_LEVEL
    cuda_graph: bool = False


def tile_shape(manifest: Manifest, options: DeviceOptions) -> tuple[int, int, int, int]:
    """Return N, H, W, C of one run.

    Raises
    ------
    InputError
        An option is out of range, or the tile breaks the model's rules.
    """
    contract, channels = manifest.tiling, manifest.input.channels
    if not 0 <= options.opt_level <= MAX_OPT_LEVEL:
        raise InputError(f"the optimisation level is 0 to {MAX_OPT_LEVEL}, got {options.opt_level}")
    if options.batch < 1:
        raise InputError(f"a batch has at least one tile, got {options.batch}")
    if contract.frame_wh is not None:
        width, height = contract.frame_wh
        if options.tile_px is not None or options.batch != 1:
            raise InputError(
                f"bundle {manifest.name} sees whole frames of {width} x {height} px, one per run; leave tile and batch out"
            )
        return 1, height, width, channels
    tile = options.tile_px or contract.tile_px
    # Refuses a tile that breaks the model's rules, before minutes of building.
    plan_tiles((tile, tile), tile_px=tile, halo_px=contract.halo_px, stride_px=contract.stride_px, shrink=False)
    return options.batch, tile, tile, channels


def open_cuda() -> Cuda:
    """Open the CUDA device of this machine."""
    from jetspect.runtime.cuda.driver import PyCuda

    return PyCuda()


def prove(engine: DeviceEngine, bundle: Bundle, precision: Precision) -> GoldenReport:
    """Run the golden tiles; errors as :func:`jetspect.runtime.golden.check_golden`."""
    batch, height, width, _ = engine.tile_shape
    tile = height if height == width else None
    return check_golden(engine, bundle, precision, tile_px=tile, batch=batch)
