"""``jetspect device``: the machine that a station runs on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from jetspect.benchmarks.gpu_selftest import self_test, show
from jetspect.cli import (
    device_commission,
    device_doctor,
    device_info,
    device_power,
    device_provision,
    device_service,
    device_slots,
    device_wheelhouse,
)
from jetspect.cli.output import JsonOption, console, print_json
from jetspect.errors import InputError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines.options import open_cuda

app = typer.Typer(help="The device: is it fit to run a station?", no_args_is_help=True)
app.command()(device_info.info)
app.command()(device_doctor.doctor)
app.add_typer(device_power.app, name="power")
app.command()(device_service.install)
app.command()(device_service.uninstall)
app.command()(device_slots.deploy)
app.command()(device_slots.slots)
app.command()(device_slots.rollback)
app.command()(device_wheelhouse.wheelhouse)
app.command("fleet-ca")(device_provision.fleet_ca)
app.command()(device_provision.provision)
app.command()(device_commission.commission)


@app.command()
def selftest(
    bundle: Annotated[
        Path | None, typer.Argument(help="Bundle whose engines are proven and timed as well.", show_default=False)
    ] = None,
    frame: Annotated[str, typer.Option(help="Size of the frame, WIDTHxHEIGHT in px.")] = "5472x3648",
    tile: Annotated[int, typer.Option(min=96, max=16384, help="Tile edge in px, a multiple of 16.")] = 1024,
    batch: Annotated[int, typer.Option(min=1, max=64, help="Tiles of one run.")] = 4,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each measurement.")] = 30,
    as_json: JsonOption = False,
) -> None:
    """Test the GPU of this device: the kernels against the reference, golden tiles of a bundle in every engine for GPUs that is
    installed, and the time of each stage around the engine beside the least that moving its bytes takes.

    Exit code 1 when any answer is wrong. TensorRT engines must have been built before, with jetspect build.

    Example: jetspect device selftest bundles/bsd-pitting --tile 512
    """
    size = re.fullmatch(r"(\d{1,5})x(\d{1,5})", frame)
    if size is None or min(int(n) for n in size.groups()) < 1:
        raise InputError(f"--frame is WIDTHxHEIGHT in px, like 5472x3648; got {frame!r}")
    if tile % 16:
        raise InputError(f"--tile must be a multiple of 16 px, got {tile}; next larger: {tile + 16 - tile % 16}")
    opened = None if bundle is None else Bundle.open(bundle)
    with open_cuda() as cuda:
        wh = int(size[1]), int(size[2])
        result = self_test(cuda, opened, frame_wh=wh, tile_px=tile, batch=batch, runs=runs)
    if as_json:
        print_json(result.as_dict())
    else:
        show(result, console)
    if not result.ok:
        raise typer.Exit(1)
