"""Every kind of data set: how it is opened, and what is known about it."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets.base import DataSet
from jetspect.evaluation.datasets.bsdata import BSData
from jetspect.evaluation.datasets.coco import COCO
from jetspect.evaluation.datasets.dagm import DAGM
from jetspect.evaluation.datasets.folder import MaskFolder
from jetspect.evaluation.datasets.info import DataSetInfo, Protocol, require
from jetspect.evaluation.datasets.kolektor import KolektorSDD, KolektorSDD2
from jetspect.evaluation.datasets.labelme import LabelMe
from jetspect.evaluation.datasets.magnetic_tile import MagneticTile
from jetspect.evaluation.datasets.mvtec_ad import MVTecAD
from jetspect.evaluation.datasets.neu_det import NEUDet
from jetspect.evaluation.datasets.severstal import Severstal
from jetspect.evaluation.datasets.synthetic import SyntheticParts
from jetspect.runtime.manifest import ClassName

_MOST_CLASSES = 254  # 0 is background, 255 is not counted
_CLASS_NAME = TypeAdapter(ClassName)
READERS: tuple[type[DataSet], ...] = (
    BSData,
    COCO,
    DAGM,
    MaskFolder,
    KolektorSDD,
    KolektorSDD2,
    LabelMe,
    MagneticTile,
    MVTecAD,
    NEUDet,
    Severstal,
    SyntheticParts,
)
KINDS: dict[str, DataSetInfo] = {reader.info.kind: reader.info for reader in READERS}  # type: ignore[attr-defined]


def open_dataset(kind: str, path: Path | None, split: str, *, protocol: Protocol | None = None) -> DataSet:
    """Open one split (``train``, ``val``, ``test`` or ``all``) of a data set.

    Parameters
    ----------
    kind
        A name of :data:`KINDS`, with its option after a colon, for example ``kolektorsdd:1``.
    protocol
        What it is opened for; what the labels cannot support is refused.

    Raises
    ------
    DataSetError
        The kind or option is not known, the path is missing or incomplete, the split is empty, or the protocol is not possible.
    """
    reader, info, option = find_kind(kind, path)
    if protocol is not None:
        require(info, protocol, option=option)
    if reader is SyntheticParts:
        return SyntheticParts(split)
    data: DataSet = reader(path, split, option) if info.option else reader(path, split)  # type: ignore[call-arg]
    _check_classes(data, path)
    return data


def _check_classes(data: DataSet, path: Path | None) -> None:
    if len(data.classes) > _MOST_CLASSES:
        raise DataSetError(
            f"{path} has {len(data.classes)} classes, masks have numbers for {_MOST_CLASSES}; divide the data set"
        )
    for name in data.classes:
        try:
            _CLASS_NAME.validate_python(name)
        except ValidationError as error:
            raise DataSetError(
                f"{path} has a class named {name!r}; a name is printable, 1 to 60 characters, without a space at its ends"
            ) from error


def find_kind(kind: str, path: Path | None) -> tuple[type[DataSet], DataSetInfo, str]:
    """Return the reader of a kind, what is known about it, and the option asked for.

    Raises
    ------
    DataSetError
        The kind is not known, it has no option, or the path is missing.
    """
    name, colon, option = kind.partition(":")
    if name not in KINDS:
        raise DataSetError(f"data set {name!r} is not known; use one of {', '.join(KINDS)}")
    info, reader = KINDS[name], READERS[list(KINDS).index(name)]
    if colon and not info.option:
        raise DataSetError(f"data set {name} has no option, got {option!r}; leave it out")
    if reader is SyntheticParts:
        return reader, info, option
    if path is None:
        raise DataSetError(f"data set {name} needs the path of its folder")
    if not path.is_dir():
        raise DataSetError(f"data set folder {path} {'is a file' if path.exists() else 'does not exist'}")
    return reader, info, option
