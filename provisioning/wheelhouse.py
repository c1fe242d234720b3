"""A folder of wheels from which a device without a network installs jetspect, every file known by its hash."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from jetspect.errors import ProvisionError
from jetspect.provisioning.own_wheel import build_own_wheel
from jetspect.provisioning.pip import run_pip
from jetspect.provisioning.target import Architecture, PythonVersion, Target, require_packaging
from jetspect.provisioning.wheels import Closure, Wheel, close, read_wheel
from jetspect.runtime.settings import Settings

LOCK, INDEX = "requirements.lock", "wheelhouse.json"
# Requirements that only the target's markers ask for may have such ones themselves.
_ROUNDS = 8


class WheelhouseIndex(Settings):
    """``wheelhouse.json``: for which devices it is, and each file's SHA-256."""

    schema_id: str = "jetspect.wheelhouse/1"
    jetspect: str
    architecture: Architecture
    python: PythonVersion
    extras: tuple[str, ...]
    files: dict[str, str]


@dataclass(frozen=True)
class Wheelhouse:
    """A folder whose files are as they were written."""

    path: Path
    index: WheelhouseIndex

    @property
    def target(self) -> Target:
        return Target(self.index.architecture, self.index.python)

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything in it, by name."""
        return tuple(self.path / name for name in sorted([INDEX, *self.index.files]))

    @property
    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files)

    @classmethod
    def open(cls, path: Path, target: Target | None = None) -> Wheelhouse:
        """Read and verify a wheelhouse.

        Raises
        ------
        ProvisionError
            It is none, a file changed, or it is not for ``target``.
        """
        try:
            index = WheelhouseIndex.model_validate_json((path / INDEX).read_bytes())
        except OSError as error:
            raise ProvisionError(
                f"{path} is no wheelhouse: {INDEX} cannot be read ({error.strerror or error}); make one with: jetspect "
                "device wheelhouse"
            ) from error
        except ValidationError as error:
            raise ProvisionError(
                f"{path / INDEX} is not what this jetspect writes; make the wheelhouse anew"
            ) from error
        house = cls(path, index)
        if target is not None and house.target != target:
            raise ProvisionError(
                f"{path} is a wheelhouse for {house.target}, and {target} is wanted; make one for that"
            )
        for name, sha256 in index.files.items():
            if Path(name).name != name or not (path / name).is_file() or _sha256(path / name) != sha256:
                raise ProvisionError(f"{path / name} is not there as it was written; make the wheelhouse anew")
        return house


def build_wheelhouse(
    folder: Path,
    target: Target,
    *,
    extras: Sequence[str] = (),
    constraint: Path | None = None,
    own: Path | None = None,
    add: Sequence[Path] = (),
) -> Wheelhouse:
    """Collect jetspect and all that it requires; an earlier wheelhouse in ``folder`` is replaced when the new one is whole.

    Parameters
    ----------
    constraint
        pip's constraints; their markers count for the target.
    own
        jetspect's wheel; by default it is built from the checkout.
    add
        Wheels from elsewhere, such as PyCUDA's, which must be built on a device.

    Raises
    ------
    ProvisionError
        ``folder`` holds something else, a wheel does not fit the target, or pip does not find what is required.
    """
    require_packaging()
    _require_replaceable(folder)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=_parent(folder)) as name:
        draft = Path(name) / "wheels"
        draft.mkdir()
        wheel = read_wheel(build_own_wheel(draft) if own is None else _copied(own, draft), target)
        if wheel.name != "jetspect":
            raise ProvisionError(f"{own} is a wheel of {wheel.name}, and jetspect's is wanted")
        added = [read_wheel(_copied(path, draft), target) for path in add]
        closure = _collect(draft, target, wheel, added, tuple(sorted(set(extras))), constraint)
        _write(draft, target, tuple(sorted(set(extras))), closure)
        if folder.exists():
            folder.rename(Path(name) / "old")
        draft.rename(folder)
    return Wheelhouse.open(folder, target)


def _collect(
    draft: Path, target: Target, own: Wheel, added: Sequence[Wheel], extras: tuple[str, ...], constraint: Path | None
) -> Closure:
    """Download until nothing is missing, and delete what the target does not need."""
    _require_extras(own, extras)
    root = "jetspect" + (f"[{','.join(extras)}]" if extras else "")
    # pip itself, because an image may be without one.
    roots = [root, "pip", *(f"{wheel.name}=={wheel.version}" for wheel in added)]
    limits = draft.parent / "constraints.txt"
    limits.write_text("" if constraint is None else _for_target(constraint, target), encoding="utf-8")
    wanted = [f"{root} @ {own.path.absolute().as_uri()}", *roots[1:]]
    platforms = [word for platform in target.platforms for word in ("--platform", platform)]
    for _ in range(_ROUNDS):
        run_pip(
            "download", "--only-binary=:all:", "--implementation", "cp", "--python-version", target.python,
            *platforms, "--find-links", draft, "--constraint", limits, "--dest", draft, *wanted,
        )  # fmt: skip
        closure = close(roots, [read_wheel(path, target) for path in sorted(draft.glob("*.whl"))], target)
        if not closure.missing:
            for path in set(draft.glob("*.whl")) - {wheel.path for wheel in closure.wheels}:
                path.unlink()
            return closure
        wanted += closure.missing
    raise ProvisionError(f"pip does not bring what {target} needs: {', '.join(closure.missing)}")


def _write(draft: Path, target: Target, extras: tuple[str, ...], closure: Closure) -> None:
    lines = [f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in closure.wheels]
    (draft / LOCK).write_text("".join(lines), encoding="utf-8")
    version = next(wheel.version for wheel in closure.wheels if wheel.name == "jetspect")
    files = {wheel.path.name: wheel.sha256 for wheel in closure.wheels} | {LOCK: _sha256(draft / LOCK)}
    index = WheelhouseIndex(
        jetspect=version,
        architecture=target.architecture,
        python=target.python,
        extras=extras,
        files=dict(sorted(files.items())),
    )
    (draft / INDEX).write_text(index.model_dump_json(indent=2) + "\n", encoding="utf-8")
    for path in draft.iterdir():
        path.chmod(0o644)
    draft.chmod(0o755)


def _for_target(constraint: Path, target: Target) -> str:
    """Return the lines of a constraints file that count for the target, without markers, which pip reads for its own Python."""
    from packaging.requirements import InvalidRequirement, Requirement

    kept = []
    try:
        for line in constraint.read_text("utf-8").splitlines():
            text = line.partition("#")[0].strip()
            if text and ((wanted := Requirement(text)).marker is None or wanted.marker.evaluate(target.environment())):
                kept.append(f"{wanted.name}{wanted.specifier}\n")
    except (OSError, UnicodeDecodeError, InvalidRequirement) as error:
        raise ProvisionError(
            f"--constraint {constraint} cannot be used: {error}; give lines such as numpy==2.2.6"
        ) from error
    return "".join(kept)


def _require_extras(own: Wheel, extras: tuple[str, ...]) -> None:
    known = {line.partition("extra == ")[2].strip(" \"')") for line in own.requires if "extra == " in line}
    if unknown := [extra for extra in extras if extra not in known]:
        raise ProvisionError(f"jetspect has no extra {', '.join(unknown)}; it has {', '.join(sorted(known))}")


def _require_replaceable(folder: Path) -> None:
    if folder.exists() and not (folder / INDEX).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise ProvisionError(f"{folder} is there and is no wheelhouse; name a new folder")


def _parent(folder: Path) -> Path:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProvisionError(f"{folder.parent} cannot be made: {error.strerror or error}") from error
    return folder.parent


def _copied(path: Path, folder: Path) -> Path:
    try:
        return Path(shutil.copy(path, folder))
    except OSError as error:
        raise ProvisionError(f"{path} cannot be read: {error.strerror or error}; name a wheel file") from error


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
