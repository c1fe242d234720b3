"""Put the service on a device, or on the root of one that is being made, and take it away again."""

from __future__ import annotations

import logging
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import jetspect
from jetspect.errors import DeployError, InputError
from jetspect.runtime.config import load_station
from jetspect.runtime.service.advice import advice
from jetspect.runtime.service.folders import as_seen, named_paths, require_visible, uses_argus, writable_folders
from jetspect.runtime.service.unit import MARK, Service, sysusers_path, tmpfiles_path, unit_path, wants_path

log = logging.getLogger(__name__)
ROOT = Path("/")
_MORE_S = 60.0  # to end, beside the delivery: frames in hand, and goodbye to the broker


@dataclass(frozen=True)
class Removed:
    """What an uninstall took away, and what it left, both as the device sees them."""

    gone: tuple[Path, ...]
    kept: tuple[Path, ...]


def plan_service(station: Path, *, name: str, user: str, root: Path = ROOT, python: Path | None = None) -> Service:
    """Read a station file and say what its service needs.

    Parameters
    ----------
    station, python
        As the device sees them; with another ``root`` the file is read below it. On this system ``python`` is this one.

    Raises
    ------
    ConfigError, InputError
        The station file has faults, or names something that the service could not read or write.
    """
    root = root.absolute()
    if root != ROOT and python is None:
        raise InputError(f"the Python below {root} is not this one: name it with --python, as the device will see it")
    seen = station.absolute() if root == ROOT else Path("/", station)
    file = root / seen.relative_to("/")
    config = load_station(file)
    interpreter = Path(sys.executable) if python is None else python
    service = Service(name, user, interpreter, seen, stop_s=config.drain_s + _MORE_S, argus=uses_argus(config))
    require_visible("Python", interpreter)
    if python is None:
        require_visible("Python", interpreter.resolve())
        require_visible("jetspect", Path(jetspect.__file__).resolve().parent)
    require_visible("the station file", seen)
    for key, path in named_paths(config):
        require_visible(key, as_seen(path, root))
    below = interpreter if root == ROOT else root / interpreter.relative_to("/")
    for line in advice(config, user, file, below, root):
        log.warning("%s", line)
    return replace(service, writable=writable_folders(config, root, service.state))


def differing(service: Service, root: Path = ROOT) -> tuple[Path, ...]:
    """Return what :func:`install` would change, as the device sees it; empty where all of it is as it should be."""
    files = service.files()
    changed = [path for path, text in files.items() if _text(_below(root, path)) != text]
    stale = tmpfiles_path(service.name)
    if stale not in files and _below(root, stale).exists():
        changed.append(stale)
    link = wants_path(service.name)
    return (*changed, *([] if _below(root, link).is_symlink() else [link]))


def install(service: Service, root: Path = ROOT, *, start: bool = False) -> tuple[Path, ...]:
    """Write the files, whole or not at all each, and return them. On a running device systemd learns of them at once.

    Raises
    ------
    DeployError
        A file cannot be written or belongs to someone else, or systemd refuses.
    """
    files = service.files()
    for path in files:
        _require_ours(_below(root, path), path)
    stale = _below(root, tmpfiles_path(service.name))
    for path, text in files.items():
        _write(_below(root, path), text)
    if tmpfiles_path(service.name) not in files and stale.exists():
        with _changing(stale):
            stale.unlink()
    link = _below(root, wants_path(service.name))
    if not link.is_symlink():
        with _changing(link):
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(unit_path(service.name))
    if is_live(root):
        _system("systemd-sysusers", str(sysusers_path(service.name)))
        if service.writable:
            _system("systemd-tmpfiles", "--create", str(tmpfiles_path(service.name)))
        _system("systemctl", "daemon-reload")
        if start:
            _system("systemctl", "restart", f"{service.name}.service")
    return (*files, wants_path(service.name))


