"""Tiles are measured one process a point; wrong ones are refused before, and what is there is not measured again."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from jetspect.benchmarks import tile_sweep
from jetspect.benchmarks.energy import open_meter
from jetspect.benchmarks.process_memory import available_mb, peak_mb
from jetspect.benchmarks.tile_child import Failure, Footprint, Job, answer
from jetspect.benchmarks.tile_choice import pareto, recommend
from jetspect.benchmarks.tile_points import Accuracy, Conditions, Measured, Point, plan_points
from jetspect.benchmarks.tile_sweep import estimate_mb, preflight, read_points, run_child, sweep, unmeasured
from jetspect.cli.bench_tiles import Spread
from jetspect.errors import InputError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.config import StationConfig
from jetspect.runtime.settings import parse_settings
from tests.helpers.commands import REPOSITORY, jetspect
from tests.helpers.rendered import rendered_set

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BUNDLE = REPOSITORY / "bundles" / "metal-demo"
CONDITIONS = Conditions(
    bundle="b 1", manifest_sha256="0", size_wh=(1000, 1000), frames=2, threads=1, machine="m", versions={}
)

FOOTPRINT = Footprint(edges_px=(512, 1024), peaks_mb=(120.0, 198.6432), opened_mb=100.0)  # 100 MB for each MP


def measured(tile: int = 384, total: float = 100.0, memory: float = 200.0, **changes: Any) -> Measured:
    point = Point(tile_px=tile, batch=1, precision=changes.pop("precision", "fp32"), engine="onnxruntime")
    return Measured(
        point=point,
        conditions=CONDITIONS,
        engine="e",
        tiles=9,
        pixel_factor=1.5,
        stages_ms={"engine": (total - 5, total - 5), "total": (total, total)},
        build_ms=1.0,
        first_frame_ms=2.0,
        host_peak_mb=memory,
        host_before_mb=50.0,
        load_average=0.5,
        **changes,
    )


def judged(tile: int, total: float, iou: float, recall: float, precision: str = "fp32") -> Measured:
    return measured(tile, total, precision=precision, accuracy=Accuracy(images=3, iou=iou, object_recall=recall))


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.open(BUNDLE)


def test_what_a_point_says_is_made_of_its_frames() -> None:
    found = measured(total=200.0, joules=12.0)
    assert found.mp_per_s == pytest.approx(5.0)
    assert found.outside_engine == pytest.approx(0.025)
    assert found.joules_per_mp == pytest.approx(6.0)


def test_usual_tiles_are_those_that_the_model_takes_up_to_the_frame(bundle: Bundle) -> None:
    points = plan_points(bundle.manifest, (500, 400), batches=(2, 1), precisions=("fp32",), engines=("onnxruntime",))
    assert [(p.batch, p.tile_px) for p in points] == [(b, t) for b in (1, 2) for t in (256, 384, 512)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--tiles", 250), "multiples of the model's stride 16"),
        (("--tiles", 384, 192), "leaves no core"),
        (("--batches", 65), "1 to 64 tiles"),
        (("--engines", "abacus"), "'abacus' is not known"),
        (("--precisions", "int4"), "'int4' is not known"),
        (("--precisions", "int8"), "no int8 graph"),
        (("--size", "5472"), "like 5472x3648"),
        (("--size", "20x9000"), "64 to 8192 px"),
        (("--dataset", "nosuch"), "nosuch"),
        (("--history", "/proc/nowhere/h"), "cannot be written"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_runs(
    words: tuple[object, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tile_sweep, "run_child", lambda *_: pytest.fail("a process was started"))
    done = jetspect("bench", "tiles", BUNDLE, "--out", tmp_path / "out", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "out" / "points.jsonl").exists()


def test_an_engine_that_is_missing_is_refused_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile_sweep, "run_child", lambda job, _: answer(job))  # the same without a process
    done = jetspect("bench", "tiles", BUNDLE, "--tiles", 208, "--engines", "tensorrt", "--out", tmp_path)
    assert done.returncode == 2
    assert "tensorrt fp32: " in done.stderr and "not installed" in done.stderr
    assert read_points(tmp_path / "points.jsonl") == []


def test_tiles_beyond_the_memory_are_refused_before_the_run(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile_sweep, "run_child", lambda *_: FOOTPRINT)
    points = [Point(tile_px=t, batch=b, precision="fp32", engine="onnxruntime") for b in (1, 4) for t in (512, 1024)]
    preflight(BUNDLE, bundle.manifest, points, CONDITIONS, limit_mb=1000)
    with pytest.raises(InputError, match=r"1024 px x 4.* takes about 5\d\d MB, and 400 MB are there: leave"):
        preflight(BUNDLE, bundle.manifest, points, CONDITIONS, limit_mb=400)
    with pytest.raises(InputError, match=r"512 px x 1.* and 50 MB are there; so do 3 more points"):
        preflight(BUNDLE, bundle.manifest, points, CONDITIONS, limit_mb=50)


def test_points_are_measured_once_and_a_setting_is_recommended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile_sweep, "_TRIAL_PX", 208)
    words = ("bench", "tiles", BUNDLE, "--tiles", "208", "--batches", "2", "--engines", "onnxruntime")
    words += ("--size", "216x200", "--frames", "2", "--threads", "1", "--out", str(tmp_path), "--json")
    words += ("--data", str(rendered_set(tmp_path / "set", 3, (216, 200))), "--split", "all", "--images", "2")
    first = jetspect(*words, "--history", tmp_path / "h")
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    points = told["result"]["points"]
    assert [(p["tile_px"], p["batch"], p["tiles"]) for p in points] == [(208, 2, 2)]
    for point in points:
        assert point["host_peak_mb"] > point["host_before_mb"] > 10
        assert point["stages"]["engine"]["p50_ms"] < point["stages"]["total"]["p50_ms"] <= point["first_frame_ms"] * 50
        assert point["accuracy"]["images"] == 2 and 0 <= point["accuracy"]["iou"] <= 1
        assert point["build_ms"] > 0 and point["frames"] == 2 and point["pixel_factor"] > 1
    assert told["result"]["recommended"]["tile_px"] == 208
    assert len((tmp_path / "h").read_text().splitlines()) == 1
    assert "<svg" in (tmp_path / "report.html").read_text()
    assert not (tmp_path / "frame.npy").exists()

    monkeypatch.setattr(tile_sweep, "run_child", lambda *_: pytest.fail("a process was started"))
    second = jetspect(*words)
    assert second.returncode == 0, second.stderr
    assert json.loads(second.stdout)["series"] == told["series"]


def test_a_line_that_was_cut_off_is_measured_again_and_spoils_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [measured(tile).point for tile in (208, 384, 512)]
    lines = tmp_path / "points.jsonl"
    whole = [measured(tile).model_dump_json() for tile in (208, 384)]
    lines.write_text(whole[0] + "\n" + whole[1][:-40])
    asked: list[int] = []

    def child(job: Job, answer: type[Measured]) -> Measured | Failure:
        assert job.frame is not None and job.frame.exists()
        asked.append(job.point.tile_px)
        return Failure(error="no") if job.point.tile_px == 512 else measured(job.point.tile_px)

    monkeypatch.setattr(tile_sweep, "run_child", child)
    done = sweep(BUNDLE, points, CONDITIONS, tmp_path)
    assert asked == [384, 512] and done.failed == [(points[2], "no")]
    assert [m.point for m in done.measured] == [m.point for m in read_points(lines)] == points[:2]
    other = CONDITIONS.model_copy(update={"frames": 3})
    sweep(BUNDLE, points[:1], other, tmp_path)
    assert asked == [384, 512, 208], "under other conditions it is another measurement"
    assert unmeasured(points, CONDITIONS, tmp_path) == points[2:]


def test_two_runs_do_not_write_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def child(*_: object) -> Measured:
        with pytest.raises(InputError, match="another run writes"):
            sweep(BUNDLE, [measured().point], CONDITIONS, tmp_path)
        return measured()

    monkeypatch.setattr(tile_sweep, "run_child", child)
    assert len(sweep(BUNDLE, [measured().point], CONDITIONS, tmp_path).measured) == 1


@pytest.mark.parametrize(
    ("program", "said"),
    [("kill -9 $$", "SIGKILL: out of memory"), ("echo x >&2; exit 1", "x"), ("exit 1", "exit code 1 and no reason")],
)
def test_a_process_that_dies_becomes_a_failure(
    program: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "python").write_text(f"#!/bin/sh\n{program}\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    found = run_child(Job(bundle=tmp_path, point=measured().point, conditions=CONDITIONS), Footprint)
    assert isinstance(found, Failure) and said in found.error


def test_the_estimate_grows_with_tile_and_batch_as_small_tiles_did(bundle: Bundle) -> None:
    def about(tile: int, batch: int, size: int = 4096) -> float:
        point = Point(tile_px=tile, batch=batch, precision="fp32", engine="onnxruntime")
        return estimate_mb(FOOTPRINT, point, bundle.manifest, (size, size))

    frame_mb = 16 * (3 + len(bundle.manifest.output.classes))
    assert about(1024, 1) == pytest.approx(100 + 104.86 + frame_mb, abs=0.1)
    assert about(1024, 4) - about(1024, 1) == pytest.approx(3 * 104.86, abs=0.1)
    assert about(4096, 1, size=1024) < about(1024, 1), "no tile is larger than the frame"


def test_a_point_that_another_one_beats_is_not_in_the_pareto_set() -> None:
    fast, small, beaten = measured(704, 80, 300), measured(256, 120, 150), measured(1024, 90, 310)
    assert pareto([fast, small, beaten]) == [fast, small]
    assert pareto([]) == []
    twins = [measured(256, 80, 300), measured(384, 80, 300)]
    assert pareto(twins) == twins


def test_accuracy_keeps_a_slow_point_in_the_set() -> None:
    fast, right = judged(704, 80, 0.70, 0.9), judged(384, 90, 0.75, 1.0)
    assert pareto([fast, right]) == [fast, right]


def test_of_equally_fast_points_the_one_with_the_least_memory_is_recommended() -> None:
    choice = recommend([measured(1024, 100, 400), measured(704, 102, 250), measured(256, 150, 100)])
    assert choice is not None and choice.point.point.tile_px == 704
    assert "of 2 points within 3 %" in choice.reason
    assert recommend([]) is None


def test_without_labels_a_faster_precision_is_not_recommended() -> None:
    points = [measured(704, 100), measured(384, 50, precision="int8-cpu")]
    choice = recommend(points)
    assert choice is not None and choice.point.point.precision == "fp32" and "--dataset" in choice.reason
    only = recommend(points[1:])
    assert only is not None and only.point.point.precision == "int8-cpu"


def test_with_labels_the_fastest_that_loses_no_defect_is_recommended() -> None:
    points = [judged(704, 100, 0.80, 1.0), judged(384, 50, 0.798, 1.0, "int8-cpu"), judged(256, 20, 0.80, 0.9)]
    choice = recommend(points)
    assert choice is not None and choice.point is points[1]


def test_what_is_recommended_can_be_pasted_into_a_station_file() -> None:
    choice = recommend([measured(704, 100)])
    assert choice is not None
    station = {"site": "a", "area": "b", "line": "c", "unit": "d"}
    file = {**tomllib.loads(choice.toml), "station": station, "source": {"kind": "synthetic"}}
    file["bundle"]["path"] = str(BUNDLE)
    config = parse_settings(file, StationConfig, where="pasted")
    assert (config.tiling.tile_px, config.tiling.batch, config.engine.kind) == (704, 1, "onnxruntime")


@pytest.mark.parametrize(
    "words",
    [
        ["B", "--tiles", "384", "704", "--quick"],
        ["--tiles", "384,704", "B", "--quick"],
        ["--tiles=384,704", "--quick", "B"],
        ["--tiles", "384", "--tiles", "704", "--quick", "B"],
    ],
)
def test_several_values_may_follow_one_option(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr("typer.core.TyperCommand.parse_args", lambda self, ctx, args: seen.extend(args) or [])
    Spread.parse_args(Spread("tiles"), None, words)
    pairs = [(a, b) for a, b in pairwise(seen) if a == "--tiles"]
    assert pairs == [("--tiles", "384"), ("--tiles", "704")]
    assert sorted(set(seen) - {"--tiles", "384", "704"}) == ["--quick", "B"]


def test_memory_is_what_the_control_group_leaves(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable:  4194304 kB\n")
    assert available_mb(tmp_path) == 4096
    (tmp_path / "proc/self/cgroup").write_text("0::/a/b\n")
    group = tmp_path / "sys/fs/cgroup/a"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("1048576\n")
    assert available_mb(tmp_path) == 4096
    (group / "memory.max").write_text(f"{101 * 2**20}\n")
    assert available_mb(tmp_path) == 100
    assert peak_mb() > 10


def test_the_rail_of_a_board_is_integrated(tmp_path: Path) -> None:
    rail = tmp_path / "sys/class/hwmon/hwmon3"
    rail.mkdir(parents=True)
    for name, text in (("in1_label", "VDD_IN"), ("in1_input", "5000"), ("curr1_input", "2000"), ("in2_label", "X")):
        (rail / name).write_text(text + "\n")
    meter = open_meter(tmp_path)
    assert meter is not None
    with meter:
        while meter.joules() < 0.5:  # 10 W
            pass
        assert meter.joules() < 50


def test_counters_come_round_and_what_cannot_be_read_is_no_meter(tmp_path: Path) -> None:
    assert open_meter(tmp_path) is None
    package = tmp_path / "sys/class/powercap/intel-rapl:0"
    package.mkdir(parents=True)
    (package / "energy_uj").write_text("9000000\n")
    (package / "max_energy_range_uj").write_text("10000000\n")
    meter = open_meter(tmp_path)
    assert meter is not None and meter.joules() == 0
    (package / "energy_uj").write_text("500000\n")
    assert meter.joules() == pytest.approx(1.5)
