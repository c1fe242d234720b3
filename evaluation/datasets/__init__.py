"""Labelled data sets in their authors' published layout, opened by name."""

from jetspect.evaluation.datasets.base import DataSet, Sample
from jetspect.evaluation.datasets.bsdata import BSData
from jetspect.evaluation.datasets.folder import MaskFolder
from jetspect.evaluation.datasets.magnetic_tile import MagneticTile
from jetspect.evaluation.datasets.registry import KINDS, open_dataset
from jetspect.evaluation.datasets.synthetic import SyntheticParts

__all__ = ["KINDS", "BSData", "DataSet", "MagneticTile", "MaskFolder", "Sample", "SyntheticParts", "open_dataset"]
