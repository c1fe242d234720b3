"""A model that sees whole frames: one run per frame, defects in frame pixels, and its decision makes the verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import numpy.typing as npt
import pytest
from station_config import station
from typer.testing import CliRunner

from jetspect.cli import app
from jetspect.errors import BundleError, EngineError, GoldenMismatchError, InputError
from jetspect.runtime.assembly import build_station
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import open_engine
from jetspect.runtime.engines.onnxruntime import OnnxRuntimeEngine
from jetspect.runtime.frames import Frame
from jetspect.runtime.golden import check_golden
from jetspect.runtime.inspector import Inspector, InspectorSettings
from jetspect.runtime.manifest import Manifest
from jetspect.runtime.publishing.contract import json_schema
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.publishing.result_message import ResultMessage
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.results import Verdict
from jetspect.runtime.whole import WholeMapper, fit_frame

U8 = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def whole(brightest: Any, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(brightest.write(tmp_path_factory.mktemp("whole") / "b"))


def inspector(bundle: Bundle, **settings: Any) -> Inspector:
    return Inspector(bundle, open_engine(bundle)[0], InspectorSettings.model_validate(settings))


def picture(level: int, *, size_wh: tuple[int, int] = (640, 320), spot: int = 60) -> U8:
    """Dark texture with a bright rectangle a quarter from the left and half-way down."""
    width, height = size_wh
    image = np.random.default_rng(1).integers(20, 90, (height, width), np.uint8)
    image[height // 2 : height // 2 + spot, width // 4 : width // 4 + spot] = level
    return image


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("size_wh", [(640, 320), (500, 333), (128, 64), (96, 200)])
def test_defects_are_located_in_the_pixels_of_the_frame(whole: Bundle, size_wh: tuple[int, int], colour: bool) -> None:
    width, height = size_wh
    spot = min(size_wh) // 3
    image = picture(250, size_wh=size_wh, spot=spot)
    frame = Frame(np.repeat(image[:, :, None], 3, axis=2) if colour else image, "one")
    with inspector(whole, checks={"min_sharpness": 0}) as looking:
        inspection = looking.inspect(frame)
        assert looking.score_map(frame.image).shape == (1, height, width)
    assert (inspection.size_wh, inspection.tiles, inspection.tiles_skipped) == (size_wh, 1, 0)
    (defect,) = inspection.defects
    # A pixel of the resized frame is this many of the frame's.
    coarse = max(width / 128, height / 64, 1) + 1
    wanted = (width // 4, height // 2, width // 4 + spot, height // 2 + spot)
    assert np.abs(np.subtract(defect.box_xyxy, wanted)).max() <= coarse


def test_the_decision_decides_and_located_defects_only_show_where(whole: Bundle) -> None:
    """Located from 153 (0.6), NOK from 204 (0.8)."""
    with inspector(whole, checks={"min_sharpness": 0}) as looking:
        bad, doubtful, good = (looking.inspect(Frame(picture(v), "x")) for v in (204, 203, 100))
        lone = picture(60)
        lone[100, 100] = 255
        assert looking.inspect(Frame(lone, "x")).verdict is Verdict.OK, (
            "one pixel of the frame is lost in a smaller one"
        )
    assert (bad.verdict, bad.decision) == (Verdict.NOK, 204 / 255)
    assert bad.reasons == ("decision 0.800, at or above 0.800 is NOK",)
    assert (doubtful.verdict, len(doubtful.defects), doubtful.decision) == (Verdict.OK, 1, 203 / 255)
    assert doubtful.reasons == ("decision 0.796, below 0.800 is OK: 1 located defect does not count",)
    assert (good.verdict, good.defects, good.reasons) == (Verdict.OK, (), ())


def test_a_part_is_nok_though_no_defect_was_located(brightest: Any, tmp_path: Path) -> None:
    data = brightest.graph()
    said = brightest.manifest(data)
    said["output"]["classes"][0]["min_area_px"] = 10**6
    with inspector(Bundle.open(brightest.write(tmp_path / "b", said=said))) as looking:
        inspection = looking.inspect(Frame(picture(250), "x"))
    assert (inspection.verdict, inspection.defects) == (Verdict.NOK, ())
    assert inspection.reasons[0].endswith("is NOK; no single defect was located")


def test_defects_that_are_not_listed_do_not_overrule_the_decision(whole: Bundle) -> None:
    image = picture(200)
    image[20:80, 400:460] = 200
    with inspector(whole, max_reported=1) as looking:
        inspection = looking.inspect(Frame(image, "x"))
    assert (inspection.verdict, len(inspection.defects), inspection.defects_truncated) == (Verdict.OK, 1, 1)
    assert "2 located defects do not count" in inspection.reasons[0]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"tiling": {"tile_px": 64}},
            "resized to 128 x 64 px; it cannot run in tiles of 64 px: leave tiling.tile_px out",
        ),
        ({"tiling": {"batch": 2}}, "one run per frame, not a batch of 2: leave tiling.batch out"),
        ({"tiling": {"roi_xyxy": (0, 0, 9, 9)}}, "outside a region would still weigh .* leave tiling.roi_xyxy out"),
        ({"tiling": {"roi_mask": "mask.png"}}, "leave tiling.roi_mask out"),
        (
            {"verdict": {"max_defects": 3}},
            r"decides on the image as a whole \(NOK at or above 0.8\), .* leave \[verdict\] out",
        ),
    ],
)
def test_settings_that_need_tiles_or_counting_are_refused(whole: Bundle, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        inspector(whole, **settings)
    assert "\n" not in str(caught.value)


def test_a_tiled_bundle_gets_no_whole_mapper(bundle: Bundle) -> None:
    with OnnxRuntimeEngine(bundle.graph("fp32")) as engine, pytest.raises(InputError, match="it is tiled"):
        WholeMapper(bundle.manifest, engine, TilingSettings())


@pytest.mark.parametrize("spoil", [-3, 3, 40])
def test_an_engine_that_decides_otherwise_does_not_go_live(brightest: Any, tmp_path: Path, spoil: int) -> None:
    """Its masks are right to the last level: only the decision tells."""
    wrong = Bundle.open(brightest.write(tmp_path / "b", model=brightest.graph(spoil=spoil)))
    with pytest.raises(
        GoldenMismatchError, match=rf"decision on golden frame 0: it is off by {abs(spoil)} of 255 levels, 2"
    ):
        open_engine(wrong)


def test_a_difference_that_rounding_explains_goes_live(brightest: Any, tmp_path: Path) -> None:
    engine, report = open_engine(Bundle.open(brightest.write(tmp_path / "b", model=brightest.graph(spoil=2))))
    engine.close()
    assert (report.tiles, report.max_levels) == (2, 0)


def test_every_slot_of_a_batch_must_decide_right(whole: Bundle) -> None:
    class OneBadSlot(OnnxRuntimeEngine):
        def run(self, tiles: U8) -> U8:
            scores = super().run(tiles)
            if self._decisions is not None:
                self._decisions[-1] ^= 64
            return scores

    class Silent(OnnxRuntimeEngine):
        decisions = None  # type: ignore[assignment]

    with OneBadSlot(whole.graph("fp32")) as engine, pytest.raises(GoldenMismatchError, match="off by 64"):
        check_golden(engine, whole, "fp32", batch=3)
    with Silent(whole.graph("fp32")) as engine:
        with pytest.raises(EngineError, match="returns no decision for golden frames"):
            check_golden(engine, whole, "fp32")
        with pytest.raises(EngineError, match="returns no decision, though the bundle has one"):
            WholeMapper(whole.manifest, engine, TilingSettings()).score(picture(9))


@pytest.mark.parametrize(
    ("section", "changes", "says"),
    [
        ("tiling", {"frame_wh": None}, "mode whole needs frame_wh, the others have none; got whole and None"),
        ("tiling", {"mode": "exact"}, r"got exact and \(128, 64\)"),
        ("tiling", {"frame_wh": [124, 64], "tile_px": 124}, r"frame_wh \(124, 64\) must be multiples of stride_px 8"),
        ("tiling", {"frame_wh": [0, 64]}, "must be multiples of stride_px 8"),
        ("tiling", {"tile_px": 64}, "tile_px is the longer side 128 and halo_px 0, got 64 and 0"),
        ("tiling", {"halo_px": 8}, "halo_px 0, got 128 and 8"),
        (
            "tiling",
            {"mode": "exact", "frame_wh": None},
            "decision needs tiling.mode whole, got exact: a decision pools over",
        ),
        ("golden", {"tile_wh": None}, r"golden.tile_wh None must be tiling.frame_wh \(128, 64\)"),
        ("golden", {"tile_wh": [64, 128]}, "golden.tile_wh"),
        ("output", {"decision": {"threshold": 1.5}}, "output.decision.threshold"),
        ("output", {"decision": {"level": 1}}, "output.decision.level: Extra inputs are not permitted"),
        ("output", {"decision": None}, "returns scores_u8: .*, decision_u8: .*; the manifest says uint8 scores"),
        ("output", {"decision": {"name": "verdict_u8"}}, "the manifest says scores and verdict_u8: uint8 N x 1"),
    ],
)
def test_a_manifest_that_contradicts_itself_or_its_graph_is_refused(
    brightest: Any, tmp_path: Path, section: str, changes: dict[str, Any], says: str
) -> None:
    manifest = brightest.manifest(brightest.graph())
    manifest[section].update(changes)
    with pytest.raises(BundleError, match=says) as caught:
        Bundle.open(brightest.write(tmp_path / "b", said=manifest))
    assert "\n" not in str(caught.value)


def test_a_graph_of_another_frame_size_is_refused(brightest: Any, tmp_path: Path) -> None:
    manifest = brightest.manifest(brightest.graph())
    manifest["tiling"].update(frame_wh=[128, 128])
    manifest["golden"].update(tile_wh=[128, 128])
    with pytest.raises(BundleError, match=r"takes tiles_u8: uint8 N x 64 x 128 x 1; .* frames of 128 x 128 px"):
        Bundle.open(brightest.write(tmp_path / "b", said=manifest))


def test_golden_frames_need_their_decisions(brightest: Any, tmp_path: Path) -> None:
    for proof, says in (
        (brightest.golden(decisions=np.zeros((2, 2), np.uint8)), r"decisions are uint8 \(2, 2\), the manifest says"),
        (brightest.golden(tiles=np.zeros((2, 128, 64, 1), np.uint8)), r"tiles are uint8 \(2, 128, 64, 1\)"),
    ):
        with pytest.raises(BundleError, match=says):
            Bundle.open(brightest.write(tmp_path / "b", proof=proof)).golden()


def test_what_bundles_said_before_still_reads(metal_demo: Path) -> None:
    text = (metal_demo / "manifest.json").read_text()
    assert not any(word in text for word in ("frame_wh", "decision", "tile_wh")), "written before there were such"
    manifest = Manifest.model_validate(json.loads(text))
    assert (manifest.tiling.frame_wh, manifest.output.decision, manifest.golden.tile_wh) == (None, None, None)
    assert manifest.golden.tile_hw == (manifest.golden.tile_px,) * 2


@pytest.mark.parametrize("size_wh", [(128, 64), (64, 64), (200, 40), (300, 300)])
def test_a_frame_is_fitted_by_area_where_it_shrinks(size_wh: tuple[int, int]) -> None:
    image = np.random.default_rng(3).integers(0, 256, (128, 256, 3), np.uint8)
    grey = fit_frame(image, size_wh, 1)
    assert grey.shape == (size_wh[1], size_wh[0], 1)
    assert grey.flags.c_contiguous and fit_frame(image, size_wh, 3).shape == (size_wh[1], size_wh[0], 3)
    assert fit_frame(image[:, :, 0], size_wh, 3).shape[2] == 3
    # By area the mean is kept to rounding; sampling single pixels of noise would miss it by several levels.
    assert abs(float(fit_frame(image, size_wh, 3).mean()) - float(image.mean())) < 1.5
    blocks = image.reshape(64, 2, 128, 2, 3).mean(axis=(1, 3))
    assert np.abs(fit_frame(image, (128, 64), 3) - blocks).max() <= 0.51


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name, level in (("a-good", 100), ("b-bad", 240)):
        cv2.imwrite(str(folder / f"{name}.png"), picture(level))
    cv2.imwrite(str(folder / "c-black.png"), np.zeros((320, 640), np.uint8))
    return folder


def test_a_station_publishes_the_decision_and_its_schema_knows_it(tmp_path: Path, images: Path, whole: Bundle) -> None:
    evidence = {"folder": str(tmp_path / "evidence")}
    with build_station(station(tmp_path, whole.path, evidence=evidence)) as running:
        assert running.run() == 3
    with Outbox(tmp_path / "outbox.sqlite") as outbox:
        results = [json.loads(row.payload) for row in outbox.pending(limit=10)]
    assert [r["verdict"] for r in results] == ["OK", "NOK", "UNKNOWN"]
    assert results[1]["decision"] == round(240 / 255, 4)
    assert "decision" in results[0] and "decision" not in results[2]
    for result in results:
        jsonschema.validate(result, json_schema("result"))
        assert json.loads(ResultMessage.model_validate(result).payload()) == result
    assert any(e["kind"] == "overlay" for e in results[1]["evidence"])


def test_a_station_file_that_asks_for_tiles_is_refused_before_the_first_frame(
    tmp_path: Path, images: Path, whole: Bundle
) -> None:
    with pytest.raises(InputError, match=r"cannot run in tiles of 96 px"):
        build_station(station(tmp_path, whole.path, tiling={"tile_px": 96}))


def test_the_commands_say_what_the_bundle_does(images: Path, whole: Bundle) -> None:
    run = CliRunner()
    shown = run.invoke(app, ["bundle", "show", str(whole.path)]).output
    assert "whole frames resized to 128 x 64 px" in shown and "NOK at or above 0.800" in shown
    told = run.invoke(app, ["inspect", str(whole.path), str(images / "b-bad.png")])
    assert told.exit_code == 1
    assert "decision 0.941" in told.output
    answers = json.loads(run.invoke(app, ["inspect", str(whole.path), str(images), "--json"]).stdout)["inspections"]
    assert [a.get("decision") for a in answers] == [round(100 / 255, 4), round(240 / 255, 4), None]
