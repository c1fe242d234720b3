"""Which folders a station needs as a service, and which of its files a service would not see."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from jetspect.errors import InputError
from jetspect.runtime.config import StationConfig
from jetspect.runtime.sources.gstreamer import GStreamerSettings

# ProtectHome and PrivateTmp of the unit hide these.
_HIDDEN = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108
# ProtectSystem keeps these read-only, and results have no business there.
_SYSTEM = tuple(map(Path, ("/bin", "/boot", "/dev", "/etc", "/lib", "/proc", "/run", "/sbin", "/sys", "/usr")))


def as_seen(path: Path, root: Path) -> Path:
    """Return a path as the device under ``root`` sees it."""
    path = path.absolute()
    return Path("/", path.relative_to(root)) if root != Path("/") and path.is_relative_to(root) else path


def require_visible(what: str, path: Path) -> None:
    """Refuse a file that the service could not read; ``path`` as the device sees it."""
    for hidden in _HIDDEN:
        if path.is_relative_to(hidden):
            raise InputError(
                f"{what} {path} lies below {hidden}, which the service does not see; put it below /opt, /etc or /var/lib"
            )


def named_paths(config: BaseModel, name: str = "") -> Iterator[tuple[str, Path]]:
    """Yield every path of a station file with its key."""
    for field in type(config).model_fields:
        value, key = getattr(config, field), f"{name}.{field}" if name else field
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, BaseModel):
                yield from named_paths(each, key)
            elif isinstance(each, Path):
                yield key, each


def uses_argus(config: StationConfig) -> bool:
    """Whether a camera is read through nvargus-daemon."""
    return any(isinstance(s, GStreamerSettings) and "nvarguscamerasrc" in s.pipeline for s in config.sources.values())


def writable_folders(config: StationConfig, root: Path, state: Path) -> tuple[Path, ...]:
    """Return the folders that the station writes to outside its own, as the device sees them.

    Raises
    ------
    InputError
        One lies where a service cannot or must not write.
    """
    wanted = [("outbox.path", config.outbox.path.parent)]
    if config.evidence is not None:
        wanted.append(("evidence.folder", config.evidence.folder))
    if config.bundle.slots is not None:
        wanted.append(("bundle.slots", config.bundle.slots))
    found: list[Path] = []
    for key, path in wanted:
        seen = as_seen(path, root)
        require_visible(key, seen)
        if seen.is_relative_to(state) or seen in found:
            continue
        if len(seen.parts) < 3 or any(seen.is_relative_to(system) for system in _SYSTEM):
            better = state / (config.outbox.path.name if key == "outbox.path" else key.rpartition(".")[2])
            raise InputError(
                f"{key} is in {seen}, which the service cannot have for itself; in the station file write {key} = "
                f'"{better}"'
            )
        found.append(seen)
    return tuple(found)
