"""Thermal zones: how warm, and at which temperature the kernel or the firmware slows the machine down."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jetspect.device.files import ROOT, entries, read_int, read_text


@dataclass(frozen=True)
class Zone:
    """One zone. ``throttles_at_c``: its lowest trip point that slows something down; None where it has none."""

    name: str
    temp_c: float
    throttles_at_c: float | None

    @property
    def head_room_c(self) -> float | None:
        return None if self.throttles_at_c is None else self.throttles_at_c - self.temp_c


def read_zones(root: Path = ROOT) -> tuple[Zone, ...]:
    """Return the zones that answer; the ones of a part that sleeps do not."""
    found = (_zone(path) for path in entries(root / "sys/class/thermal", "thermal_zone*"))
    return tuple(zone for zone in found if zone is not None)


def _zone(path: Path) -> Zone | None:
    milli_c = read_int(path / "temp")
    if milli_c is None:
        return None
    trips = []
    for trip in entries(path, "trip_point_*_type"):
        at = read_int(path / trip.name.replace("_type", "_temp"))
        if read_text(trip) in ("passive", "hot") and at is not None and at > 0:
            trips.append(at / 1000)
    return Zone(read_text(path / "type") or path.name, milli_c / 1000, min(trips, default=None))
