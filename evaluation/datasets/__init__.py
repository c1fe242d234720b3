"""Labelled data sets in their authors' published layout, opened by name."""

from __future__ import annotations

from pathlib import Path

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets.base import DataSet, Sample
from jetspect.evaluation.datasets.bsdata import BSData
from jetspect.evaluation.datasets.folder import MaskFolder
from jetspect.evaluation.datasets.magnetic_tile import MagneticTile
from jetspect.evaluation.datasets.synthetic import SyntheticParts

__all__ = ["KINDS", "BSData", "DataSet", "MagneticTile", "MaskFolder", "Sample", "SyntheticParts", "open_dataset"]

KINDS = ("bsdata", "folder", "magnetic-tile", "synthetic")


def open_dataset(kind: str, path: Path | None, split: str) -> DataSet:
    """Open one split (``train``, ``val``, ``test`` or ``all``) of a data set.

    Raises
    ------
    DataSetError
        The kind is not known, the path is missing or incomplete, or the split is empty.
    """
    if kind == "synthetic":
        return SyntheticParts(split)
    if kind not in KINDS:
        raise DataSetError(f"data set {kind!r} is not known; use one of {', '.join(KINDS)}")
    if path is None:
        raise DataSetError(f"data set {kind} needs the path of its folder")
    if not path.is_dir():
        raise DataSetError(f"data set folder {path} {'is a file' if path.exists() else 'does not exist'}")
    if kind == "magnetic-tile":
        return MagneticTile(path, split)
    return BSData(path, split) if kind == "bsdata" else MaskFolder(path, split)
