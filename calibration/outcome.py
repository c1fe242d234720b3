"""What a calibration found: everything the bundle records and the report shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from jetspect.calibration.coverage import Chosen
from jetspect.calibration.gate import Row
from jetspect.calibration.judge import Judge, Quality
from jetspect.calibration.network import Weighted
from jetspect.calibration.ranges import Histogram
from jetspect.calibration.search import Found
from jetspect.calibration.trt8 import Trt8Step
from jetspect.evaluation.datasets.base import DataSet
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.manifest import Manifest


@dataclass(frozen=True, eq=False)
class Outcome:
    """A finished calibration, passed or not.

    Attributes
    ----------
    draft
        The bundle with every graph that was tried, in memory.
    manifest
        What is written; None where the gate said no.
    faults
        Why the gate said no; empty where it passed.
    notes
        What people should know: classes without crops, graphs that were left out.
    fp32
        What FP32 reaches on the judge's tiles.
    kept
        Convolutions in FP16 by name, with the reason.
    ranges
        The chosen ranges by activation.
    rows
        Every precision on the whole validation images.
    trt8
        The forms of the graph for TensorRT 8.6 that were tried; none where the int8 graph itself failed.
    """

    draft: Bundle
    manifest: Manifest | None
    faults: tuple[str, ...]
    notes: tuple[str, ...]
    chosen: Chosen
    judge: Judge
    judged_on: DataSet
    fp32: Quality
    found: Found
    convolutions: tuple[Weighted, ...]
    kept: Mapping[str, str]
    int8_share: float
    ranges: Mapping[str, tuple[float, float]]
    histograms: Mapping[str, Histogram]
    rows: tuple[Row, ...]
    recipe: Mapping[str, Any]
    trt8: tuple[Trt8Step, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.faults

    def as_dict(self) -> dict[str, Any]:
        """Return what ``calibration.json`` holds: recipe, crops, ranges, losses per block, measures per precision."""
        return {
            "passed": self.passed,
            "faults": list(self.faults),
            "notes": list(self.notes),
            "recipe": dict(self.recipe),
            "crops": [str(c) for c in self.chosen.crops.crops],
            "judge_tiles": len(self.judge),
            "fp32_on_tiles": asdict(self.fp32),
            "int8_on_tiles": asdict(self.found.quality),
            "methods": {m: asdict(q) for m, q in self.found.methods.items()},
            "blocks": [
                {"block": b.block, "macs": round(b.macs, 5), "nodes": list(b.nodes), **asdict(b.quality)}
                for b in self.found.losses
            ],
            "kept_fp16": dict(self.kept),
            "trt8": [step.as_dict() for step in self.trt8],
            "ranges": {
                name: {"lowest": float(low), "highest": float(high), "seen": [h.lowest, h.highest]}
                for name, (low, high) in self.ranges.items()
                for h in (self.histograms[name],)
            },
            "precisions": {
                row.name: {
                    **row.accuracy,
                    "best_level": row.best_level,
                    "shift_levels": row.best_level - self.rows[0].best_level,
                    "per_class": row.evaluation.classes_as_dict(),
                    "engine": row.engine,
                }
                for row in self.rows
            },
        }
