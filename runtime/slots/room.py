"""Is there room for a bundle and its engine? The outbox of the station that runs may be on the same disk."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from jetspect.device.storage import space
from jetspect.errors import DeployError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.config import StationConfig

_MIB = 1024 * 1024
_LEFT_MB = 16  # twice what the outbox keeps in reserve
_ENGINE_FACTOR = 3  # an engine and the timings of its kernels, as a multiple of the graph


def require_room(folder: Path, bundle: Bundle, config: StationConfig, engines: Path | None) -> None:
    """Refuse a deploy before it could take the room that results need; what a slot holds until then stays beside it.

    Parameters
    ----------
    engines
        Folder that an engine is built into; None where none is.
    """
    wanted: Counter[int] = Counter()
    where: dict[int, Path] = {}
    takes = [(folder, sum(bundle.sizes.values()))]
    if engines is not None:
        takes.append((engines, _ENGINE_FACTOR * len(bundle.graph(config.bundle.precision))))
    for path, size in takes:
        disk = _disk(path)
        wanted[disk] += size
        where.setdefault(disk, path)
    for disk, size in wanted.items():
        room, needed_mb = space(where[disk]), -(-size // _MIB) + _LEFT_MB
        if room is not None and room.free_mb < needed_mb:
            raise DeployError(
                f"{where[disk]} has {room.free_mb} MiB of room and a deploy of this bundle needs {needed_mb}, of which "
                f"{_LEFT_MB} stay for results; make room on that disk, the live slot is as it was"
            )


def _disk(path: Path) -> int:
    """Return the number of the file system that holds a path, or would."""
    there = path.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    return there.stat().st_dev
