"""What looking at the part only saves: scenes of a stated cover, a first stage that sees the part, and a whole run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import jetspect

from jetspect.benchmarks.gating.scenes import part_box, scene
from jetspect.benchmarks.gating.stage_one import brightness_graph, with_stage_one
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines.onnxruntime import OnnxRuntimeEngine
from jetspect.runtime.foreground import ForegroundFinder, ForegroundSettings

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "metal-demo"


@pytest.mark.parametrize("cover", [0.1, 0.6, 1.0])
def test_the_part_covers_what_is_stated_and_every_defect_lies_on_it(cover: float) -> None:
    shown = scene(3, (640, 480), cover)
    left, top, right, bottom = shown.part_xyxy
    assert shown.cover == pytest.approx(cover, rel=0.01)
    assert shown.part_xyxy == part_box((640, 480), cover)
    background = np.ones(shown.truth.shape, bool)
    background[top:bottom, left:right] = False
    assert shown.truth.any() and not shown.truth[background].any()
    assert (shown.image[background] <= 16).all()
    assert (shown.image == scene(3, (640, 480), cover).image).all()


def test_the_made_first_stage_sees_the_part_and_nothing_else() -> None:
    """Its mask holds the whole part, defects included, and ends within its margin."""
    spec = with_stage_one(Bundle.open(BUNDLE)).manifest.foreground
    assert spec is not None
    with OnnxRuntimeEngine(brightness_graph(), threads=1) as engine:
        for seed in range(2):
            shown = scene(seed, (800, 600), 0.3)
            left, top, right, bottom = shown.part_xyxy
            mask = ForegroundFinder(spec, engine, ForegroundSettings()).find(shown.image).full()
            assert mask[top:bottom, left:right].all()
            reach = spec.margin_px + 2 * spec.scale
            mask[max(0, top - reach) : bottom + reach, max(0, left - reach) : right + reach] = 0
            assert not mask.any()


def test_the_run_skips_tiles_and_misses_nothing(tmp_path: Path) -> None:
    size = ("--size", "576x480", "--tile", "288", "--cover", "10", "--rounds", 1, "--threads", 1)
    done = jetspect("bench", "gating", BUNDLE, *size, "--json", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    data = record["result"]
    rows = {(r["way"], r["cover"]): r for r in data["rows"]}
    assert len(rows) == 3
    for way in ("region of interest", "two stages"):
        assert rows[way, 0.1]["tiles"] < rows["full scan", 0.1]["tiles"] == 12
    assert all(r["missed"] == 0 for r in rows.values())
    assert all(r["alarms_outside"] == 0 for (way, _), r in rows.items() if way != "full scan")
    assert [r["what"].rsplit(": ")[1] for r in record["rows"]] == [
        "region of interest at 10% cover",
        "two stages at 10% cover",
    ]
    assert data["stage_one"] == "brightness, made for this benchmark"
    assert "two stages, 10%" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--cover", "10,much"), "--cover is a list of percentages"),
        (("--cover", "0"), "the part covers 1 to 100 % of the frame, got ['0%']"),
        (("--cover", "nan"), "the part covers 1 to 100 %"),
        (("--tile", "230"), "must be multiples of the model's stride 16"),
    ],
)
def test_what_cannot_work_is_refused_before_the_run(options: tuple[str, str], message: str) -> None:
    done = jetspect("bench", "gating", BUNDLE, *options)
    assert done.returncode == 2
    assert message in done.stderr
