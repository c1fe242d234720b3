"""Check a whole fleet, then write one overlay for each unit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from jetspect.errors import ProvisionError
from jetspect.provisioning import first_boot, places, system_files
from jetspect.provisioning.authority import Authority, Identity, ends_at, issued_at, load_authority
from jetspect.provisioning.fleet import Fleet, UnitSettings
from jetspect.provisioning.overlay import Entry, read_entries, write_overlay
from jetspect.provisioning.stations import Station, fill, read_template, require_model, require_wheels
from jetspect.provisioning.target import require_packaging
from jetspect.provisioning.wheelhouse import Wheelhouse
from jetspect.runtime.bundle import Bundle

_WANTS = Path("/etc/systemd/system/multi-user.target.wants")


@dataclass(frozen=True)
class Unit:
    """What one overlay is made of."""

    settings: UnitSettings
    station: Station
    identity: Identity
    fresh: bool
    """Whether the certificate was issued now, rather than kept."""


@dataclass(frozen=True)
class Plan:
    """A fleet that was found good; nothing was written yet."""

    fleet: Fleet
    authority: Authority
    bundle: Bundle
    house: Wheelhouse
    files: tuple[Entry, ...]
    units: tuple[Unit, ...]


@dataclass(frozen=True)
class Overlay:
    """An overlay that was written."""

    unit: Unit
    path: Path
    size_bytes: int
    until: datetime


def plan(fleet: Fleet, out: Path, now: datetime, *, renew: bool = False) -> Plan:
    """Read everything that the fleet file names, hold it together, and issue what is missing.

    Parameters
    ----------
    out
        Keys and certificates of overlays there are kept while they are good for long enough.
    renew
        Issue new ones for all.

    Raises
    ------
    JetspectError
        Something does not fit; nothing was written.
    """
    require_packaging()
    ca = load_authority(fleet.ca.cert, fleet.ca.key, fleet.ca.key_password_env, now)
    ca.require_outliving(fleet.ca.days, now)
    house = Wheelhouse.open(fleet.wheelhouse, fleet.target.device)
    bundle = Bundle.open(fleet.bundle.path, public_key=fleet.bundle.public_key)
    template = read_template(fleet.station)
    stations = [(unit, fill(template, fleet, unit)) for unit in fleet.units]
    _require_apart(stations)
    for _, station in stations:
        require_model(station.config, bundle, fleet)
        require_wheels(station.config, house, fleet)
    files = tuple(_extra_files(fleet))
    kept_until = now + timedelta(days=fleet.ca.renew_before_days)
    units = []
    for unit, station in stations:
        hosts = (unit.name, str(unit.address))
        kept = None if renew else _earlier(overlay_path(out, unit))
        if kept is not None and ca.keeps(kept, station.place, hosts, kept_until):
            units.append(Unit(unit, station, kept, fresh=False))
        else:
            identity = ca.issue(station.place, days=fleet.ca.days, now=now, hosts=hosts)
            units.append(Unit(unit, station, identity, fresh=True))
    return Plan(fleet, ca, bundle, house, files, tuple(units))


def write(plan: Plan, out: Path) -> Iterator[Overlay]:
    """Write each overlay, whole or not at all.

    Raises
    ------
    ProvisionError
        One cannot be written; those before it stand.
    """
    try:
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ProvisionError(f"{out} cannot be made: {error.strerror or error}; take another --out") from error
    for unit in plan.units:
        path = overlay_path(out, unit.settings)
        write_overlay(path, _entries(plan, unit))
        yield Overlay(unit, path, path.stat().st_size, ends_at(unit.identity))


def overlay_path(out: Path, unit: UnitSettings) -> Path:
    return out / f"{unit.name}.tar"


def _entries(plan: Plan, unit: Unit) -> list[Entry]:
    entries = [*_system(plan.fleet, unit.settings), *_station(plan, unit), *plan.files]
    entries += [Entry(places.BUNDLE / name, plan.bundle.file(name)) for name in plan.bundle.sizes]
    wheels = [Entry(places.WHEELS / path.name, path) for path in plan.house.files]
    note = Entry(places.NOTE, _note(plan, unit, entries))
    return [*entries, *wheels, note]


def _system(fleet: Fleet, unit: UnitSettings) -> Iterator[Entry]:
    yield Entry(Path("/etc/hostname"), f"{unit.name}\n".encode())
    yield Entry(Path("/etc/hosts"), system_files.hosts(unit).encode())
    connection = system_files.keyfile(fleet.fleet.name, fleet.network, unit)
    # NetworkManager reads no connection that others may read.
    yield Entry(Path("/etc/NetworkManager/system-connections/jetspect.nmconnection"), connection.encode(), 0o600)
    if fleet.network.ntp:
        yield Entry(Path("/etc/systemd/timesyncd.conf.d/jetspect.conf"), system_files.timesyncd(fleet.network).encode())
    first = Path("/etc/systemd/system", system_files.FIRST_BOOT)
    yield Entry(first, system_files.first_boot_unit().encode())
    yield Entry(_WANTS / first.name, link=str(first))
    yield Entry(Path("/etc/systemd/system/jetspect.service.d"), mode=0o755)
    drop_in = system_files.station_drop_in()
    yield Entry(Path("/etc/systemd/system/jetspect.service.d/first-boot.conf"), drop_in.encode())
    yield Entry(Path("/usr/local/bin/jetspect"), link=str(places.HOME / "bin/jetspect"))
    for folder in (places.SHIPPED, places.WHEELS, places.BUNDLE):
        yield Entry(folder, mode=0o755)
    yield Entry(places.SCRIPT, Path(first_boot.__file__).read_bytes())


def _station(plan: Plan, unit: Unit) -> Iterator[Entry]:
    yield Entry(places.ETC, mode=0o755)
    yield Entry(places.STATION, unit.station.text.encode())
    yield Entry(places.CA, plan.authority.pem)
    yield Entry(places.CERT, unit.identity.certificate)
    yield Entry(places.KEY, unit.identity.key, 0o600)
    if plan.fleet.bundle.public_key is not None:
        yield Entry(places.PUBLIC_KEY, plan.fleet.bundle.public_key.read_bytes())


def _note(plan: Plan, unit: Unit, entries: list[Entry]) -> bytes:
    """What the first boot is told; its id changes with everything that a unit would have to do again."""
    seen = hashlib.sha256(plan.house.index.model_dump_json().encode())
    for entry in sorted(entries, key=lambda e: e.path.parts):
        content = entry.data if isinstance(entry.data, bytes) else entry.link.encode()
        seen.update(f"{entry.path}\0{entry.mode}\0".encode() + hashlib.sha256(content).digest())
    device = plan.fleet.target.device
    private = [places.KEY, *(Path(f.path) for f in plan.fleet.files if f.private)]
    note = first_boot.Note(
        id=seen.hexdigest(),
        unit=unit.settings.name,
        python=device.python,
        architecture=device.architecture,
        issued=int(issued_at(unit.identity).timestamp()),
        not_after=int(ends_at(unit.identity).timestamp()),
        time_servers=bool(plan.fleet.network.ntp),
        unsigned=plan.fleet.bundle.unsigned,
        user=places.USER,
        private=tuple(map(str, private)),
        station=str(places.STATION),
        state=str(places.STATE),
        home=str(places.HOME),
        wheels=str(places.WHEELS),
        bundle=str(places.BUNDLE),
    )
    return (json.dumps(vars(note), indent=2) + "\n").encode()


def _earlier(overlay: Path) -> Identity | None:
    found = read_entries(overlay, (places.CERT, places.KEY))
    return Identity(found[places.CERT], found[places.KEY]) if len(found) == 2 else None


def _extra_files(fleet: Fleet) -> Iterator[Entry]:
    taken = {places.STATION, places.CA, places.CERT, places.KEY, places.PUBLIC_KEY}
    for file in fleet.files:
        if Path(file.path) in taken:
            raise ProvisionError(f"files.path {file.path} is a file of jetspect's own; take another name")
        if any(other.path in file.path.parents for other in fleet.files) or taken & set(Path(file.path).parents):
            raise ProvisionError(f"files.path {file.path} lies below another file; take another name")
        try:
            yield Entry(Path(file.path), file.source.read_bytes(), 0o600 if file.private else 0o644)
        except OSError as error:
            raise ProvisionError(f"files.source {file.source} cannot be read: {error.strerror or error}") from error


def _require_apart(stations: list[tuple[UnitSettings, Station]]) -> None:
    seen: dict[str, str] = {}
    for unit, station in stations:
        where = station.config.station.namespace + "/" + station.place
        if where in seen:
            raise ProvisionError(
                f"{seen[where]} and {unit.name} would both publish as {where}; use ${{unit}} in the template's [station]"
            )
        seen[where] = unit.name
