"""A whole station against a real broker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from station_config import station

from jetspect.errors import BundleError, JetspectError, PublishError, SourceError
from jetspect.runtime.assembly import build_station
from jetspect.runtime.frames import Frame, LostFrame
from jetspect.runtime.inspector import Inspector
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.sources.synthetic import render_part

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for index, defects in enumerate((0, 3, 2)):
        part = render_part(100 + index, (640, 480), texture="brushed", defects=defects)
        cv2.imwrite(str(folder / f"{index}.png"), part.image)
    return folder


def queued(tmp_path: Path) -> list[dict[str, Any]]:
    with Outbox(tmp_path / "outbox.sqlite") as outbox:
        return [json.loads(row.payload) for row in outbox.pending(limit=1000)]


def test_every_image_of_a_folder_becomes_one_result_and_bad_ones_are_unknown(
    tmp_path: Path, images: Path, metal_demo: Path
) -> None:
    whole = (images / "1.png").read_bytes()
    (images / "3-cut.png").write_bytes(whole[: len(whole) // 2])
    (images / "4-empty.jpg").write_bytes(b"")
    cv2.imwrite(str(images / "5-black.png"), np.zeros((480, 640), np.uint8))
    cv2.imwrite(str(images / "6-deep.png"), np.zeros((480, 640), np.uint16))
    (images / "7-folder.png").mkdir()
    with build_station(station(tmp_path, metal_demo)) as running:
        assert running.run() == 8
    results = queued(tmp_path)
    assert [r["seq"] for r in results] == list(range(1, 9))
    verdicts = {r["frame"]["id"]: r["verdict"] for r in results}
    assert [verdicts[n] for n in ("3-cut.png", "4-empty.jpg", "5-black.png", "6-deep.png", "7-folder.png")] == [
        "UNKNOWN"
    ] * 5
    assert verdicts["1.png"] == "NOK"
    assert all(r["reasons"] for r in results if r["verdict"] != "OK")


def test_results_are_what_inspect_says(tmp_path: Path, images: Path, metal_demo: Path) -> None:
    with build_station(station(tmp_path, metal_demo)) as running:
        running.run()
    command = [sys.executable, "-m", "jetspect", "inspect", metal_demo, images, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=120)
    said = {Path(i["image"]).name: i for i in json.loads(done.stdout)["inspections"]}
    for result in queued(tmp_path):
        assert result["defects"] == said[result["frame"]["id"]]["defects"]
        assert result["verdict"] == said[result["frame"]["id"]]["verdict"]


def test_evidence_is_kept_with_hashes_that_fit(tmp_path: Path, images: Path, metal_demo: Path) -> None:
    import hashlib

    evidence = {"folder": str(tmp_path / "evidence")}
    with build_station(station(tmp_path, metal_demo, evidence=evidence)) as running:
        running.run()
    references = [e for r in queued(tmp_path) for e in r["evidence"]]
    assert {e["kind"] for e in references} == {"overlay", "crop"}
    for reference in references:
        data = (tmp_path / "evidence" / reference["uri"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == reference["sha256"]
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
def test_dropped_frames_become_unknown_results_and_are_counted(
    tmp_path: Path, metal_demo: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    slow = Inspector.inspect

    def inspect(self: Inspector, frame: Frame | LostFrame) -> Any:
        if isinstance(frame, Frame):
            time.sleep(0.15)
        return slow(self, frame)

    monkeypatch.setattr(Inspector, "inspect", inspect)
    source = {"kind": "synthetic", "size_wh": [320, 240], "frames": 30}
    config = station(tmp_path, metal_demo, source=source, queue={"frames": 1, "policy": policy})
    with build_station(config) as running:
        running.run()
        dropped = running.health().dropped["queue_full"]
    results = queued(tmp_path)
    assert len(results) == 30
    assert [r["frame"]["part_id"] for r in results] == [f"P{n:06d}" for n in range(1, 31)]
    assert dropped == sum("dropped" in "".join(r["reasons"]) for r in results) > 0


@pytest.fixture
def process(tmp_path: Path, metal_demo: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    file = tmp_path / "station.toml"
    file.write_text(
        f"""
        [station]
        site = "s"
        area = "a"
        line = "l"
        unit = "u"
        [bundle]
        path = "{metal_demo}"
        [source]
        kind = "synthetic"
        size_wh = [480, 320]
        [queue]
        frames = 4
        """
    )

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "jetspect", "run", str(file), "--json"]
        started.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY)
        )
        return started[-1]

    yield start
    for child in started:
        child.kill()
        child.communicate()


def test_sigterm_ends_cleanly_with_every_result_kept(
    tmp_path: Path, process: Callable[[], subprocess.Popen[str]]
) -> None:
    child = process()
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(3)]
    child.send_signal(signal.SIGTERM)
    rest, errors = child.communicate(timeout=30)
    assert child.returncode == 0, errors
    told = [json.loads(line)["seq"] for line in [*lines, *rest.splitlines()]]
    assert told == list(range(1, len(told) + 1))
    assert [r["seq"] for r in queued(tmp_path)] == told


def test_a_kill_loses_no_result_that_was_told_and_seq_goes_on(
    tmp_path: Path, process: Callable[[], subprocess.Popen[str]]
) -> None:
    first = process()
    assert first.stdout is not None
    told = [json.loads(first.stdout.readline()) for _ in range(3)]
    os.kill(first.pid, signal.SIGKILL)
    first.wait(timeout=10)
    second = process()
    assert second.stdout is not None
    after = json.loads(second.stdout.readline())
    second.send_signal(signal.SIGTERM)
    second.communicate(timeout=30)
    kept = {r["seq"]: r["event_id"] for r in queued(tmp_path)}
    assert all(kept[r["seq"]] == r["event_id"] for r in [*told, after])
    assert sorted(kept) == list(range(1, len(kept) + 1))


def test_a_full_disk_holds_the_line_until_there_is_room(
    tmp_path: Path, images: Path, metal_demo: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The outbox refuses three times, as it does on a full disk; the result is kept in the end and nothing is skipped."""
    commit, refusals = Outbox.commit, iter(range(3))

    def full(self: Outbox, *arguments: Any) -> Any:
        if next(refusals, None) is not None:
            raise PublishError("outbox cannot grow: database or disk is full")
        return commit(self, *arguments)

    monkeypatch.setattr(Outbox, "commit", full)
    with build_station(station(tmp_path, metal_demo)) as running:
        running.run()
    assert [r["frame"]["id"] for r in queued(tmp_path)] == ["0.png", "1.png", "2.png"]
    assert sum("the line waits" in record.message for record in caplog.records) == 1


