from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from jetspect.errors import EngineError, InputError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import open_engine
from jetspect.runtime.frames import Frame, LostFrame
from jetspect.runtime.inspector import Inspector, InspectorSettings
from jetspect.runtime.results import Verdict
from jetspect.runtime.sources.synthetic import SyntheticPart, render_part


@pytest.fixture(scope="module")
def part() -> SyntheticPart:
    return render_part(100, (1200, 900), texture="brushed", defects=4)


@pytest.fixture
def inspector(bundle: Bundle) -> Iterator[Inspector]:
    with Inspector(bundle, open_engine(bundle)[0]) as inspector:
        yield inspector


def test_defects_of_a_rendered_part_are_found_where_they_are(inspector: Inspector, part: SyntheticPart) -> None:
    inspection = inspector.inspect(Frame(part.image, "part"))
    assert inspection.verdict is Verdict.NOK
    found = inspector.segment(part.image) > 0
    truth = part.mask > 0
    assert (found & truth).sum() > 0.3 * truth.sum()
    assert sum(d.area_px for d in inspection.defects) >= found.sum()


def test_tiling_gives_the_whole_frame_answer(bundle: Bundle, part: SyntheticPart) -> None:
    """Whatever the tile size, the score map differs from the whole-frame one by rounding at most."""
    maps = []
    for tile in (1216, 400, 256):
        settings = InspectorSettings.model_validate({"tiling": {"tile_px": tile}})
        with Inspector(bundle, open_engine(bundle)[0], settings) as inspector:
            maps.append(inspector.score_map(part.image).astype(int))
    assert np.abs(maps[0] - maps[1]).max() <= 1
    assert np.abs(maps[0] - maps[2]).max() <= 1


def test_a_region_has_the_scores_of_the_whole_frame(bundle: Bundle, part: SyntheticPart) -> None:
    """Its tiles lie elsewhere than the frame's own, which changes nothing but rounding."""
    left, top, right, bottom = 331, 207, 702, 455
    maps = []
    for tiling in ({"tile_px": 1216}, {"tile_px": 400, "roi_xyxy": (left, top, right, bottom)}):
        with Inspector(
            bundle, open_engine(bundle)[0], InspectorSettings.model_validate({"tiling": tiling})
        ) as inspector:
            maps.append(inspector.score_map(part.image).astype(int))
    whole, inside = maps
    assert whole[:, top:bottom, left:right].any()
    assert np.abs(whole - inside)[:, top:bottom, left:right].max() <= 1
    inside[:, top:bottom, left:right] = 0
    assert not inside.any()


def test_a_graph_may_have_thresholds_of_its_own(bundle: Bundle, part: SyntheticPart) -> None:
    """A shift moves both thresholds of every class for that graph alone; scores stay as they are."""
    graphs = dict(bundle.manifest.graphs)
    graphs["fp16"] = graphs["fp16"].model_copy(update={"threshold_shift": 20})
    manifest = bundle.manifest.model_copy(update={"graphs": graphs})
    classes = zip(bundle.manifest.output.classes, manifest.at("fp16").output.classes, strict=True)
    for before, after in classes:
        assert after.threshold == pytest.approx(min(1.0, before.threshold + 20 / 255))
        assert after.threshold_low == pytest.approx(min(1.0, before.threshold_low + 20 / 255))
    assert manifest.at("fp32").output == bundle.manifest.output
    moved = Bundle(bundle.path, {n: bundle.file(n) for n in bundle.sizes}, manifest, signature="test")
    areas = {}
    for name, opened in (("as it is", bundle), ("shifted", moved)):
        with Inspector(opened, open_engine(opened, precision="fp16")[0]) as inspector:
            areas[name] = int((inspector.segment(part.image) > 0).sum())
    assert 0 < areas["shifted"] < areas["as it is"]


def test_timings_add_up_and_the_model_is_named(inspector: Inspector, part: SyntheticPart) -> None:
    inspection = inspector.inspect(Frame(part.image, "part", part_id="P1", origin="here"))
    t = inspection.timings
    stages = t.checks_ms + t.gather_ms + t.engine_ms + t.scatter_ms + t.postprocess_ms + t.verdict_ms
    assert 0.9 * t.total_ms <= stages <= t.total_ms * 1.001
    assert inspection.model.name == "metal-demo"
    assert "onnxruntime" in inspection.model.engine
    assert (inspection.part_id, inspection.origin, inspection.size_wh) == ("P1", "here", (1200, 900))


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (LostFrame("x", "gone"), "gone"),
        (Frame(np.zeros((300, 300, 3), np.uint8), "x"), "black"),
        (Frame(np.full((300, 300), 255, np.uint8), "x"), "overexposed"),
    ],
)
def test_what_cannot_be_judged_is_unknown(inspector: Inspector, frame: Frame | LostFrame, reason: str) -> None:
    inspection = inspector.inspect(frame)
    assert inspection.verdict is Verdict.UNKNOWN
    assert reason in inspection.reasons[0]


def test_more_defects_than_are_listed_is_nok_and_says_so(bundle: Bundle, part: SyntheticPart) -> None:
    lenient = {"max_reported": 1, "verdict": {"max_defects": 1000}}
    with Inspector(bundle, open_engine(bundle)[0], InspectorSettings.model_validate(lenient)) as inspector:
        inspection = inspector.inspect(Frame(part.image, "part"))
    assert len(inspection.defects) == 1
    assert inspection.defects_truncated >= 1
    assert inspection.verdict is Verdict.NOK
    assert "more defects are not listed" in inspection.reasons[-1]


def test_areas_come_in_mm2_once_the_pitch_is_known(bundle: Bundle, part: SyntheticPart) -> None:
    with Inspector(bundle, open_engine(bundle)[0], InspectorSettings(pixel_pitch_mm=0.1)) as inspector:
        for defect in inspector.inspect(Frame(part.image, "part")).defects:
            assert defect.area_mm2 == pytest.approx(defect.area_px * 0.01)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"verdict": {"classes": {"rust": {}}}}, "names rust, which bundle metal-demo does not have"),
        ({"verdict": {"classes": {"stain": {"max_area_mm2": 1}}}}, "need the pixel pitch"),
        ({"tiling": {"tile_px": 100}}, "must be multiples of the model's stride"),
    ],
)
def test_settings_that_do_not_fit_the_bundle_are_refused(bundle: Bundle, settings: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Inspector(bundle, open_engine(bundle)[0], InspectorSettings.model_validate(settings))


def test_a_precision_that_is_not_there_is_refused_not_replaced(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="has no int8 graph, it has fp32, fp16"):
        open_engine(bundle, precision="int8")