def uninstall(name: str, root: Path = ROOT, *, purge: bool = False) -> Removed:
    """Stop the service and take away what :func:`install` and the service made; results only with ``purge``.

    Raises
    ------
    DeployError
        There is no such service of ours, or something cannot be removed.
    """
    service = Service(name, "jetspect", Path("/python"), Path("/station"))  # checks the name; its paths are asked for
    unit = _below(root, unit_path(name))
    if not unit.is_file():
        raise DeployError(f"{unit} is not there; nothing to uninstall (--name names another service)")
    _require_ours(unit, unit_path(name))
    user = next(iter(_values(unit, "User")), service.user)
    outside = [Path(line) for line in _values(unit, "ReadWritePaths") if line != "/tmp"]  # noqa: S108
    if is_live(root):
        _system("systemctl", "disable", "--now", f"{name}.service")
        with suppress(DeployError):  # it was not loaded; one that failed would be listed for as long as the system runs
            _system("systemctl", "reset-failed", f"{name}.service")
    folders = [service.cache, *([service.state] if purge else [])]
    gone = []
    # The unit goes last: an uninstall that was cut off can be repeated.
    for path in (*folders, wants_path(name), sysusers_path(name), tmpfiles_path(name), unit_path(name)):
        target = _below(root, path)
        if not target.exists() and not target.is_symlink():
            continue
        with _changing(target):
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink()
        gone.append(path)
    if is_live(root):
        _system("systemctl", "daemon-reload")
        if purge and _made_by_us(user, service.state):
            _system("userdel", user)
    kept = [path for path in (service.state, *outside) if _below(root, path).exists()]
    return Removed(tuple(gone), tuple(kept))


def _made_by_us(user: str, home: Path) -> bool:
    """Whether it is the system user that install had made, and not an account that was there before."""
    try:
        return pwd.getpwnam(user).pw_dir == str(home)
    except KeyError:
        return False


def is_live(root: Path) -> bool:
    """Whether this is the running system, with systemd."""
    return root.absolute() == ROOT and Path("/run/systemd/system").is_dir()


def _below(root: Path, path: Path) -> Path:
    """Return a path of the device below its root; a link in between must not lead out of it."""
    root = root.absolute()
    if not root.is_dir():
        raise InputError(f"--root {root} is no folder; name the root of the device")
    target = root / path.relative_to("/")
    if not target.parent.resolve().is_relative_to(root.resolve()):
        raise DeployError(f"{target.parent} leads out of {root} by a link; make it a folder")
    return target


def _require_ours(target: Path, path: Path) -> None:
    try:
        if target.exists() and not target.read_text("utf-8", "replace").startswith(MARK):
            raise DeployError(f"{path} was not written by jetspect; move it away, or give the service another --name")
    except OSError as error:
        raise DeployError(f"{target} cannot be read: {error.strerror or error}") from error


def _text(target: Path) -> str | None:
    try:
        return target.read_text("utf-8", "replace")
    except OSError:
        return None


def _write(target: Path, text: str) -> None:
    with _changing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
                os.fchmod(handle, 0o644)
            Path(draft).replace(target)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise


def _values(unit: Path, key: str) -> list[str]:
    """Return what a unit of ours says under a key."""
    lines = unit.read_text("utf-8", "replace").splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]


@contextmanager
def _changing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = "; run it with sudo" if isinstance(error, PermissionError) else "; make room, or check the disk"
        raise DeployError(f"{target} cannot be changed: {error.strerror or error}{hint}") from error


def _system(*words: str) -> None:
    """Run a tool of systemd's on the running system."""
    try:
        done = subprocess.run(words, check=False, capture_output=True, text=True, errors="replace", timeout=180)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeployError(f"{words[0]} cannot be run: {error}; run by hand: {' '.join(words)}") from error
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise DeployError(f"{' '.join(words)} failed: {said}; what it was to do is not done, repeat it by hand")
