"""``jetspect device provision`` and ``fleet-ca``: from one fleet file to what each unit is flashed with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from jetspect.cli.output import JsonOption, console, print_json, progress
from jetspect.errors import ProvisionError
from jetspect.provisioning.authority import Identity, make_authority
from jetspect.provisioning.fleet import load_fleet
from jetspect.provisioning.provision import Overlay, plan, write
from jetspect.provisioning.target import require_packaging
from jetspect.runtime.frames import utc_now


def provision(
    fleet: Annotated[Path, typer.Argument(help="Fleet file (TOML).", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder for the overlays; keys in earlier ones there are kept.")],
    renew: Annotated[bool, typer.Option("--renew", help="New keys and certificates for all units.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Check everything, write nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a root file system overlay for each unit of a fleet: name, address, certificate and key, station file, bundle,
    wheels, and a first boot that brings it up without a network.

    Everything is checked before the first file is written. The same inputs give the same bytes.

    Example: jetspect device provision fleet.toml --out overlays
    """
    planned = plan(load_fleet(fleet), out, utc_now(), renew=renew)
    done: list[Overlay] = []
    if not check:
        with progress() as bar:
            task = bar.add_task("overlays", total=len(planned.units))
            for overlay in write(planned, out):
                done.append(overlay)
                bar.advance(task)
    if as_json:
        print_json(
            {
                "fleet": planned.fleet.fleet.name,
                "checked": [u.settings.name for u in planned.units],
                "overlays": [_answer(o) for o in done],
            }
        )
        return
    if check:
        console.print(f"{len(planned.units)} units can be provisioned; nothing was written", markup=False)
        return
    table = Table("unit", "address", "topics", "certificate")
    for overlay in done:
        unit = overlay.unit
        kind = "new" if unit.fresh else "kept"
        table.add_row(
            unit.settings.name,
            str(unit.settings.address),
            escape(unit.station.place),
            f"{kind}, until {overlay.until:%Y-%m-%d}",
        )
    console.print(table)
    size = sum(overlay.size_bytes for overlay in done) / 1e6
    console.print(
        f"{len(done)} overlays in {out}, {size:.0f} MB; each holds its unit's private key: keep them as you keep keys",
        markup=False,
    )


def fleet_ca(
    out: Annotated[Path, typer.Option("--out", help="Folder for ca.crt and ca.key.")],
    name: Annotated[str, typer.Option(help="Of the CA.")] = "jetspect fleet CA",
    days: Annotated[int, typer.Option(min=1, max=36500, help="How long it is good for.")] = 3650,
    broker: Annotated[
        list[str] | None,
        typer.Option(help="Issue broker.crt and broker.key too, for this name or address; may be given again."),
    ] = None,
) -> None:
    """Make a CA for a fleet (EC P-256), and the broker's certificate. Files that are there are never replaced.

    Example: jetspect device fleet-ca --out ca --broker broker.plant --broker 192.168.10.5
    """
    require_packaging()
    now = utc_now()
    authority, own = make_authority(name, days=days, now=now)
    made = {"ca": own}
    if broker:
        made["broker"] = authority.issue(broker[0], days=min(days, 825) - 1, now=now, hosts=broker, server=True)
    for path in (out / f"{stem}{suffix}" for stem in made for suffix in (".crt", ".key")):
        if path.exists():
            raise ProvisionError(f"{path} is there, and a CA is never replaced; take another --out")
    for stem, identity in made.items():
        for path in _save(out, stem, identity):
            console.print(f"written {path}", markup=False)


def _save(out: Path, stem: str, identity: Identity) -> tuple[Path, Path]:
    certificate, key = out / f"{stem}.crt", out / f"{stem}.key"
    try:
        out.mkdir(parents=True, exist_ok=True)
        # The mode from the beginning, so that there is no moment in which others may read it.
        with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(identity.key)
        certificate.write_bytes(identity.certificate)
    except OSError as error:
        raise ProvisionError(f"{out} cannot be written: {error.strerror or error}; take another --out") from error
    return certificate, key


def _answer(overlay: Overlay) -> dict[str, object]:
    unit = overlay.unit
    return {
        "unit": unit.settings.name,
        "address": str(unit.settings.address),
        "place": unit.station.place,
        "overlay": str(overlay.path),
        "bytes": overlay.size_bytes,
        "certificate": "new" if unit.fresh else "kept",
        "until": overlay.until.isoformat(),
    }
