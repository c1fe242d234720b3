"""A calibration that passes puts INT8 graphs into the bundle; one that does not leaves every byte as it was."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from jetspect.calibration.calibrate import calibrate
from jetspect.calibration.gate import Limits
from jetspect.calibration.options import CalibrateOptions
from jetspect.calibration.outcome import Outcome
from jetspect.cli import app
from jetspect.errors import CalibrationError, DataSetError, ExportError, InputError
from jetspect.export.writer import write_bundle
from jetspect.runtime.bundle import MANIFEST, SUMS, Bundle
from jetspect.runtime.engines import open_engine
from jetspect.runtime.manifest import GoldenTolerance, Manifest

Make = Callable[..., CalibrateOptions]


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def changed(folder: Path, graphs: dict[str, bytes], edit: Callable[[Manifest], Manifest] = lambda m: m) -> None:
    """Write the bundle anew with other graphs and another manifest."""
    old = Bundle.open(folder)
    files = {n: d for n, d in contents(folder).items() if n != SUMS} | graphs
    specs = {
        p: s.model_copy(
            update={
                "sha256": hashlib.sha256(files[s.file]).hexdigest(),
                "tolerance": GoldenTolerance(max_levels=255, mean_levels=255),
            }
        )
        for p, s in old.manifest.graphs.items()
    }
    manifest = edit(old.manifest.model_copy(update={"graphs": specs}))
    write_bundle({**files, MANIFEST: manifest.model_dump_json().encode()}, folder, force=True)


def test_the_bundle_has_int8_graphs_now_and_verifies(bundle: Path, done: tuple[Path, Outcome, list[str]]) -> None:
    path, outcome, _ = done
    assert outcome.passed and outcome.manifest is not None, outcome.faults
    opened = Bundle.open(path)
    assert opened.manifest == outcome.manifest
    assert {"fp32", "fp16", "int8", "int8-trt8"} <= set(opened.manifest.graphs)
    for precision in ("fp32", "fp16"):
        assert opened.graph(precision) == Bundle.open(bundle).graph(precision)
    before, after = Bundle.open(bundle).golden(), opened.golden()
    assert np.array_equal(before.tiles, after.tiles) and np.array_equal(before.scores, after.scores)
    own = opened.golden("int8")
    assert np.array_equal(own.tiles, before.tiles) and not np.array_equal(own.scores, before.scores)
    assert [p.name for p in path.parent.iterdir()] == ["blobs"]


@pytest.mark.parametrize("precision", ["int8", "int8-trt8"])
def test_the_int8_engines_open_and_reproduce_the_golden_tiles(
    done: tuple[Path, Outcome, list[str]], precision: str
) -> None:
    opened = Bundle.open(done[0])
    engine, report = open_engine(opened, precision=precision)  # type: ignore[arg-type]
    engine.close()
    tolerance = opened.manifest.graphs[precision].tolerance  # type: ignore[index]
    # The answers in the bundle are this graph's own, so on this machine they come back as they are.
    assert report.max_levels <= 1 and tolerance.max_levels < 101
    assert report.mean_levels <= 0.01 and tolerance.mean_levels < 20
    kinds = {n.op_type for n in onnx.load_from_string(opened.graph(precision)).graph.node}  # type: ignore[arg-type]
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds


def test_what_was_found_is_recorded(done: tuple[Path, Outcome, list[str]], options: Make) -> None:
    path, outcome, steps = done
    record = json.loads((path / "calibration.json").read_text())
    assert (record["passed"], record["faults"], record["judge_tiles"], len(record["crops"])) == (True, [], 8, 16)
    assert set(record["methods"]) == {"min-max", "percentile", "mse", "entropy"}
    assert {b["block"] for b in record["blocks"]} == {"encoder.0", "encoder.1", "upsample.0", "decoder.0"}
    assert "it makes the logits" in record["kept_fp16"].values()
    assert record["precisions"]["fp32"]["shift_levels"] == 0
    assert record["precisions"]["fp32"]["iou"] > 0.7
    assert record["precisions"]["int8"]["iou"] >= record["precisions"]["fp32"]["iou"] - options().limits.max_iou_drop
    for spread in record["ranges"].values():
        assert spread["seen"][0] <= spread["lowest"] < spread["highest"] <= spread["seen"][1]
    recipe = Bundle.open(path).manifest.graphs["int8"].recipe
    assert recipe == json.loads(json.dumps(recipe)) and recipe["crops_sha256"] == outcome.chosen.sha256
    assert recipe["int8_share"] == pytest.approx(outcome.int8_share, abs=1e-4) and 0.3 <= outcome.int8_share < 1
    card = (path / "MODEL_CARD.md").read_text()
    assert card.count("## Calibration") == 1 and f"INT8 by {recipe['method']} ranges from 16 crops" in card
    assert {"FP32", "choosing crops", "measuring ranges", "one block at a time", "int8 on whole images"} <= set(steps)


def test_a_second_calibration_takes_the_place_of_the_first(
    done: tuple[Path, Outcome, list[str]], options: Make, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(done[0], tmp_path / "again"))
    (path.parent / "again-calibration.html").write_text("beside it")
    before = set(contents(path))
    outcome = calibrate(path, options(method="min-max", seed=5, crops_from="val"))
    assert outcome.passed
    assert set(contents(path)) - {"model.int8-cpu.onnx"} == before - {"model.int8-cpu.onnx"}
    record = json.loads((path / "calibration.json").read_text())
    assert (record["recipe"]["method"], record["recipe"]["seed"], list(record["methods"])) == (
        "min-max",
        5,
        ["min-max"],
    )
    card = (path / "MODEL_CARD.md").read_text()
    assert card.count("## Calibration") == 1 and "INT8 by min-max" in card
    assert "ranges were measured on split val, on which INT8 is judged too" in card
    for precision in Bundle.open(path).manifest.graphs:
        open_engine(Bundle.open(path), precision=precision)[0].close()
    first = Bundle.open(done[0])
    assert Bundle.open(path).graph("int8") != first.graph("int8")


def test_where_int8_loses_too_much_the_bundle_stays_as_it_is(copied: Path, options: Make) -> None:
    before = contents(copied)
    outcome = calibrate(copied, options(limits=Limits(-1.0, 0.0), method="min-max"))
    assert not outcome.passed and outcome.manifest is None
    assert outcome.faults[0].startswith("int8 loses ") and "of IoU" in outcome.faults[0]
    assert outcome.as_dict()["passed"] is False
    assert contents(copied) == before
    assert [p.name for p in copied.parent.iterdir()] == ["blobs"]


def test_a_process_that_cannot_write_leaves_the_old_bundle(
    copied: Path, options: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = contents(copied)
    monkeypatch.setattr("jetspect.export.writer._move", full)
    with pytest.raises(ExportError, match=r"cannot be written: No space left on device"):
        calibrate(copied, options(method="min-max"))
    assert contents(copied) == before
    assert [p.name for p in copied.parent.iterdir()] == ["blobs"]


def test_the_command_exits_with_1_where_the_gate_says_no(
    copied: Path, blobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(copied)
    monkeypatch.setattr("jetspect.calibration.gate.Limits.faults", lambda *_: ("int8 loses 0.2 of IoU",))
    words = ["calibrate", copied, "--data", blobs, "--crops", 16, "--tile", 64, "--judge-tiles", 8, "--method", "mse"]
    ran = CliRunner().invoke(app, [*map(str, words), "--min-int8", "0.3", "--json"])
    assert ran.exit_code == 1, ran.output
    record = json.loads(ran.stdout)
    assert record["passed"] is False
    assert record["faults"] == ["int8 loses 0.2 of IoU"]
    assert contents(copied) == before


def test_more_int8_than_there_can_be_is_refused_before_the_work(bundle: Path, options: Make) -> None:
    steps: list[str] = []
    with pytest.raises(
        CalibrationError, match=r"at most \d+\.\d+% of the multiply-adds can be INT8, 100.00% are asked"
    ):
        calibrate(bundle, options(least_int8=1.0), lambda what, done, total: steps.append(what))
    assert not {"choosing crops", "measuring ranges"} & set(steps)


def test_a_bundle_that_was_replaced_meanwhile_is_not_written_over(copied: Path, options: Make) -> None:
    other = dict(contents(copied))

    def replace_it(what: str, done: int, total: int) -> None:
        if what == "measuring ranges" and done == total:
            changed(copied, {}, lambda m: m.model_copy(update={"version": "9.9.9"}))
            other.update(contents(copied))

    with pytest.raises(CalibrationError, match="was replaced while it was calibrated; nothing was written"):
        calibrate(copied, options(method="min-max"), replace_it)
    assert Bundle.open(copied).manifest.version == "9.9.9"
    assert contents(copied) == {k: v for k, v in other.items() if k in contents(copied)}


def test_an_unknown_method_is_refused(bundle: Path) -> None:
    ran = CliRunner().invoke(app, ["calibrate", str(bundle), "--method", "guess"])
    assert isinstance(ran.exception, InputError)
    assert str(ran.exception) == "method 'guess' is not known; use auto, min-max, percentile, mse, entropy"


def test_a_zip_is_refused(bundle: Path, options: Make, tmp_path: Path) -> None:
    path = Path(shutil.make_archive(str(tmp_path / "blobs"), "zip", bundle))
    before = path.read_bytes()
    with pytest.raises(CalibrationError, match=r"blobs\.zip is a zip; .* so unpack it into a folder first"):
        calibrate(path, options())
    assert path.read_bytes() == before


def test_a_model_of_whole_frames_is_refused(copied: Path, options: Make) -> None:
    graphs = {}
    for name in ("model.fp32.onnx", "model.fp16.onnx"):
        model = onnx.load_from_string(contents(copied)[name])
        for value, first in ((model.graph.input[0], 1), (model.graph.output[0], 2)):
            for dim in value.type.tensor_type.shape.dim[first : first + 2]:
                dim.dim_value = 64
        graphs[name] = model.SerializeToString()

    def whole(manifest: Manifest) -> Manifest:
        tiling = {"mode": "whole", "halo_px": 0, "tile_px": 64, "frame_wh": (64, 64)}
        return manifest.model_copy(
            update={
                "tiling": manifest.tiling.model_copy(update=tiling),
                "golden": manifest.golden.model_copy(update={"tile_wh": (64, 64)}),
            }
        )

    changed(copied, graphs, whole)
    before = contents(copied)
    with pytest.raises(
        CalibrationError, match=r"blobs sees whole frames of 64 x 64 px; .* run it with --precision fp16"
    ):
        calibrate(copied, options())
    assert contents(copied) == before


def test_a_bundle_whose_fp32_graph_is_quantised_is_refused(
    done: tuple[Path, Outcome, list[str]], copied: Path, options: Make
) -> None:
    changed(copied, {"model.fp32.onnx": Bundle.open(done[0]).graph("int8-trt8")})
    with pytest.raises(CalibrationError, match=r"the graph is quantised already \(QuantizeLinear"):
        calibrate(copied, options())


def test_wrong_sizes_and_numbers_are_named(bundle: Path, options: Make) -> None:
    before = contents(bundle)
    with pytest.raises(
        CalibrationError, match="tiles of 65 px are no multiple of the stride of 2 px; choose another --tile"
    ):
        calibrate(bundle, options(tile_px=65))
    for wrong, says in (
        ({"crops": 15}, "calibration needs at least 16 crops"),
        ({"tile_px": 0}, "crops are 1 to 4096 px wide, got 0"),
        ({"tile_px": -64}, "crops are 1 to 4096 px wide, got -64"),
        ({"seed": -1}, "the seed is 0 or more, got -1"),
    ):
        with pytest.raises(CalibrationError, match=says):
            calibrate(bundle, options(**wrong))
    with pytest.raises(DataSetError, match="does not exist"):
        calibrate(bundle, options(data=bundle / "gone"))
    assert contents(bundle) == before


def test_images_without_defects_cannot_judge(bundle: Path, options: Make, blobs: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(blobs, tmp_path / "set"))
    for path in (data / "val" / "masks").iterdir():
        cv2.imwrite(str(path), np.zeros((96, 128), np.uint8))
    with pytest.raises(DataSetError, match="none of the tiles to judge on shows a defect"):
        calibrate(bundle, options(data=data))


def test_a_network_too_thin_for_int8_is_refused(bundle: Path, options: Make, copied: Path) -> None:
    """Every layer but one is cut from the graph: what is left is the head."""
    model = onnx.load_from_string(contents(copied)["model.fp32.onnx"])
    head = [n for n in model.graph.node if n.op_type == "Conv"][-1]
    image = next(n for n in model.graph.node if n.op_type == "Conv").input[0]
    head.input[0] = image
    for index, constant in enumerate(model.graph.initializer):
        if constant.name == head.input[1]:
            kernel = onnx.numpy_helper.to_array(constant)[:, :3]
            model.graph.initializer[index].CopyFrom(onnx.numpy_helper.from_array(kernel.copy(), constant.name))
    position = list(model.graph.node).index(head)
    for index in reversed(range(position)):
        if model.graph.node[index].op_type in ("Conv", "Relu", "MaxPool", "ConvTranspose", "Concat"):
            del model.graph.node[index]
    del model.graph.value_info[:]
    changed(copied, {"model.fp32.onnx": model.SerializeToString()})
    with pytest.raises(CalibrationError, match=r"no convolution is worth quantising \(head: it makes the logits\)"):
        calibrate(copied, options())


def test_options_say_what_they_are_by_default() -> None:
    defaults = CalibrateOptions("folder")
    assert (defaults.crops, defaults.least_int8, defaults.method) == (512, 0.8, "auto")
    assert dataclasses.astuple(defaults.limits) == (0.005, 0.0, 0.02)
