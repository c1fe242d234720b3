from __future__ import annotations

import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jetspect.errors import PublishError
from jetspect.runtime.publishing.outbox import Outbox


def put(outbox: Outbox, body: bytes = b"x") -> int:
    return outbox.commit("t", lambda seq, event: body)[0]


def test_rows_come_out_in_order_until_they_are_acknowledged(tmp_path: Path) -> None:
    with Outbox(tmp_path / "o") as outbox:
        seqs = [put(outbox, str(n).encode()) for n in range(5)]
        assert seqs == [1, 2, 3, 4, 5]
        assert [r.payload for r in outbox.pending(2, 2)] == [b"2", b"3"]
        outbox.ack([1, 3])
        assert [r.seq for r in outbox.pending()] == [2, 4, 5]
        assert outbox.depth() == 3
        assert outbox.oldest_pending_age_s() >= 0


def test_seq_and_event_id_reach_the_payload_and_survive_a_restart(tmp_path: Path) -> None:
    with Outbox(tmp_path / "o") as outbox:
        seq, event = outbox.commit("t", lambda s, e: f"{s} {e}".encode())
    with Outbox(tmp_path / "o") as outbox:
        assert [r.payload.decode() for r in outbox.pending()] == [f"{seq} {event}"]
        outbox.ack([seq])
        outbox.prune(0, 1)
        assert put(outbox) == seq + 1


def test_a_payload_that_cannot_be_built_leaves_nothing_behind(tmp_path: Path) -> None:
    def build(seq: int, event: str) -> bytes:
        raise RuntimeError("no")

    with Outbox(tmp_path / "o") as outbox:
        with pytest.raises(RuntimeError):
            outbox.commit("t", build)
        assert outbox.depth() == 0
        assert put(outbox) == 1


def test_pruning_takes_acknowledged_rows_only_oldest_first(tmp_path: Path) -> None:
    with Outbox(tmp_path / "o") as outbox:
        for _ in range(6):
            put(outbox, b"y" * 500_000)
        outbox.ack([1, 2, 3, 4])
        outbox.prune(keep_hours=1, max_mb=2)
        outbox.reopen([1, 2, 3, 4])
        kept = [r.seq for r in outbox.pending()]
        assert kept[-2:] == [5, 6]
        assert 1 not in kept
        outbox.ack([s for s in kept if s < 5])
        outbox.prune(keep_hours=0, max_mb=1)
        assert [r.seq for r in outbox.pending()] == [5, 6]


def test_many_threads_share_one_outbox(tmp_path: Path) -> None:
    with Outbox(tmp_path / "o") as outbox:
        threads = [threading.Thread(target=lambda: [put(outbox) for _ in range(20)]) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [r.seq for r in outbox.pending(limit=200)] == list(range(1, 101))


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from jetspect.runtime.publishing.outbox import Outbox\n"
        f"Outbox(Path({str(tmp_path / 'o')!r}))"
    )
    with Outbox(tmp_path / "o"):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "in use" in done.stderr


def test_a_file_that_is_no_outbox_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "o"
    path.write_bytes(b"this is not a database, it is a text of some length" * 50)
    before = path.read_bytes()
    with pytest.raises(PublishError, match="move it aside"):
        Outbox(path)
    assert path.read_bytes() == before


def test_a_full_disk_is_said_and_what_was_queued_stays(tmp_path: Path) -> None:
    """A file size limit stands for the full disk; SQLite reports both the same way."""
    path = tmp_path / "o"
    code = (
        "import resource, signal; from pathlib import Path; from jetspect.runtime.publishing.outbox import Outbox\n"
        "from jetspect.errors import PublishError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"o = Outbox(Path({str(path)!r}))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "n = 0\n"
        "try:\n"
        "    while True: o.commit('t', lambda s, e: b'z' * 20_000); n += 1\n"
        "except PublishError as error: print(n, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, _, message = done.stdout.partition(" ")
    assert "cannot grow" in message
    assert int(count) > 2
    with Outbox(path) as outbox:
        assert outbox.depth() == int(count)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 300_000
