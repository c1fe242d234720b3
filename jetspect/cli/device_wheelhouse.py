"""``jetspect device wheelhouse``: what a device without a network is installed from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jetspect.cli.output import JsonOption, console, print_json
from jetspect.provisioning.target import as_target
from jetspect.provisioning.wheelhouse import LOCK, build_wheelhouse


def wheelhouse(
    out: Annotated[Path, typer.Option("--out", help="Folder to make; an earlier wheelhouse there is replaced.")],
    architecture: Annotated[str, typer.Option(help="Of the devices: aarch64 or x86_64.")] = "aarch64",
    python: Annotated[str, typer.Option(help="Of their system: 3.10 (JetPack 6), 3.12 (JetPack 7), or 3.11.")] = "3.10",
    extra: Annotated[
        list[str] | None, typer.Option(help="Extra of jetspect, such as sign or metrics; may be given again.")
    ] = None,
    constraint: Annotated[Path | None, typer.Option(help="pip's constraints: versions to hold.")] = None,
    add: Annotated[
        list[Path] | None, typer.Option(help="Wheel from elsewhere, such as PyCUDA's; may be given again.")
    ] = None,
    wheel: Annotated[
        Path | None, typer.Option(help="jetspect's own wheel; by default built from this checkout.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Collect jetspect and everything it requires as wheels for devices that have no network, with a lock of hashes.

    Example: jetspect device wheelhouse --out wheels --architecture aarch64 --python 3.10 --extra sign
    """
    target = as_target(architecture, python)
    made = build_wheelhouse(
        out, target, extras=tuple(extra or ()), constraint=constraint, own=wheel, add=tuple(add or ())
    )
    wheels = len(made.index.files) - 1
    if as_json:
        print_json({"folder": str(made.path), "bytes": made.size_bytes, **made.index.model_dump(mode="json")})
        return
    console.print(
        f"{made.path}: jetspect {made.index.jetspect} for {target}, {wheels} wheels, {made.size_bytes / 1e6:.0f} MB",
        markup=False,
    )
    console.print(
        f"install there: pip install --no-index --find-links {out} --require-hashes -r {out / LOCK}", markup=False
    )