def test_stopping_while_the_disk_is_full_says_so(
    tmp_path: Path, images: Path, metal_demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Outbox, *arguments: Any) -> Any:
        raise PublishError("outbox cannot grow: database or disk is full")

    monkeypatch.setattr(Outbox, "commit", full)
    with build_station(station(tmp_path, metal_demo)) as running:
        threading.Timer(1.0, running.stop).start()
        with pytest.raises(PublishError, match="disk is full"):
            running.run()


@pytest.mark.parametrize(
    ("sections", "kind", "says"),
    [
        ({"bundle": {"path": "nowhere"}}, BundleError, "nowhere does not exist"),
        ({"source": {"kind": "folder", "path": "nowhere"}}, SourceError, "source folder nowhere does not exist"),
        ({"outbox": {"path": "/proc/outbox.sqlite"}}, PublishError, "/proc/outbox.sqlite cannot be written"),
        ({"evidence": {"folder": "/proc/evidence"}}, PublishError, "evidence folder /proc/evidence cannot be written"),
        ({"verdict": {"classes": {"rust": {}}}}, JetspectError, "names rust"),
    ],
)
def test_a_part_that_cannot_be_used_is_named_before_the_first_frame(
    tmp_path: Path, images: Path, metal_demo: Path, sections: dict[str, Any], kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        build_station(station(tmp_path, metal_demo, **sections))
    with build_station(station(tmp_path, metal_demo)):  # nothing stays locked
        pass


def test_stopping_loses_no_frame_that_the_source_delivered(tmp_path: Path, metal_demo: Path) -> None:
    source = {"kind": "synthetic", "size_wh": [320, 240]}
    with build_station(station(tmp_path, metal_demo, source=source, queue={"frames": 1})) as running:
        threading.Timer(0.6, running.stop).start()
        running.run()
    assert running.counters.frames == running.counters.inspected == len(queued(tmp_path)) > 0


def test_a_listener_that_fails_costs_no_result(
    tmp_path: Path, images: Path, metal_demo: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken_pipe(*_: object) -> None:
        raise BrokenPipeError

    with build_station(station(tmp_path, metal_demo), on_result=broken_pipe) as running:
        running.run()
    assert len(queued(tmp_path)) == 3
    assert sum("listener" in record.message for record in caplog.records) == 1


def test_a_frame_on_which_the_inspection_fails_is_unknown_and_the_line_goes_on(
    tmp_path: Path, images: Path, metal_demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspect = Inspector.inspect

    def fail(self: Inspector, frame: Frame | LostFrame) -> Any:
        if isinstance(frame, Frame) and frame.frame_id == "1.png":
            raise MemoryError("no room")
        return inspect(self, frame)

    monkeypatch.setattr(Inspector, "inspect", fail)
    with build_station(station(tmp_path, metal_demo)) as running:
        running.run()
    results = {r["frame"]["id"]: r for r in queued(tmp_path)}
    assert len(results) == 3
    assert results["1.png"]["verdict"] == "UNKNOWN"
    assert "MemoryError: no room" in results["1.png"]["reasons"][0]


def test_file_names_of_any_bytes_can_be_published(tmp_path: Path, images: Path, metal_demo: Path) -> None:
    data = (images / "0.png").read_bytes()
    for name in (b"b\xff.png", b"[bold]x[nothing].png", "1\u00b22.png".encode()):
        Path(os.fsdecode(bytes(images) + b"/" + name)).write_bytes(data)
    with build_station(station(tmp_path, metal_demo)) as running:
        running.run()
    assert {r["frame"]["id"] for r in queued(tmp_path)} >= {"b\\xff.png", "[bold]x[nothing].png", "1\u00b22.png"}
