"""From an FP32 bundle and labelled images to one with INT8 graphs that keep the defects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jetspect.calibration.activations import Activations
from jetspect.calibration.coverage import LEAST_CROPS, Chosen, choose_crops
from jetspect.calibration.crops import select_crops
from jetspect.calibration.gate import Limits, Row, measure, measure_engine
from jetspect.calibration.graphs import Graphs, make_graphs
from jetspect.calibration.judge import Judge
from jetspect.calibration.network import Network, Weighted
from jetspect.calibration.outcome import Outcome
from jetspect.calibration.quantize import float_activations, quantised_activations
from jetspect.calibration.ranges import Histogram, Method, measure_ranges
from jetspect.calibration.reference import open_torch
from jetspect.calibration.search import Found, give_back_one_more, search
from jetspect.calibration.sensitivity import Budget, Trial
from jetspect.calibration.update import draft_bundle, finish_manifest, write_update
from jetspect.errors import CalibrationError
from jetspect.evaluation.datasets import open_dataset
from jetspect.export.graph import float_twin
from jetspect.runtime.bundle import Bundle

Progress = Callable[[str, int, int], None]
TILE_PX = 384
MOST_TILE_PX = 4096
JUDGE_TILES = 96
# Whole images may say no this often before the gate does.
ROUNDS = 4
FP16_DROP = 0.001


@dataclass(frozen=True)
class CalibrateOptions:
    """Everything about a calibration but the bundle.

    Attributes
    ----------
    crops_from, judge_on
        Splits: what ranges are measured on, and what INT8 is judged on.
    least_int8
        Share of the multiply-adds that must be INT8.
    checkpoint
        What the bundle was exported from: PyTorch joins the table.
    """

    dataset: str
    data: Path | None = None
    crops_from: str = "train"
    judge_on: str = "val"
    method: Method | Literal["auto"] = "auto"
    crops: int = 512
    limits: Limits = field(default_factory=Limits)
    least_int8: float = 0.8
    seed: int = 0
    tile_px: int = TILE_PX
    judge_tiles: int = JUDGE_TILES
    checkpoint: Path | None = None


def calibrate(path: Path, options: CalibrateOptions, progress: Progress = lambda *_: None) -> Outcome:
    """Quantise a bundle's model, judge it, and write the INT8 graphs into the bundle where it passes.

    A bundle whose INT8 graph loses too much is left as it is; so is one whose calibration is interrupted.

    Raises
    ------
    CalibrationError
        The bundle cannot be quantised: a zip, a model of whole frames, a graph that is no network of convolutions, an
        activation without a range.
    DataSetError
        The data set lacks labels, or gives too few crops.
    """
    bundle = Bundle.open(path)
    _check(bundle, path, options)
    torch = open_torch(options.checkpoint, bundle) if options.checkpoint is not None else None
    train = open_dataset(options.dataset, options.data, options.crops_from, protocol="evaluate")
    images = open_dataset(options.dataset, options.data, options.judge_on, protocol="evaluate")
    network, channels = Network(float_twin(bundle.graph("fp32"))), bundle.manifest.input.channels
    crops = select_crops(images, options.judge_tiles, options.tile_px, channels=channels, seed=options.seed)
    judge = Judge(crops, images, bundle.manifest.output)
    trial = Trial(network, judge, progress)
    convolutions = _convolutions(network, judge)
    nodes = [c.name for c in convolutions if not c.keep]
    if (most := int8_share(convolutions, frozenset(nodes))) < options.least_int8:
        why = "; ".join(f"{c.block}: {c.keep}" for c in convolutions if c.keep)
        raise CalibrationError(
            f"at most {most:.2%} of the multiply-adds can be INT8, {options.least_int8:.2%} are asked ({why}); lower --min-int8"
        )
    chosen = choose_crops(
        train,
        options.crops,
        options.tile_px,
        Activations(network.graph, quantised_activations(network, nodes)),
        channels=channels,
        seed=options.seed,
        progress=lambda done, total: progress("choosing crops", done, total),
    )
    histograms = observe(network, chosen, progress)
    limits = options.limits
    budget = Budget(limits.max_iou_drop, limits.max_recall_drop, options.least_int8)
    found: Found | None = search(trial, convolutions, histograms, budget, method=options.method)
    fixed: list[Row] = []
    for _ in range(ROUNDS):
        assert found is not None
        best = found
        ranges = _every_range(histograms, best.method)
        graphs = make_graphs(bundle.graph("fp32"), best.plan, ranges, judge.tiles[:1])
        recipe = _recipe(options, chosen, best, convolutions, graphs)
        draft = draft_bundle(bundle, graphs, judge, recipe, best.threshold_shift)
        if not fixed:
            fixed = measure(draft, images, [p for p in ("fp32", "fp16") if p in draft.manifest.graphs], progress)
            if torch is not None:
                fixed.append(measure_engine(draft, torch, images, "pytorch", progress=progress))
        rows = [*fixed, *measure(draft, images, tuple(graphs.data), progress)]
        faults = limits.faults(rows[0], next(r for r in rows if r.name == "int8"))
        found = give_back_one_more(trial, best, budget) if faults else None
        if found is None:
            break
    notes = _notes(chosen, options, graphs, rows)
    if bundle.signature != "unsigned":
        notes = (
            *notes,
            "the bundle was signed; its signature was not checked here and does not hold for what is written",
        )
    manifest = None
    if not faults:
        manifest, left_out = finish_manifest(draft, rows, limits)
        notes = (*notes, *left_out)
    outcome = Outcome(
        draft=draft,
        manifest=manifest,
        faults=faults,
        notes=notes,
        chosen=chosen,
        judge=judge,
        judged_on=images,
        fp32=trial.fp32,
        found=best,
        convolutions=convolutions,
        kept={
            **{c.name: c.keep for c in convolutions if c.keep},
            **{
                n: "its block loses too much in INT8"
                for b in best.losses
                if b.block in best.given_back
                for n in b.nodes
            },
        },
        int8_share=int8_share(convolutions, best.plan.nodes),
        ranges=ranges,
        histograms=histograms,
        rows=tuple(rows),
        recipe=recipe,
    )
    if manifest is not None:
        write_update(path, bundle, outcome)
    return outcome


def observe(network: Network, chosen: Chosen, progress: Progress = lambda *_: None) -> dict[str, Histogram]:
    """Count the values of every float activation over the crops, one crop in memory at a time.

    Raises
    ------
    CalibrationError
        An activation is NaN or infinite; names it and the crop.
    """
    names = float_activations(network)
    activations, histograms = Activations(network.graph, names), {name: Histogram() for name in names}
    for index, tile in enumerate(chosen.crops.tiles):
        for name, values in activations(tile[None]).items():
            try:
                histograms[name].add(values)
            except ValueError as error:
                raise CalibrationError(
                    f"activation {name!r} holds {error} on crop {chosen.crops.crops[index]}; do mean, std and weights of the "
                    "model belong together?"
                ) from error
        progress("measuring ranges", index + 1, len(chosen.crops.tiles))
    return histograms


def _every_range(histograms: Mapping[str, Histogram], method: Method) -> dict[str, tuple[float, float]]:
    """Return the ranges of all activations; what TensorRT needs was checked before, elsewhere a constant is no fault."""
    living = {t: h for t, h in histograms.items() if h.highest > h.lowest}
    constant = {t: (min(h.lowest, 0.0), max(h.highest, 1e-3)) for t, h in histograms.items() if t not in living}
    return {**measure_ranges(living, method), **constant}


def int8_share(convolutions: tuple[Weighted, ...], nodes: frozenset[str]) -> float:
    """Return the share of the multiply-adds that these convolutions do."""
    return sum(c.macs for c in convolutions if c.name in nodes) / sum(c.macs for c in convolutions)


def _check(bundle: Bundle, path: Path, options: CalibrateOptions) -> None:
    if not path.is_dir():
        raise CalibrationError(f"{path} is a zip; calibration writes into the bundle, so unpack it into a folder first")
    tiling = bundle.manifest.tiling
    if tiling.mode == "whole":
        raise CalibrationError(
            f"{bundle.manifest.name} sees whole frames; only models of tiles are quantised, this one runs in FP16"
        )
    if any(c.min_area_mm2 is not None for c in bundle.manifest.output.classes):
        raise CalibrationError(
            f"{bundle.manifest.name} has limits in mm2, which need the pixel pitch of a station; export it with limits in px"
        )
    if options.crops < LEAST_CROPS:
        raise CalibrationError(
            f"calibration needs at least {LEAST_CROPS} crops to see what activations reach, got {options.crops}"
        )
    if not 0 < options.tile_px <= MOST_TILE_PX:
        raise CalibrationError(f"crops are 1 to {MOST_TILE_PX} px wide, got {options.tile_px}; choose another --tile")
    if options.seed < 0:
        raise CalibrationError(f"the seed is 0 or more, got {options.seed}")
    if options.tile_px % tiling.stride_px:
        raise CalibrationError(
            f"tiles of {options.tile_px} px are no multiple of the stride of {tiling.stride_px} px; choose another --tile"
        )


def _convolutions(network: Network, judge: Judge) -> tuple[Weighted, ...]:
    convolutions = network.convolutions(judge.tiles[:1])
    if all(c.keep for c in convolutions):
        why = "; ".join(f"{c.block}: {c.keep}" for c in convolutions)
        raise CalibrationError(f"no convolution is worth quantising ({why}); INT8 would not be faster than FP16")
    return convolutions


def _notes(chosen: Chosen, options: CalibrateOptions, graphs: Graphs, rows: list[Row]) -> tuple[str, ...]:
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
    return (*notes, *_classes_that_lose(rows, options.limits.max_iou_drop), *graphs.notes)


def _classes_that_lose(rows: list[Row], most: float) -> list[str]:
    """Name classes whose own IoU falls by more than is allowed in all; pooled over all pixels a rare class hardly shows."""
    found = []
    for name, counts in rows[0].evaluation.per_class.items():
        for row in rows[1:]:
            lost = counts.iou - row.evaluation.per_class[name].iou
            if len(rows[0].evaluation.shared) > 1 and lost > most:
                found.append(f"{row.name} loses {lost:.4f} of IoU on class {name}")
    return found


def _recipe(
    options: CalibrateOptions, chosen: Chosen, found: Found, convolutions: tuple[Weighted, ...], graphs: Graphs
) -> dict[str, Any]:
    return {
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
        "int8_share": round(int8_share(convolutions, found.plan.nodes), 4),
        "fp16_blocks": sorted({c.block for c in convolutions if c.name not in found.plan.nodes}),
        "given_back": list(found.given_back),
        "one_scale": sorted(name for name, yes in found.shared.items() if yes),
        "several_scales": sorted(name for name, yes in found.shared.items() if not yes),
        "threshold_shift": found.threshold_shift,
        "cpu_speedup": round(graphs.cpu_speedup, 2),
    }
