"""A damaged outbox is moved aside and reported, a new one started, and what can still be read is not lost."""

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

from jetspect.errors import PublishError
from jetspect.runtime.publishing.beside import SeqMark
from jetspect.runtime.publishing.outbox import Outbox

COUNT = 400


def put(outbox: Outbox, size: int = 1500) -> tuple[int, str]:
    return outbox.commit("t", lambda s, e: json.dumps({"event_id": e, "seq": s, "fill": "x" * size}).encode())


def fill(path: Path) -> dict[int, str]:
    with Outbox(path) as outbox:
        events = dict(put(outbox) for _ in range(COUNT))
        outbox.ack(range(1, 101))
    return events


def page_of_zeros(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096 * 40)
        file.write(bytes(4096 * 2))


def page_of_noise(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096 * 60)
        file.write(random.Random(1).randbytes(4096 * 3))


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def no_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"?" * 100)


@pytest.mark.parametrize(
    ("damage", "at_least"), [(page_of_zeros, 380), (page_of_noise, 380), (cut_short, 200), (no_header, 0)]
)
def test_what_a_damaged_file_still_holds_is_taken_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None], at_least: int
) -> None:
    path = tmp_path / "o"
    events = fill(path)
    damage(path)
    broken = path.read_bytes()
    with caplog.at_level(logging.ERROR), Outbox(path) as outbox:
        kept = {row.seq: row for row in outbox.pending(limit=10_000)}
        pending = {seq: row.event_id for seq, row in kept.items()}
        assert pending.items() <= events.items(), "a result came back as another one"
        assert all(json.loads(row.payload)["event_id"] == row.event_id for row in kept.values())
        assert len(kept) >= at_least - 100
        assert not kept.keys() & set(range(1, 101)), "what was delivered came back as unsent"
        new, _ = put(outbox)
        assert COUNT < new <= COUNT + 2 * SeqMark.STEP, "a seq must never be given twice"
        (aside,) = outbox.damaged
    assert aside.stat().st_size == len(broken)
    assert sum("was damaged" in r.message and aside.name in r.message for r in caplog.records) == 1
    with Outbox(path) as outbox:  # the new file is sound
        assert put(outbox)[0] == new + 1


def test_damage_that_shows_while_running_costs_no_new_result(tmp_path: Path) -> None:
    path = tmp_path / "o"
    with Outbox(path) as outbox:
        old = dict(put(outbox, 20_000) for _ in range(300))  # more than SQLite keeps in memory
    with Outbox(path) as outbox:
        with path.open("r+b") as file:
            file.seek(4096 * 200)
            file.write(random.Random(2).randbytes(4096 * 40))
        new = {}
        pending: dict[int, str] = {}
        for _ in range(100):
            seq, event = put(outbox)
            new[seq] = event
            pending.update({row.seq: row.event_id for row in outbox.pending(max(pending, default=0), 10)})
        pending = {row.seq: row.event_id for row in outbox.pending(limit=10_000)}
        assert len(new) == 100
        assert new.items() <= pending.items() <= {**old, **new}.items()
        assert len(pending) >= 350
        assert outbox.damaged


def test_a_lost_outbox_does_not_make_seq_start_again(tmp_path: Path) -> None:
    path = tmp_path / "o"
    fill(path)
    old = path.read_bytes()
    path.unlink()
    with Outbox(path) as outbox:
        first, _ = put(outbox)
        assert first > COUNT
        for _ in range(SeqMark.STEP * 2):
            last, _ = put(outbox, 10)
    path.write_bytes(old)  # somebody brings a copy back
    with Outbox(path) as outbox:
        assert put(outbox)[0] > last


def test_a_count_keeps_its_name_until_outbox_and_mark_are_lost_together(tmp_path: Path) -> None:
    path, mark = tmp_path / "o", tmp_path / "o.seq"

    def name() -> str:
        with Outbox(path) as outbox:
            put(outbox)
            return outbox.outbox_id

    first = name()
    mark.unlink()
    assert name() == first
    path.unlink()
    assert name() == first
    mark.write_text(f"{int(mark.read_text().split()[0]):020d}\n")  # as an older jetspect writes it
    assert name() == first
    path.unlink()
    mark.unlink()
    assert name() != first


def test_a_kill_while_the_new_file_is_made_loses_nothing(tmp_path: Path) -> None:
    """Stopped at each step of the replacement in turn, by a SIGKILL before one rename or removal."""
    for step in range(4):
        path = tmp_path / f"o{step}"
        events = fill(path)
        page_of_zeros(path)
        code = (
            "import os, sys, signal; from pathlib import Path\n"
            f"left = [{step}]\n"
            "def watch(event, arguments):\n"
            "    if event in ('os.rename', 'os.remove') and 'rebuilt' + '-' not in str(arguments[0]):\n"
            "        if left[0] == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
            "        left[0] -= 1\n"
            "sys.addaudithook(watch)\n"
            "from jetspect.runtime.publishing.outbox import Outbox\n"
            f"Outbox(Path({str(path)!r}))\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, (step, done.stderr)
        with Outbox(path) as outbox:
            kept = {row.seq: row.event_id for row in outbox.pending(limit=10_000)}
            assert len(kept) >= 280
            assert kept.items() <= events.items()
            assert put(outbox)[0] > COUNT


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "o"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE outbox (id INTEGER)")
    db.commit()
    db.close()
    before = path.read_bytes()
    with pytest.raises(PublishError, match="another program"):
        Outbox(path)
    assert path.read_bytes() == before
