"""After a SIGKILL results may stand in SQLite's log alone: what is damaged there is told, and no seq is given again."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.publishing.outbox_log import look

FRAME = 24 + 4096
OLD, NEW = 200, 40


def put(outbox: Outbox, size: int = 1500) -> tuple[int, str]:
    return outbox.commit("t", lambda s, e: json.dumps({"event_id": e, "seq": s, "fill": "x" * size}).encode())


def killed(path: Path) -> dict[int, str]:
    """Fill an outbox, close it, commit some more and die; return what was committed."""
    with Outbox(path) as outbox:
        events = dict(put(outbox) for _ in range(OLD))
    code = (
        "import json, os, signal, sys; from pathlib import Path\n"
        "from jetspect.runtime.publishing.outbox import Outbox\n"
        "outbox = Outbox(Path(sys.argv[1]))\n"
        "body = lambda s, e: json.dumps({'event_id': e, 'seq': s, 'fill': 'x' * 1500}).encode()\n"
        f"print(json.dumps([outbox.commit('t', body) for _ in range({NEW})]), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return {**events, **dict(json.loads(done.stdout))}


def wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def noise(path: Path, offset: int, size: int) -> None:
    with wal(path).open("r+b") as file:
        file.seek(offset)
        file.write(random.Random(1).randbytes(size))


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, str]]:
    path = tmp_path_factory.mktemp("log") / "o"
    return path, killed(path)


@pytest.fixture
def dead(committed: tuple[Path, dict[int, str]], tmp_path: Path) -> tuple[Path, dict[int, str]]:
    """A copy of an outbox whose process was killed, with its log."""
    source, events = committed
    for suffix in ("", "-wal", ".seq"):
        tmp_path.joinpath(f"o{suffix}").write_bytes(source.with_name(f"o{suffix}").read_bytes())
    return tmp_path / "o", events


def kept(outbox: Outbox) -> dict[int, str]:
    return {row.seq: row.event_id for row in outbox.pending(limit=10_000)}


def test_a_log_that_a_kill_left_is_whole_and_seq_goes_on(dead: tuple[Path, dict[int, str]]) -> None:
    path, events = dead
    with Outbox(path) as outbox:
        assert kept(outbox) == events
        assert outbox.damaged == []
        assert put(outbox)[0] == OLD + NEW + 1


@pytest.mark.parametrize(
    ("damage", "lost"),
    [
        (lambda path: noise(path, 32 + 20 * FRAME + 500, 100), 5),  # one page
        (lambda path: noise(path, 32 + 20 * FRAME, FRAME), 10),  # a frame with its head
        (lambda path: noise(path, 32 + 500, 50), 5),  # the first of all
        (lambda path: noise(path, wal(path).stat().st_size - 3 * FRAME, 3 * FRAME), 10),  # the last ones
        (lambda path: noise(path, 0, 32), 0),  # the log's own head
    ],
)
def test_damage_in_the_log_is_told_and_takes_only_what_stood_there(
    dead: tuple[Path, dict[int, str]], caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None], lost: int
) -> None:
    path, events = dead
    damage(path)
    broken = wal(path).read_bytes()
    with caplog.at_level(logging.ERROR), Outbox(path) as outbox:
        found = kept(outbox)
        assert found.items() <= events.items()
        assert len(found) >= len(events) - lost
        assert put(outbox)[0] > max(events), "a seq must never be given twice"
        (aside,) = outbox.damaged
    assert wal(aside).read_bytes() == broken, "what is damaged is kept for a person"
    assert any("of its log does not add up" in r.message for r in caplog.records)
    assert sorted(p.name for p in path.parent.iterdir() if "salvage" in p.name) == []


def test_damage_in_the_last_write_looks_like_a_cut_and_costs_no_seq(dead: tuple[Path, dict[int, str]]) -> None:
    path, events = dead
    noise(path, wal(path).stat().st_size - 100, 50)
    with Outbox(path) as outbox:
        assert len(kept(outbox)) >= len(events) - 1
        assert put(outbox)[0] > max(events)


def test_a_damaged_log_without_its_file_stops_no_station(dead: tuple[Path, dict[int, str]]) -> None:
    path, events = dead
    noise(path, 32 + 20 * FRAME + 500, 100)
    path.unlink()
    with Outbox(path) as outbox:
        assert put(outbox)[0] > max(events)


@pytest.mark.parametrize("left", [0, 10, 32, 32 + 24, 32 + 30 * FRAME + 24, 32 + 30 * FRAME + 3000])
def test_a_torn_end_is_no_damage(dead: tuple[Path, dict[int, str]], left: int) -> None:
    """As a kill in the middle of a write leaves it; what stands before is there."""
    path, events = dead
    os.truncate(wal(path), left)
    assert look(wal(path)).damage == ""
    with Outbox(path) as outbox:
        assert kept(outbox).items() <= events.items()
        assert outbox.damaged == []


def test_two_cut_writes_at_one_place_are_no_damage(dead: tuple[Path, dict[int, str]]) -> None:
    """The first is cut in its last frame; of a second like it the first frame's page is cut at a block of memory."""
    path, events = dead
    frames = (wal(path).stat().st_size - 32) // FRAME
    head = [wal(path).read_bytes()[32 + n * FRAME :][:8] for n in range(frames)]
    before_last = max(n for n in range(frames - 1) if head[n][4:] != bytes(4))
    assert head[-1][4:] != bytes(4)
    for frame in (before_last + 1, frames - 1):
        noise(path, 32 + (frame + 1) * FRAME - 50, 50)
    assert before_last + 1 < frames - 1, "a commit of one frame has no such mixture"
    assert look(wal(path)).damage == ""
    with Outbox(path) as outbox:
        assert outbox.damaged == []
        assert kept(outbox) == {seq: event for seq, event in events.items() if seq < OLD + NEW}
        assert put(outbox)[0] >= OLD + NEW


def test_what_an_earlier_log_left_behind_the_end_is_no_damage(tmp_path: Path) -> None:
    """A log that began anew is written over the old one; its old frames, and a write that never ended, stay behind."""
    path = tmp_path / "o"
    with Outbox(path) as outbox:
        for _ in range(50):  # SQLite begins anew after a thousand frames
            put(outbox, 100_000)
        assert wal(path).stat().st_size > 900 * FRAME
        state = look(wal(path))
    assert (state.damage, state.doubtful) == ("", False)


def test_a_kill_while_a_damaged_log_is_replaced_loses_nothing(dead: tuple[Path, dict[int, str]]) -> None:
    path, events = dead
    noise(path, 32 + 20 * FRAME + 500, 100)
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "def watch(event, arguments):\n"
        "    if event == 'os.rename' and str(arguments[0]).endswith('-wal'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.addaudithook(watch)\n"
        "from jetspect.runtime.publishing.outbox import Outbox\n"
        "Outbox(Path(sys.argv[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with Outbox(path) as outbox:
        assert len(kept(outbox)) >= len(events) - 5
        assert put(outbox)[0] > max(events)
        (aside,) = outbox.damaged
    assert wal(aside).exists()
