"""Comparing with peers: what counts as a wrong answer, and a whole run on the shipped bundle with the NumPy loop."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import jetspect

from jetspect.benchmarks.interleave import interleave, ratio
from jetspect.benchmarks.peers.correctness import Correctness, compare
from jetspect.errors import InputError
from jetspect.runtime.manifest import ClassSpec, OutputContract

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "metal-demo"
OUTPUT = OutputContract(classes=(ClassSpec(name="a"), ClassSpec(name="b")))


def scores(*boxes: tuple[int, int, int, int, int], level: int = 200) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A score map of two classes with boxes (class, top, left, bottom, right)."""
    found = np.zeros((2, 60, 90), np.uint8)
    for k, top, left, bottom, right in boxes:
        found[k, top:bottom, left:right] = level
    return found


NOTHING = np.zeros((60, 90), np.uint8)


def test_the_same_answer_has_no_fault() -> None:
    whole = scores((0, 5, 5, 20, 40))
    same = compare(whole, whole, OUTPUT, NOTHING)
    assert (same.seam_px, same.worst_levels, same.split, same.missed, same.invented) == (0, 0, 0, 0, 0)
    assert (same.defects, same.small, same.same.iou) == (1, 1, 1.0)


def test_one_level_is_rounding_and_two_are_a_wrong_pixel() -> None:
    whole = scores((0, 5, 5, 20, 40))
    for levels, wrong in ((1, 0), (2, 15 * 35)):
        assert compare(scores((0, 5, 5, 20, 40), level=200 - levels), whole, OUTPUT, NOTHING).seam_px == wrong


def test_a_defect_cut_at_a_seam_is_split_and_one_that_is_gone_is_missed() -> None:
    whole = scores((0, 5, 5, 20, 40), (0, 40, 5, 44, 9), (1, 30, 50, 58, 88))
    found = scores((0, 5, 5, 20, 20), (0, 5, 21, 20, 40), (1, 30, 50, 58, 88), (1, 2, 80, 6, 84))
    answer = compare(found, whole, OUTPUT, NOTHING)
    assert (answer.defects, answer.split, answer.missed, answer.invented) == (3, 1, 1, 1)
    assert (answer.small, answer.missed_small) == (2, 1)  # the third has 28 x 38 px


def test_the_same_place_in_another_class_is_not_the_same_defect() -> None:
    answer = compare(scores((1, 5, 5, 20, 40)), scores((0, 5, 5, 20, 40)), OUTPUT, NOTHING)
    assert (answer.missed, answer.invented, answer.split) == (1, 1, 0)


def test_boxes_that_overlap_without_a_shared_pixel_do_not_touch() -> None:
    frame = scores((0, 5, 5, 30, 30))
    frame[0, 7:30, 7:30] = 0  # an angle around what lies inside its box
    answer = compare(frame, scores((0, 10, 10, 20, 20)), OUTPUT, NOTHING)
    assert (answer.missed, answer.invented) == (1, 1)


def test_no_defect_anywhere_is_as_good_and_faults_are_not() -> None:
    quiet = compare(scores(), scores(), OUTPUT, NOTHING)
    assert quiet.as_good_as(quiet)
    whole = scores((0, 5, 5, 20, 40))
    right, half = (compare(scores((0, 5, 5, 20, end)), whole, OUTPUT, NOTHING) for end in (40, 38))
    gone = compare(scores(), whole, OUTPUT, NOTHING)
    assert right.as_good_as(right)
    assert not half.as_good_as(right)
    assert not gone.as_good_as(right)
    assert (Correctness() + right + gone).missed == 1


def test_score_maps_of_other_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="sizes must agree"):
        compare(scores(), scores()[:, :30], OUTPUT, NOTHING)


def test_every_round_runs_each_once_in_changing_order_and_warm_up_does_not_count() -> None:
    ran: list[str] = []
    ways = {name: lambda item, name=name: ran.append(f"{name}{item}") for name in "abc"}  # type: ignore[misc]
    times = interleave(ways, range(8))
    assert {name: len(spent) for name, spent in times.items()} == {"a": 7, "b": 7, "c": 7}
    rounds = [tuple(ran[i : i + 3]) for i in range(0, 24, 3)]
    assert all({name[1:] for name in r} == {str(n)} for n, r in enumerate(rounds))
    assert len({tuple(name[0] for name in r) for r in rounds}) > 1


def test_a_ratio_is_paired_by_round_and_one_round_has_no_interval() -> None:
    steady = ratio([2.0, 20.0, 200.0], [1.0, 10.0, 100.0])
    assert (steady.value, steady.low, steady.high) == pytest.approx((2.0, 2.0, 2.0))
    assert ratio([3.0], [2.0]).low is None
    shaky = ratio([1.0, 4.0, 2.0], [1.0, 1.0, 1.0])
    assert shaky.low is not None and shaky.high is not None
    assert shaky.value == pytest.approx(2.0)
    assert 1 <= shaky.low < shaky.value < shaky.high <= 4
    for wrong in ([], [1.0]):
        with pytest.raises(InputError, match="same rounds"):
            ratio(wrong, [1.0, 2.0])


def test_the_run_compares_answers_and_speed_and_writes_a_report(tmp_path: Path) -> None:
    kept = ("--history", tmp_path / "h.jsonl")
    size = ("--size", "240x208", "--reference", "240x208", "--tile", "208", "--threads", 1)
    done = jetspect(
        "bench", "peers", BUNDLE, *size, "--peers", "numpy", "--rounds", 2, "--json", "--out", tmp_path, *kept
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    data = record["result"]
    trials = {t["settings"]: t for t in data["trials"]}
    answers = {name: t["correctness"] for name, t in trials.items()}
    assert answers[""]["seam_px"] == 0
    assert answers["the bundle's halo thrown away"]["seam_px"] == 0  # another way to the same cores
    assert trials["the bundle's halo thrown away"]["as_good"]
    assert answers["overlap 0%"]["seam_px"] > 100
    assert [lap["role"] for lap in data["laps"]][:3] == ["ours", "limit", "as good"]
    ours, limit = data["laps"][:2]
    assert ours["ratio"]["value"] == 1.0
    assert ours["tiles"] == limit["tiles"] == trials[""]["tiles"]
    assert all(len(lap["times_ms"]) == 2 for lap in data["laps"])
    assert (
        json.loads((tmp_path / "result.json").read_text()) == json.loads((tmp_path / "h.jsonl").read_text()) == record
    )
    assert len(record["rows"]) == 2  # what is no answer is left to the report
    assert "wrong pixels" in record["rows"][0]["measured"]
    assert "its fastest setting with an answer as good" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tile", "230"), "must be multiples of the model's stride 16"),
        (("--size", "600x900"), "smaller than a tile of 704 px"),
        (("--size", "20mp"), "a size is WIDTHxHEIGHT"),
        (("--size", "99999x99999"), "64 to 8192 px a side"),
        (("--peers", "nobody"), "peer nobody is not known; use one of numpy, monai, sahi"),
        (("--engine", "tensorrt"), "use onnxruntime or openvino"),
        (("--out", "/proc/x"), "cannot be written"),
    ],
)
def test_what_cannot_work_is_refused_before_the_run(options: tuple[str, str], message: str) -> None:
    done = jetspect("bench", "peers", BUNDLE, *options)
    assert done.returncode == 2
    assert message in done.stderr
