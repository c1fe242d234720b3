"""A measurement is a line that can be read again, compared with another, and shown in README's table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jetspect.benchmarks import readme
from jetspect.benchmarks.compare import compare
from jetspect.benchmarks.history import Record, Row, Series, append, make_record, read_records, thin
from jetspect.errors import InputError
from tests.helpers.commands import REPOSITORY, jetspect


def record(*samples: float, keys: tuple[str, ...] = (), better: str = "lower", unit: str = "ms") -> Record:
    series = Series.model_validate({"name": "frame", "unit": unit, "better": better, "samples": samples, "keys": keys})
    return make_record("tiles", [series], rows=[Row(what="a frame | all of it", measured="5 ms")])


def noisy(middle: float, seed: int, count: int = 200) -> Record:
    return record(*np.random.default_rng(seed).normal(middle, 0.05 * middle, count))


def test_lines_are_read_as_they_were_written_whole_or_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "history.jsonl"
    written = [record(1.0), record(2.0, 3.0), record(4.0)]
    for each in written:
        append(path, each)
    assert read_records(str(path)) == written
    assert read_records(f"{path}#2") == [written[1]]
    assert read_records(f"{path}#-1") == [written[2]]
    alone = tmp_path / "one.json"
    alone.write_text(json.dumps(json.loads(written[0].model_dump_json()), indent=1))
    assert read_records(str(alone)) == [written[0]]
    assert written[0].machine["cores"] and written[0].versions["numpy"]


@pytest.mark.parametrize("number", ["0", "2", "-2", "x", "1.5"])
def test_a_line_that_is_not_there_is_refused(tmp_path: Path, number: str) -> None:
    append(tmp_path / "h", record(1.0))
    with pytest.raises(InputError, match="has the lines 1 to 1"):
        read_records(f"{tmp_path / 'h'}#{number}")


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "holds no measurement"), ("{}\n", "line 1 is no measurement"), ("no json\n", "line 1 is no measurement")],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "h").write_text(text)
    with pytest.raises(InputError, match=said):
        read_records(str(tmp_path / "h"))


def test_a_line_that_was_cut_off_spoils_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "h"
    path.write_text('{"record": 1, "ben')
    append(path, record(2.0))
    with pytest.raises(InputError, match="line 1 is no measurement"):
        read_records(str(path))
    path.write_text("\n".join(path.read_text().splitlines()[1:]))
    assert len(read_records(str(path))) == 1


def test_samples_must_be_numbers() -> None:
    for samples in ((), (float("nan"),), (float("inf"), 1.0)):
        with pytest.raises(ValueError, match="finite"):
            record(*samples)


def test_a_long_run_is_thinned_evenly() -> None:
    assert thin(range(10), most=5) == (0, 2, 4, 6, 8)
    assert len(thin(range(10_001), most=5000)) <= 5000
    assert thin([1.23456789]) == (1.2346,)


def test_a_clear_difference_is_seen_and_a_small_one_is_not_made_up() -> None:
    (slower,) = compare([noisy(10, 1)], [noisy(12, 2)])
    assert slower.verdict == "slower" and slower.high < 1
    assert slower.low < 10 / 12 < slower.high
    (faster,) = compare([noisy(12, 2)], [noisy(10, 1)])
    assert faster.verdict == "faster" and faster.ratio == pytest.approx(1 / slower.ratio)
    (same,) = compare([noisy(10, 1)], [noisy(10, 3)])
    assert same.verdict == "no difference" and same.low < 1 < same.high


def test_a_higher_rate_is_faster() -> None:
    old = record(*np.linspace(99, 101, 50), better="higher", unit="/s")
    new = record(*np.linspace(119, 121, 50), better="higher", unit="/s")
    (found,) = compare([old], [new])
    assert found.verdict == "faster" and found.ratio == pytest.approx(1.2, rel=0.01)


def test_equal_series_are_called_different_about_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(5)
    runs = [record(*rng.normal(10, 1, 60)) for _ in range(40)]
    said = [compare([a], [b], resamples=60)[0].verdict for a, b in zip(runs[::2], runs[1::2], strict=True)]
    assert said.count("no difference") >= 0.85 * len(said)


def test_pairs_see_what_lies_below_the_spread_of_the_frames() -> None:
    """Frames differ far more from each other than the two runs do on any one of them."""
    frames = np.random.default_rng(0).uniform(10, 100, 40)
    keys = tuple(f"frame-{n}" for n in range(40))
    wiggle = np.random.default_rng(1).normal(1, 0.002, 40)
    (paired,) = compare([record(*frames, keys=keys)], [record(*(1.05 * frames * wiggle), keys=keys)], statistic="mean")
    (alone,) = compare([record(*frames)], [record(*(1.05 * frames * wiggle))], statistic="mean")
    assert paired.paired and paired.verdict == "slower"
    assert not alone.paired and alone.verdict == "no difference"


def test_several_runs_of_a_side_widen_the_interval_by_what_differs_between_them() -> None:
    a = [noisy(middle, n, 60) for n, middle in enumerate((8.0, 10.0, 12.0))]
    b = [noisy(middle, 9 + n, 60) for n, middle in enumerate((9.0, 11.0, 13.0))]
    (together,) = compare(a, b, resamples=300)
    (single,) = compare([a[1]], [b[1]])
    assert single.verdict == "slower" and together.verdict == "no difference"
    assert together.runs == (3, 3)


def test_a_margin_forgives_a_small_loss() -> None:
    old, new = noisy(10, 1, 800), noisy(10.2, 2, 800)
    assert compare([old], [new])[0].verdict == "slower"
    assert compare([old], [new], margin=0.1)[0].verdict == "no difference"


def test_too_few_samples_give_no_verdict() -> None:
    (found,) = compare([record(1.0)], [record(2.0)])
    assert found.verdict == "too few samples" and found.ratio == 0.5


def test_what_has_nothing_in_common_or_another_unit_is_refused() -> None:
    with pytest.raises(InputError, match="nothing to compare: A measured tiles: frame"):
        compare([record(1.0)], [make_record("publish", [Series(name="x", unit="ms", samples=(1.0,))])])
    with pytest.raises(InputError, match=r"in ms and s"):
        compare([record(1.0)], [record(1.0, unit="s")])


def test_the_command_ends_with_1_where_something_is_slower(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    append(a, noisy(10, 1))
    append(b, noisy(13, 2))
    slower = jetspect("bench", "compare", a, b, "--json")
    assert slower.returncode == 1, slower.stderr
    assert json.loads(slower.stdout)["series"][0]["verdict"] == "slower"
    assert jetspect("bench", "compare", b, a).returncode == 0
    wrong = jetspect("bench", "compare", a, tmp_path / "nowhere")
    assert wrong.returncode == 2 and "cannot be read" in wrong.stderr
    assert jetspect("bench", "compare", a, b, "--statistic", "best").returncode == 2


def test_another_measurement_appends_its_samples(tmp_path: Path) -> None:
    bundle, history = REPOSITORY / "bundles" / "metal-demo", tmp_path / "h"
    words = ("bench", "graphs", bundle, "--precision", "fp32", "--tile", 208, "--runs", 5, "--threads", 1)
    done = jetspect(*words, "--history", history)
    assert done.returncode == 0, done.stderr
    (kept,) = read_records(str(history))
    assert kept.bench == "graphs" and len(kept.series[0].samples) == 5
    refused = jetspect(*words, "--history", tmp_path)
    assert refused.returncode == 2 and "is a folder" in refused.stderr


def written(folder: Path, text: str) -> Path:
    (folder / "results").mkdir()
    (folder / "results" / "a-frame.json").write_text(record(1.0).model_dump_json())
    (folder / "results" / "older.json").write_text("[1]")
    (folder / "README.md").write_text(text)
    return folder / "README.md"


def test_the_table_is_written_between_its_markers_and_nothing_else_changes(tmp_path: Path) -> None:
    page = written(tmp_path, f"# before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n")
    words = ["--readme", str(page), "--results", str(tmp_path / "results")]
    assert readme.main([*words, "--check"]) == 1
    assert page.read_text().endswith("old\n" + readme.END + "\nafter\n"), "a check writes nothing"
    assert readme.main(words) == 0
    text = page.read_text()
    assert text.startswith(f"# before\n{readme.BEGIN}\n") and text.endswith(f"{readme.END}\nafter\n")
    assert "| a frame \\| all of it | 5 ms | `jetspect" in text and "old" not in text
    assert "benchmarks/results/a-frame.json" in text
    assert readme.main([*words, "--check"]) == 0


@pytest.mark.parametrize(
    "text", ["no marker\n", readme.BEGIN, readme.END + readme.BEGIN, 2 * readme.BEGIN + readme.END]
)
def test_a_readme_without_a_place_for_the_table_is_refused(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    page = written(tmp_path, text)
    assert readme.main(["--readme", str(page), "--results", str(tmp_path / "results")]) == 2
    assert "needs one line" in capsys.readouterr().err
    assert page.read_text() == text


def test_the_table_of_this_repository_is_up_to_date() -> None:
    assert readme.main(["--check"]) == 0
