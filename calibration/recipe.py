"""How a graph's precision was reached, as its entry in the manifest records it, and what people should know about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jetspect.calibration.coverage import Chosen
from jetspect.calibration.gate import Row
from jetspect.calibration.graphs import Graphs
from jetspect.calibration.network import Weighted
from jetspect.calibration.options import CalibrateOptions
from jetspect.calibration.search import Found
from jetspect.runtime.manifest import Precision

FP16_DROP = 0.001


def int8_share(convolutions: Sequence[Weighted], nodes: frozenset[str]) -> float:
    """Return the share of the multiply-adds that these convolutions do."""
    return sum(c.macs for c in convolutions if c.name in nodes) / sum(c.macs for c in convolutions)


def make_recipes(
    options: CalibrateOptions, chosen: Chosen, found: Found, convolutions: Sequence[Weighted], graphs: Graphs
) -> dict[Precision, dict[str, Any]]:
    """Return the recipe of every graph; they differ in what is INT8."""
    common = {
        "method": found.method,
        "data": f"{options.dataset} {options.crops_from}",
        "judged_on": f"{options.dataset} {options.judge_on}",
        "seed": options.seed,
        "tile_px": options.tile_px,
        "crops": len(chosen.crops.tiles),
        "crops_sha256": chosen.sha256,
        "strata": chosen.crops.strata,
        "left_out": chosen.left_out,
        "covered": round(chosen.covered, 4),
        "given_back": list(found.given_back),
        "one_scale": sorted(name for name, yes in found.shared.items() if yes),
        "several_scales": sorted(name for name, yes in found.shared.items() if not yes),
        "threshold_shift": found.threshold_shift,
        "cpu_speedup": round(graphs.cpu_speedup, 2),
    }
    return {
        precision: {
            **common,
            "int8_share": round(int8_share(convolutions, graphs.nodes(precision)), 4),
            "fp16_blocks": sorted({c.block for c in convolutions if c.name not in graphs.nodes(precision)}),
        }
        for precision in graphs.data
    }


def make_notes(chosen: Chosen, options: CalibrateOptions, rows: Sequence[Row]) -> tuple[str, ...]:
    """Say what people should know about the crops, the splits, FP16, and classes that lose more than all together."""
    notes = [
        f"class {name} has no defect in split {options.crops_from}, so no crop shows it" for name in chosen.missing
    ]
    if len(chosen.crops.tiles) < options.crops:
        notes.append(f"{len(chosen.crops.tiles)} crops instead of {options.crops}: the split gives no more")
    if options.crops_from == options.judge_on:
        notes.append(f"ranges were measured on split {options.judge_on}, on which INT8 is judged too")
    iou: Mapping[str, Any] = {r.name: r.measures["iou"] for r in rows}
    if iou.get("fp16") is not None and iou["fp32"] - iou["fp16"] > FP16_DROP:
        notes.append(f"fp16 loses {iou['fp32'] - iou['fp16']:.4f} of IoU, more than {FP16_DROP:g}")
    return (*notes, *_classes_that_lose(rows, options.limits.max_iou_drop))


def _classes_that_lose(rows: Sequence[Row], most: float) -> list[str]:
    """Name classes whose own IoU falls by more than is allowed in all; pooled over all pixels a rare class hardly shows."""
    found = []
    for name, counts in rows[0].evaluation.per_class.items():
        for row in rows[1:]:
            lost = counts.iou - row.evaluation.per_class[name].iou
            if len(rows[0].evaluation.shared) > 1 and lost > most:
                found.append(f"{row.name} loses {lost:.4f} of IoU on class {name}")
    return found
