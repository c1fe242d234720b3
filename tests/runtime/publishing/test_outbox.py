from __future__ import annotations

import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
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
        outbox.forget(0)
        assert put(outbox) == seq + 1


def test_threads_that_commit_together_get_their_own_results_and_errors(tmp_path: Path) -> None:
    def fail(seq: int, event: str) -> bytes:
        raise RuntimeError("no")

    with Outbox(tmp_path / "o") as outbox, ThreadPoolExecutor(8) as pool:
        told = [
            pool.submit(outbox.commit, "t", fail if n % 10 == 0 else lambda s, e: f"{s} {e}".encode())
            for n in range(200)
        ]
        good = dict(t.result() for n, t in enumerate(told) if n % 10)
        assert all(isinstance(t.exception(), RuntimeError) for n, t in enumerate(told) if n % 10 == 0)
        kept = {r.seq: r for r in outbox.pending(limit=1000)}
    assert sorted(good) == sorted(kept) == list(range(1, 181))
    assert all(kept[s].event_id == e and kept[s].payload == f"{s} {e}".encode() for s, e in good.items())


def test_a_clock_that_jumps_back_hides_nothing(tmp_path: Path) -> None:
    """What was acknowledged last is sent again after a broken connection, and nothing is forgotten too early."""
    wall = [1_000_000.0]

    def opened() -> Outbox:
        return Outbox(tmp_path / "o", clock=lambda: wall[0])

    with opened() as outbox:
        outbox.note_connection(sound=False)
        for _ in range(3):
            put(outbox)
        outbox.ack([1])
        wall[0] += 60
        outbox.ack([2])
        wall[0] -= 7200
        outbox.ack([3])
        assert outbox.unsettled(5) == [2, 3]
        assert put(outbox) == 4
        assert 0 <= outbox.oldest_pending_age_s() < 5
    with opened() as outbox:  # also where it jumped while the station was off
        wall[0] -= 86400
        outbox.ack([4])
        assert outbox.unsettled(5) == [2, 3, 4]
        assert outbox.forget(keep_hours=0.01) == 1
        wall[0] += 86400 * 10
        assert outbox.forget(keep_hours=1) == 3


def test_a_payload_that_cannot_be_built_leaves_nothing_behind(tmp_path: Path) -> None:
    def build(seq: int, event: str) -> bytes:
        raise RuntimeError("no")

    with Outbox(tmp_path / "o") as outbox:
        with pytest.raises(RuntimeError):
            outbox.commit("t", build)
        assert outbox.depth() == 0
        assert put(outbox) == 1


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
