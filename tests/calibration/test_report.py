"""The report of a calibration: one file with everything."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from jetspect.calibration.coverage import Chosen
from jetspect.calibration.crops import select_crops
from jetspect.calibration.gate import Row
from jetspect.calibration.judge import Judge, Quality
from jetspect.calibration.network import Weighted
from jetspect.calibration.outcome import Outcome
from jetspect.calibration.pictures import most_different
from jetspect.calibration.plots import rebinned
from jetspect.calibration.quantize import Plan
from jetspect.calibration.ranges import Histogram
from jetspect.calibration.report import (
    MARKER,
    clipped,
    kept,
    render,
    whole_images,
    write_report,
)
from jetspect.calibration.search import Found
from jetspect.calibration.sensitivity import BlockLoss
from jetspect.calibration.trt8 import Trt8Step
from jetspect.evaluation.datasets.base import Sample
from jetspect.evaluation.evaluate import evaluate
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.results import Prediction

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "metal-demo"
U8 = npt.NDArray[np.uint8]


class Spots:
    """Grey images whose value is the score; in every second one is a bright spot of some class."""

    name, classes = "spots", ("scratch", "dent", "stain")

    def __init__(self, count: int = 16) -> None:
        self.ids = [f"spot <{n}>" for n in range(count)]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        image, mask = np.full((120, 160), 40, np.uint8), np.zeros((120, 160), np.uint8)
        if index % 2:
            side = 6 + index
            mask[30 : 30 + side, 50 : 50 + side] = 1 + index % 3
            image[30 : 30 + side, 50 : 50 + side] = 200
        return Sample(self.ids[index], image, mask, f"part {index // 4}")


def row(name: str, lost: int = 0) -> Row:
    """Return what a model reaches that misses the lowest ``lost`` rows of every spot."""

    def predict(image: U8) -> Prediction:
        said = (image >= 128).astype(np.uint8)
        bottom = int(np.flatnonzero(said.any(axis=1))[-1]) + 1 if said.any() else 0
        said[bottom - lost : bottom] = 0
        return Prediction(said, np.stack([image] * 3))

    return Row(name, f"{name} engine", evaluate(Spots(), predict, Spots.classes), 128 - lost, None)


def quality(lost: float = 0.0, error: float = 0.0) -> Quality:
    return Quality(0.8 - lost, 1.0, 1.0, 0.125, error)


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    """A calibration of 30 convolutions in six blocks: one in FP16 from the start, one given back."""
    bundle = Bundle.open(BUNDLE)
    spec = bundle.manifest.graphs["fp16"]
    manifest = bundle.manifest.model_copy(update={"graphs": {**bundle.manifest.graphs, "int8": spec}})
    files = {name: bundle.file(name) for name in bundle.sizes}
    draft = Bundle(BUNDLE, files, manifest, signature="draft")
    convolutions = tuple(
        Weighted(f"conv{n}", "Conv", f"block.{n // 5}", f"t{n}", 16, 16, 1, 100, "" if n else "3 channels in")
        for n in range(30)
    )
    given_back = frozenset({"conv28", "conv29"})
    nodes = frozenset(c.name for c in convolutions[1:]) - given_back
    histograms = {}
    for n in range(30):
        histograms[f"t{n}"] = Histogram()
        histograms[f"t{n}"].add(np.random.default_rng(n).normal(0, 1 + n, 2000).astype(np.float32))
    ranges = {f"t{n}": (-2.0 - n, 2.0 + n) for n in range(30)}
    losses = tuple(
        BlockLoss(
            f"block.{b}", tuple(c.name for c in convolutions if c.block == f"block.{b}"), 1 / 6, quality(0.001 * b, b)
        )
        for b in range(6)
    )
    tiles = select_crops(Spots(), 8, 64, channels=3)
    found = Found(
        Plan(nodes, ranges, (frozenset({"t1", "t2"}),)),
        quality(0.004, 0.4),
        "mse",
        {"mse": quality(0.004, 0.5), "entropy": quality(0.02, 0.7)},
        losses,
        ("block.5",),
        {"cat <1>": True, "cat 2": False},
    )
    return Outcome(
        draft=draft,
        manifest=None,
        faults=("int8 loses <too much>",),
        notes=("fp16 is as good",),
        chosen=Chosen(tiles, 0.93, {**tiles.strata, "stain large": tiles.strata.get("stain large", 0) + 3}, ()),
        judge=Judge(tiles, Spots(), manifest.output),
        judged_on=Spots(),
        fp32=quality(),
        found=found,
        convolutions=convolutions,
        kept={"conv0": "3 channels in", **dict.fromkeys(given_back, "its block loses too much in INT8")},
        int8_share=0.9,
        ranges=ranges,
        histograms=histograms,
        rows=(row("fp32"), row("fp16"), row("int8", 2)),
        recipe={
            "crops": 8,
            "data": "spots train",
            "judged_on": "spots val",
            "crops_sha256": "0" * 64,
            "seed": 0,
            "tile_px": 64,
        },
        trt8=(
            Trt8Step("one scale", 0.9, ("int8-trt8 loses <0.2>",), {"iou": 0.6}),
            Trt8Step("fp16", 0.85, (), {"iou": 0.8}),
        ),
    )


@pytest.fixture(scope="module")
def few(outcome: Outcome) -> Outcome:
    """The same with few drawings, which take most of the time."""
    return replace(outcome, convolutions=outcome.convolutions[:3])


@pytest.fixture(scope="module")
def text(outcome: Outcome) -> str:
    return render(outcome, [])


def test_the_page_needs_nothing_else_and_says_what_was_found(
    few: Outcome, text: str, read_page: Callable[[str], Any]
) -> None:
    page = read_page(text)
    assert text.startswith(MARKER) and len(text) < 4e6
    assert all(link.startswith("data:") for link in page.links) and "url(http" not in text
    assert "Not passed" in page.words and "int8 loses <too much>" in page.words and "<too much>" not in text
    assert "Fp16 is as good." in page.words
    assert len(page.images) == 8  # the crops; no overlay was handed over
    assert text.count("<svg") == 1 + 24
    assert re.search(r"\s3 more activations not shown: these 24 belong", text)
    assert "FP32 and INT8 have the same IoU on every image." in page.words
    assert "Passed" in read_page(render(replace(few, faults=(), manifest=few.draft.manifest), [])).words


def test_every_precision_stands_beside_fp32_with_its_difference(
    outcome: Outcome, text: str, read_page: Callable[[str], Any]
) -> None:
    lines = {r[0]: r[1:] for r in read_page(text).rows if r}
    assert ["clean tiles with anything found", "0.1250", "-", "0.1250", "same"] in read_page(text).rows
    before, after = (r.measures["iou"] for r in (outcome.rows[0], outcome.rows[2]))
    assert before is not None and after is not None
    same = f"{before:.4f}"
    assert lines["IoU over all pixels"] == [same, same, "same", f"{after:.4f}", f"{after - before:+.4f}"]
    assert lines["threshold with the best IoU"][:5] == ["0.502", "0.502", "same", "0.494", "-2 levels"]
    assert lines["dent"][0] and any(name.startswith("found, ") for name in lines)
    assert lines["mse, every block in INT8 (taken)"][0] == "0.7960"
    assert lines["stain large"][-1] == "3" and lines["cat <1>"][0] == "one for all"
    assert "the bundle's thresholds are moved by" not in lines


def test_moved_thresholds_are_said(outcome: Outcome) -> None:
    graphs = dict(outcome.draft.manifest.graphs)
    graphs["int8"] = graphs["int8"].model_copy(update={"threshold_shift": -8})
    files = {name: outcome.draft.file(name) for name in outcome.draft.sizes}
    manifest = outcome.draft.manifest.model_copy(update={"graphs": graphs})
    moved = replace(outcome, draft=Bundle(BUNDLE, files, manifest, signature="draft"))
    last = whole_images(moved)[-1]
    assert [c.value for c in last.cells] == ["0 levels", "0 levels", "-8 levels"]


def test_what_stays_in_fp16_is_listed_block_by_block(outcome: Outcome) -> None:
    assert [(k.block, k.count, k.share) for k in kept(outcome)] == [("block.0", 1, "3.33 %"), ("block.5", 2, "6.67 %")]


def test_the_forms_of_the_graph_for_tensorrt_8_are_listed_with_the_one_taken(
    text: str, read_page: Callable[[str], Any]
) -> None:
    rows = [r[:4] for r in read_page(text).rows if r and r[0].startswith("with ")]
    assert rows == [
        ["with one scale per transposed convolution", "90.0%", "0.6000", "no: int8-trt8 loses <0.2>"],
        ["with transposed convolutions in FP16", "85.0%", "0.8000", "yes"],
    ]


def test_histograms_are_those_of_int8_convolutions_with_the_scale_they_share(outcome: Outcome) -> None:
    shown, hidden = clipped(outcome)
    assert len(shown) + hidden == 27 and len(shown) == 24
    names = [a.name for a in shown]
    assert names == sorted(names, key=lambda t: int(t[1:])) and "t0" not in names and "t28" not in names
    # Blocks with a larger error go first; of block 0 one of four is left.
    assert {"t27", "t5"} <= set(names)
    everything, none = clipped(outcome, most=99)
    limits = {a.name: a.limit for a in everything}
    assert none == 0 and limits["t1"] == limits["t2"] == 4.0 and limits["t3"] == 5.0
    assert 0 < everything[0].share < 0.2


def test_a_rebinned_histogram_keeps_every_value() -> None:
    values, histogram = np.random.default_rng(0).uniform(-0.5, 3, 5000).astype(np.float32), Histogram()
    histogram.add(values)
    edges, counts = rebinned(histogram, 50)
    assert counts.sum() == 5000 and len(edges) == len(counts) + 1 <= 51
    assert edges[0] <= values.min() and edges[-1] >= values.max()
    assert counts[edges[1:] <= 0].sum() == pytest.approx(np.count_nonzero(values < 0), abs=100)
    lone = Histogram()
    lone.add(np.full(7, 2.0, np.float32))
    assert rebinned(lone)[1].tolist() == [7]


def test_images_come_in_the_order_of_their_difference(outcome: Outcome) -> None:
    pairs = most_different(outcome.rows[0], outcome.rows[2], 3)
    lost = [a.counts.iou - b.counts.iou for a, b in pairs]
    # Two rows are more of a small spot.
    assert [a.index for a, _ in pairs] == [1, 3, 5] and lost == sorted(lost, reverse=True)
    assert most_different(outcome.rows[0], outcome.rows[1], 3) == []
    false = replace(outcome.rows[2].evaluation.images[0], counts=outcome.rows[2].evaluation.images[1].counts)
    changed = replace(outcome.rows[0].evaluation, images=(false, *outcome.rows[0].evaluation.images[1:]))
    first = most_different(outcome.rows[0], replace(outcome.rows[0], evaluation=changed), 1)
    assert first[0][0].index == 0  # nothing there and nothing said counts as right


def test_both_graphs_are_run_again_on_six_images_and_an_old_report_is_replaced(
    few: Outcome, tmp_path: Path, read_page: Callable[[str], Any]
) -> None:
    path = tmp_path / "new" / "report.html"
    write_report(path, few)
    assert len(read_page(path.read_text()).images) == 8 + 6
    path.write_text(MARKER + "old")
    write_report(path, replace(few, rows=(*few.rows[:2], replace(few.rows[1], name="int8"))))
    assert "same IoU on every image" in path.read_text()
