"""``jetspect camera``: find cameras, set them up, record them, and calibrate what they see."""

from __future__ import annotations

import typer

from jetspect.cli.camera import board, calibrate, find, focus, record

app = typer.Typer(help="Cameras: find, focus, record and calibrate them.", no_args_is_help=True)
app.command("list")(find.list_cameras)
app.command()(record.grab)
app.command()(focus.focus)
app.command()(record.record)
app.command()(board.board)
app.command()(calibrate.calibrate)
