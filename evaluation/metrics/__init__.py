"""Measures of inspection, as plain NumPy (OpenCV for components); each is checked against an outside reference in the tests."""

from jetspect.evaluation.metrics.bootstrap import bootstrap
from jetspect.evaluation.metrics.boundary import boundary_counts, boundary_distance, boundary_iou
from jetspect.evaluation.metrics.confusion import Confusion, confusion, mean_defined
from jetspect.evaluation.metrics.histogram import ScoreHistogram
from jetspect.evaluation.metrics.objects import ObjectMatch, TrueObject, match_objects, recall_by_size, size_bins
from jetspect.evaluation.metrics.ranking import auroc, average_precision, pr_curve, roc_curve
from jetspect.evaluation.metrics.regions import class_matrix, mean_accuracy, mean_iu, pixel_accuracy

__all__ = [
    "Confusion",
    "ObjectMatch",
    "ScoreHistogram",
    "TrueObject",
    "auroc",
    "average_precision",
    "bootstrap",
    "boundary_counts",
    "boundary_distance",
    "boundary_iou",
    "class_matrix",
    "confusion",
    "match_objects",
    "mean_accuracy",
    "mean_defined",
    "mean_iu",
    "pixel_accuracy",
    "pr_curve",
    "recall_by_size",
    "roc_curve",
    "size_bins",
]
