"""The options that say what executes a bundle, shared by the commands that run one."""

from __future__ import annotations

from typing import Annotated, cast, get_args

import typer

from jetspect.errors import InputError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import AUTO, KINDS, open_engine
from jetspect.runtime.engines.base import Engine
from jetspect.runtime.engines.options import DeviceOptions
from jetspect.runtime.golden import GoldenReport
from jetspect.runtime.manifest import Precision

PrecisionOption = Annotated[str, typer.Option(help="Graph to run: fp32, fp16, int8, int8-trt8 or int8-cpu.")]
TileOption = Annotated[int | None, typer.Option(min=1, max=16384, help="Tile edge in px; the bundle's own by default.")]
BatchOption = Annotated[int, typer.Option(min=1, max=64, help="Tiles per run.")]
EngineOption = Annotated[
    str,
    typer.Option(
        help="onnxruntime or openvino (processor), onnxruntime-cuda (NVIDIA GPU), tensorrt (what jetspect build made), or auto."
    ),
]


def as_precision(value: str) -> Precision:
    """Return the precision, or raise InputError."""
    for known in get_args(Precision):
        if value == known:
            return cast(Precision, known)
    known_ones = ", ".join(get_args(Precision))
    raise InputError(f"precision {value!r} is not known; use one of {known_ones}")


def open_for(
    bundle: Bundle, engine: str, precision: str, *, tile: int | None, batch: int = 1, threads: int = 0
) -> tuple[Engine, GoldenReport]:
    """Open what the options ask for; errors as :func:`jetspect.runtime.engines.open_engine`."""
    chosen = as_precision(precision)
    if engine not in (*KINDS, AUTO):
        raise InputError(f"--engine {engine!r} is not known; use one of {', '.join(KINDS)}, or {AUTO}")
    device = DeviceOptions(tile_px=tile, batch=batch)
    return open_engine(bundle, kind=engine, precision=chosen, threads=threads, device=device)
