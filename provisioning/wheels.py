"""What a wheel file says of itself, and which of them a device needs: the closure of requirements for one target."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING

from jetspect.errors import ProvisionError
from jetspect.provisioning.target import Target

if TYPE_CHECKING:
    from packaging.requirements import Requirement


@dataclass(frozen=True)
class Wheel:
    """A wheel file; ``requires`` as its metadata has them, markers and all."""

    path: Path
    name: str
    version: str
    requires: tuple[str, ...]
    sha256: str


@dataclass(frozen=True)
class Closure:
    """The wheels that are needed, by name, and what is wanted but not there."""

    wheels: tuple[Wheel, ...]
    missing: tuple[str, ...]


def read_wheel(path: Path, target: Target) -> Wheel:
    """Read a wheel's name and requirements.

    Raises
    ------
    ProvisionError
        It is no wheel, or not one for the target.
    """
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    try:
        name, version, _, tags = parse_wheel_filename(path.name)
        data = path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            (entry,) = [e for e in archive.namelist() if e.count("/") == 1 and e.endswith(".dist-info/METADATA")]
            metadata = HeaderParser().parsestr(archive.read(entry).decode("utf-8", "replace"))
    except OSError as error:
        raise ProvisionError(f"{path} cannot be read: {error.strerror or error}; name a wheel file") from error
    except (InvalidWheelFilename, ValueError, zipfile.BadZipFile) as error:
        raise ProvisionError(f"{path} is no wheel: {error}; name a file that pip wheel or pip download made") from error
    if not tags & target.tags():
        raise ProvisionError(
            f"{path.name} cannot be installed by {target}; build it on such a device: pip wheel --no-deps {name}"
        )
    requires = metadata.get_all("Requires-Dist") or []
    return Wheel(path, str(name), str(version), tuple(requires), hashlib.sha256(data).hexdigest())


def close(roots: Iterable[str], wheels: Iterable[Wheel], target: Target) -> Closure:
    """Follow requirements from the roots. pip evaluates markers for the Python that runs it, this for the target's.

    Parameters
    ----------
    roots
        Requirements such as ``jetspect[sign]``.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    known = {canonicalize_name(wheel.name): wheel for wheel in wheels}
    needed: dict[str, Wheel] = {}
    missing: dict[str, None] = {}
    waiting = [Requirement(root) for root in roots]
    seen: set[tuple[str, str]] = set()
    while waiting:
        wanted = waiting.pop()
        wheel = known.get(canonicalize_name(wanted.name))
        if wheel is None or not wanted.specifier.contains(wheel.version, prereleases=True):
            missing[_plain(wanted)] = None
            continue
        needed[wheel.name] = wheel
        for extra in ("", *sorted(wanted.extras)):
            if (wheel.name, extra) not in seen:
                seen.add((wheel.name, extra))
                values = {**target.environment(), "extra": extra}
                below = [Requirement(line) for line in wheel.requires]
                waiting += [r for r in below if r.marker is None or r.marker.evaluate(values)]
    return Closure(tuple(needed[name] for name in sorted(needed)), tuple(missing))


def _plain(requirement: Requirement) -> str:
    """Without its marker, which has been found to hold."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}{requirement.specifier}"
