"""jetspect's own wheel, built from the checkout that this jetspect runs from."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jetspect
from jetspect.errors import ProvisionError
from jetspect.provisioning.pip import run_pip

_BESIDE = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")
# Times in the wheel do not depend on the day of its making, so that the same sources give the same bytes.
_EPOCH = "1577836800"
_SETUPTOOLS = 70  # as pyproject.toml asks for


def build_own_wheel(folder: Path) -> Path:
    """Build the wheel into a folder and return it.

    Raises
    ------
    ProvisionError
        This jetspect was installed from a wheel, so that there are no sources to build from.
    """
    package = Path(jetspect.__file__).resolve().parent
    absent = [name for name in _BESIDE if not (package.parent / name).is_file()]
    if absent:
        raise ProvisionError(
            f"this jetspect ({package}) does not run from a checkout, so its wheel cannot be built; give the wheel that it "
            "was installed from with --wheel FILE"
        )
    with tempfile.TemporaryDirectory(prefix="jetspect-wheel-") as name:
        # A copy, because setuptools leaves build/ behind and packs what an earlier build left there.
        source = Path(name)
        shutil.copytree(package, source / "jetspect", ignore=shutil.ignore_patterns("__pycache__"))
        for beside in _BESIDE:
            shutil.copy(package.parent / beside, source / beside)
        run_pip(
            "wheel", "--quiet", "--no-deps", *_isolation(), "--wheel-dir", folder, source,
            environment={**os.environ, "SOURCE_DATE_EPOCH": _EPOCH},
        )  # fmt: skip
    return folder / f"jetspect-{jetspect.__version__}-py3-none-any.whl"


def _isolation() -> tuple[str, ...]:
    """Take the setuptools that is there, where it is new enough, rather than download one."""
    with suppress(PackageNotFoundError, ValueError):
        if int(version("setuptools").partition(".")[0]) >= _SETUPTOOLS:
            return ("--no-build-isolation",)
    return ()
