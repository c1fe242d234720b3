"""``jetspect camera list``: which cameras there are."""

from __future__ import annotations

from dataclasses import asdict

import typer
from rich.markup import escape
from rich.table import Table

from jetspect.cli.output import JsonOption, console, print_json
from jetspect.errors import MissingDependencyError
from jetspect.runtime.sources.aravis import CameraInfo, find_cameras
from jetspect.runtime.sources.v4l2 import VideoDevice, find_video_devices


def list_cameras(as_json: JsonOption = False) -> None:
    """List the GigE Vision cameras that answer on the networks of this machine, for which it waits a second, and the video
    devices that the kernel knows (USB, CSI).

    Exit code 1 when there is none.

    Example: jetspect camera list
    """
    missing: str | None = None
    cameras: list[CameraInfo] = []
    try:
        cameras = find_cameras()
    except MissingDependencyError as error:
        missing = f"no GigE Vision camera was looked for: {error}"
    devices = find_video_devices()
    if as_json:
        print_json(
            {"cameras": [asdict(c) for c in cameras], "video": [asdict(d) for d in devices], "not_searched": missing}
        )
    else:
        _tell(cameras, devices, missing)
    if not cameras and not devices:
        raise typer.Exit(1)


def _tell(cameras: list[CameraInfo], devices: list[VideoDevice], missing: str | None) -> None:
    if cameras:
        table = Table("serial", "address", "maker", "model", title="GigE Vision", title_justify="left")
        for camera in cameras:
            table.add_row(*map(escape, (camera.serial, camera.address, camera.vendor, camera.model)))
        console.print(table)
    else:
        console.print(
            missing
            or "no GigE Vision camera answers; check power, cable, and that its address is in a subnet of this machine",
            markup=False,
        )
    if devices:
        table = Table("device", "name", "index", title="video devices", title_justify="left")
        for device in devices:
            table.add_row(escape(device.device), escape(device.name), str(device.index))
        console.print(table)
    else:
        console.print("no video device (/dev/video*) is there")
