"""From an FP32 bundle and labelled images to one with INT8 graphs that keep the defects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jetspect.calibration.activations import Activations
from jetspect.calibration.coverage import Chosen, choose_crops
from jetspect.calibration.crops import select_crops
from jetspect.calibration.judge import Judge
from jetspect.calibration.network import Network, Weighted
from jetspect.calibration.options import CalibrateOptions, check_options
from jetspect.calibration.outcome import Outcome
from jetspect.calibration.quantize import float_activations, quantised_activations
from jetspect.calibration.ranges import Histogram
from jetspect.calibration.recipe import int8_share, make_notes
from jetspect.calibration.reference import open_torch
from jetspect.calibration.rounds import Setting, Settled, settle
from jetspect.calibration.search import search
from jetspect.calibration.sensitivity import Trial
from jetspect.calibration.trt8 import trt8_notes
from jetspect.calibration.update import finish_manifest, write_update
from jetspect.errors import CalibrationError
from jetspect.evaluation.datasets import open_dataset
from jetspect.export.graph import float_twin
from jetspect.runtime.bundle import Bundle

Progress = Callable[[str, int, int], None]


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
    check_options(bundle, path, options)
    torch = open_torch(options.checkpoint, bundle) if options.checkpoint is not None else None
    train = open_dataset(options.dataset, options.data, options.crops_from, protocol="evaluate")
    images = open_dataset(options.dataset, options.data, options.judge_on, protocol="evaluate")
    network, channels = Network(float_twin(bundle.graph("fp32"))), bundle.manifest.input.channels
    crops = select_crops(images, options.judge_tiles, options.tile_px, channels=channels, seed=options.seed)
    judge = Judge(crops, images, bundle.manifest.output)
    trial = Trial(network, judge, progress)
    convolutions = _convolutions(network, judge, options)
    chosen = choose_crops(
        train,
        options.crops,
        options.tile_px,
        Activations(network.graph, quantised_activations(network, [c.name for c in convolutions if not c.keep])),
        channels=channels,
        seed=options.seed,
        progress=lambda done, total: progress("choosing crops", done, total),
    )
    histograms = observe(network, chosen, progress)
    setting = Setting(bundle, options, images, trial, convolutions, chosen, histograms, progress)
    found = search(trial, convolutions, histograms, setting.budget, method=options.method)
    outcome = _outcome(setting, settle(setting, found, torch))
    if outcome.manifest is not None:
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


def _convolutions(network: Network, judge: Judge, options: CalibrateOptions) -> tuple[Weighted, ...]:
    convolutions = network.convolutions(judge.tiles[:1])
    why = "; ".join(f"{c.block}: {c.keep}" for c in convolutions if c.keep)
    if all(c.keep for c in convolutions):
        raise CalibrationError(f"no convolution is worth quantising ({why}); INT8 would not be faster than FP16")
    most = int8_share(convolutions, frozenset(c.name for c in convolutions if not c.keep))
    if most < options.least_int8:
        raise CalibrationError(
            f"at most {most:.2%} of the multiply-adds can be INT8, {options.least_int8:.2%} are asked ({why}); lower --min-int8"
        )
    return convolutions


def _outcome(setting: Setting, settled: Settled) -> Outcome:
    found, convolutions = settled.found, setting.convolutions
    notes = (
        *make_notes(setting.chosen, setting.options, settled.rows),
        *settled.graphs.notes,
        *trt8_notes(settled.trt8),
    )
    if setting.bundle.signature != "unsigned":
        notes = (
            *notes,
            "the bundle was signed; its signature was not checked here and does not hold for what is written",
        )
    manifest = None
    if not settled.faults:
        manifest, left_out = finish_manifest(settled.draft, settled.rows, setting.options.limits, settled.trt8)
        notes = (*notes, *left_out)
    given_back = [n for b in found.losses if b.block in found.given_back for n in b.nodes]
    return Outcome(
        draft=settled.draft,
        manifest=manifest,
        faults=settled.faults,
        notes=notes,
        chosen=setting.chosen,
        judge=setting.trial.judge,
        judged_on=setting.images,
        fp32=setting.trial.fp32,
        found=found,
        convolutions=convolutions,
        kept={
            **{c.name: c.keep for c in convolutions if c.keep},
            **dict.fromkeys(given_back, "its block loses too much in INT8"),
        },
        int8_share=int8_share(convolutions, found.plan.nodes),
        ranges=settled.ranges,
        histograms=setting.histograms,
        rows=settled.rows,
        recipe=settled.recipes["int8"],
        trt8=settled.trt8,
    )
