"""Does it matter which tiles INT8 is calibrated on, and how ranges are chosen? Random tiles, strata and coverage, side by side.

    python -m jetspect.benchmarks.calibration bundles/bsd-pitting --dataset bsdata --data PATH \\
        --out benchmarks/results/calibration-bsd-pitting.json

Every convolution that may be INT8 is, no block is given back, so that nothing hides what a choice does. Judged on tiles of the
validation split; random tiles and strata are drawn with several seeds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from jetspect import __version__
from jetspect.calibration.activations import Activations
from jetspect.calibration.coverage import Selection, choose_crops
from jetspect.calibration.crops import select_crops
from jetspect.calibration.judge import Judge
from jetspect.calibration.network import Network
from jetspect.calibration.quantize import Plan, quantised_activations
from jetspect.calibration.ranges import METHODS, Histogram, measure_ranges
from jetspect.calibration.sensitivity import Trial
from jetspect.device.probe import probe
from jetspect.evaluation.datasets import open_dataset
from jetspect.export.graph import float_twin
from jetspect.runtime.bundle import Bundle

TILE_PX = 384


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run every choice and return the measurements as plain data."""
    bundle = Bundle.open(options.bundle)
    channels = bundle.manifest.input.channels
    train = open_dataset(options.dataset, options.data, "train", protocol="evaluate")
    val = open_dataset(options.dataset, options.data, "val", protocol="evaluate")
    network = Network(float_twin(bundle.graph("fp32")))
    judge = Judge(select_crops(val, options.judge_tiles, options.tile, channels=channels), val, bundle.manifest.output)
    trial = Trial(network, judge)
    nodes = frozenset(c.name for c in network.convolutions(judge.tiles[:1]) if not c.keep)
    activations = Activations(network.graph, quantised_activations(network, nodes))
    rows: list[dict[str, Any]] = []
    for how, seed, count in _choices(options):
        chosen = choose_crops(train, count, options.tile, activations, channels=channels, seed=seed, how=how)
        histograms = {name: Histogram() for name in quantised_activations(network, nodes)}
        for tile in chosen.crops.tiles:
            for name, values in activations(tile[None]).items():
                histograms[name].add(values)
        for method in METHODS:
            quality = trial.quality(Plan(nodes, measure_ranges(histograms, method)))
            rows.append(
                {"tiles": how, "seed": seed, "count": len(chosen.crops.tiles), "asked": count, "method": method}
            )
            rows[-1] |= asdict(quality)
            print(
                f"{how:9} seed {seed} {len(chosen.crops.tiles):4} {method:10} IoU {quality.iou - trial.fp32.iou:+.4f} "
                f"small defects {quality.small_recall - trial.fp32.small_recall:+.4f} error {quality.error_levels:.3f}",
                flush=True,
            )
    return {
        "jetspect": __version__,
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": probe().as_dict(),
        "bundle": f"{bundle.manifest.name} {bundle.manifest.version}",
        "data": f"{options.dataset}: crops from train, judged on {len(judge)} tiles of val",
        "fp32": asdict(trial.fp32),
        "mean_over_seeds": summarise(rows, asdict(trial.fp32)),
        "rows": rows,
    }


def summarise(rows: list[dict[str, Any]], fp32: dict[str, float]) -> list[dict[str, Any]]:
    """Return the mean over seeds of every choice, as differences to FP32."""
    keys = sorted({(r["tiles"], r["asked"], r["method"]) for r in rows})
    table = []
    for tiles, asked, method in keys:
        same = [r for r in rows if (r["tiles"], r["asked"], r["method"]) == (tiles, asked, method)]
        change = {
            k: round(float(np.mean([r[k] for r in same])) - fp32[k], 5) for k in ("iou", "recall", "small_recall")
        }
        error = round(float(np.mean([r["error_levels"] for r in same])), 4)
        table.append(
            {"tiles": tiles, "asked": asked, "method": method, "seeds": len(same), **change, "error_levels": error}
        )
    return table


def _choices(options: argparse.Namespace) -> Iterator[tuple[Selection, int, int]]:
    hows: tuple[Selection, ...] = ("random", "strata", "coverage")
    for count in options.counts:
        for how in hows:
            # Coverage leaves little to the seed: it looks at all candidates.
            for seed in range(1 if how == "coverage" else options.seeds):
                yield how, seed, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--counts", type=int, nargs="+", default=[32, 128, 512])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--judge-tiles", type=int, default=96)
    parser.add_argument("--tile", type=int, default=TILE_PX)
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    result = measure(options)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
