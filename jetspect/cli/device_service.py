"""``jetspect device install`` and ``uninstall``: the station as a service of systemd."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jetspect.cli.output import JsonOption, console, print_json
from jetspect.runtime.service.install import differing, is_live, plan_service
from jetspect.runtime.service.install import install as write_service
from jetspect.runtime.service.install import uninstall as remove_service

NameOption = Annotated[str, typer.Option(help="Of the service, its unit and its folder below /var/lib.")]
RootOption = Annotated[Path, typer.Option(help="Root of the device's file system, while it is being made.")]


def install(
    station: Annotated[Path, typer.Argument(help="Station file, as the device sees it.", show_default=False)],
    user: Annotated[str, typer.Option(help="System user of the service; made where it is not there.")] = "jetspect",
    name: NameOption = "jetspect",
    root: RootOption = Path("/"),
    python: Annotated[
        Path | None, typer.Option(help="Python with jetspect, as the device sees it; this one by default.")
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="Start it at once, or anew.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the files, write nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a station a service that starts at boot: a hardened systemd unit, a user of its own, a folder for its results.

    Installing again replaces what an earlier install wrote.

    Example: sudo jetspect device install /etc/jetspect/station.toml --now
    """
    service = plan_service(station, name=name, user=user, root=root, python=python)
    changed = [str(path) for path in differing(service, root)]
    if dry_run:
        if as_json:
            print_json({"files": {str(path): text for path, text in service.files().items()}, "changed": changed})
            return
        for path, text in service.files().items():
            console.print(f"==> {path} <==\n{text}", markup=False)
        return
    written = write_service(service, root, start=now)
    live = is_live(root)
    if as_json:
        told = {"written": [str(path) for path in written], "changed": changed}
        print_json({**told, "user": user, "started": live and now})
        return
    for path in written:
        console.print(f"written {path}", markup=False)
    if not live:
        console.print(f"systemd does not run here: {name}.service starts when {root} boots", markup=False)
    elif now:
        console.print(f"{name}.service runs; its log: journalctl -u {name}", style="bold green", markup=False)
    else:
        console.print(f"start it with: systemctl start {name}", markup=False)


def uninstall(
    name: NameOption = "jetspect",
    root: RootOption = Path("/"),
    purge: Annotated[bool, typer.Option("--purge", help="Delete its results, slots and user too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Stop a station's service and take away everything that install wrote. Results stay, unless --purge is given.

    Example: sudo jetspect device uninstall
    """
    removed = remove_service(name, root, purge=purge)
    if as_json:
        print_json({"removed": [str(p) for p in removed.gone], "kept": [str(p) for p in removed.kept]})
        return
    for path in removed.gone:
        console.print(f"removed {path}", markup=False)
    for path in removed.kept:
        console.print(f"results stay in {path}", markup=False)
