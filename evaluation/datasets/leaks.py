"""Whether what a model learns from and what it is judged on are apart."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from pathlib import Path

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets.base import DataSet
from jetspect.evaluation.datasets.files import FileDataSet, refuse


def find_leaks(sides: Mapping[str, DataSet]) -> list[str]:
    """Return one line for each image that stands on two sides, as the same file, a copy of it, or another of its group.

    Data sets that are not made of files have nothing to compare and are left out.

    Parameters
    ----------
    sides
        Splits of one data set by their names.

    Raises
    ------
    DataSetError
        An image cannot be read.
    """
    files = {side: data for side, data in sides.items() if isinstance(data, FileDataSet)}
    faults = []
    for (one, a), (two, b) in itertools.combinations(files.items(), 2):
        paths = {e.path.resolve(): e for e in a.entries}
        groups = {e.group: e for e in a.entries}
        try:
            copies = _copies([e.path for e in a.entries], [e.path for e in b.entries])
        except OSError as error:
            raise DataSetError(f"{error.filename} cannot be read: {error.strerror}; copy it again") from error
        for entry in b.entries:
            if entry.path.resolve() in paths:
                faults.append(f"{entry.path} is in {one} and in {two}")
            elif entry.path in copies:
                faults.append(f"{entry.path} in {two} is a copy of {copies[entry.path]} in {one}")
            elif entry.group in groups:
                other = groups[entry.group].path
                faults.append(f"{entry.path} in {two} belongs together with {other} in {one} ({entry.group})")
    return faults


def refuse_leaks(sides: Mapping[str, DataSet]) -> None:
    """Raise DataSetError where :func:`find_leaks` finds something."""
    refuse(
        find_leaks(sides),
        "a model must not be judged on what it has learned; delete one of them, or keep both on one side",
    )


def _copies(these: list[Path], those: list[Path]) -> dict[Path, Path]:
    """Map files of the second list to a file of the first with the same content."""
    by_size: dict[int, list[Path]] = {}
    for path in these:
        by_size.setdefault(path.stat().st_size, []).append(path)
    digests: dict[int, dict[bytes, Path]] = {}
    found = {}
    for path in those:
        size = path.stat().st_size
        if size not in by_size:
            continue
        if size not in digests:
            digests[size] = {_digest(other): other for other in reversed(by_size[size])}
        if other := digests[size].get(_digest(path)):
            found[path] = other
    return found


def _digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()
