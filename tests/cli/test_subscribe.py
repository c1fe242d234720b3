"""``jetspect subscribe`` against a real mosquitto, and real stations where one must answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import Done, jetspect
from consumers import result, send, subscribed
from delivery import commit, publishing, wait_for

from jetspect.runtime.publishing.commands import CommandSettings
from jetspect.runtime.publishing.outbox import Outbox

ALL = CommandSettings(receipts=True, replay=True)


@pytest.fixture
def broker(mosquitto: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setattr("jetspect.runtime.consuming.recovery.GRACE_S", 0.2)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = mosquitto()
    subscribed(made.port, "mes")
    return made


def subscribe(broker: Any, *words: object) -> Done:
    where = ("--host", "127.0.0.1", "--port", broker.port, "--client-id", "mes")
    return jetspect("subscribe", *where, *words)


def seqs(done: Done) -> list[int]:
    return [json.loads(line)["seq"] for line in done.stdout.splitlines()]


def test_lines_are_results_once_each_and_the_rest_is_told(broker: Any) -> None:
    spread = json.dumps(json.loads(result(2)), indent=2).encode()
    later = result(9).replace(b"jetspect.result/1", b"jetspect.result/7")
    send(broker.port, [result(1), spread, result(2), b"\x1b[2J", later, result(3)])
    done = subscribe(broker, "--jsonl", "--count", 3)
    assert (done.returncode, seqs(done)) == (0, [1, 2, 3])
    assert "not a result (payload: Invalid JSON" in done.stderr
    assert "1 messages were no results; 1 were results of a version" in done.stderr
    assert "\x1b" not in done.stderr


def test_gaps_are_told_when_they_open_when_they_close_and_at_the_end_over_two_runs(broker: Any) -> None:
    send(broker.port, [result(seq) for seq in (10, 13, 20)])
    done = subscribe(broker, "--json", "--count", 3)
    assert done.returncode == 1
    assert "2 results are missing before this one: 11 to 12" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("8 results are missing at the end: 11 to 12, 14 to 19")
    send(broker.port, [result(seq) for seq in (20, 11, 12, *range(14, 20))])
    done = subscribe(broker, "--jsonl", "--count", 8)
    assert (done.returncode, seqs(done)) == (0, [11, 12, *range(14, 20)])
    assert "gap closed, 11 to 12 came late" in done.stderr
    assert "at the end" not in done.stderr


def test_the_table_counts_what_is_missing_and_says_gaps(broker: Any) -> None:
    send(broker.port, [result(1), result(3)])
    done = subscribe(broker, "--count", 2)
    assert done.returncode == 1
    assert "missing at the end: 2" in done.stderr


def test_what_a_station_sends_draws_nothing_on_the_terminal(broker: Any) -> None:
    body = json.loads(result(1))
    body["frame"]["part_id"], body["reasons"] = "a\x1b[2Jb", ["\x9b31m"]
    body["station"]["site"] = "\x1b]0;x\x07"
    send(broker.port, [json.dumps(body).encode()])
    done = subscribe(broker, "--count", 1)
    assert done.returncode == 0
    assert "a?[2Jb" in done.stdout
    assert not {"\x1b", "\x9b", "\x07"} & set(done.stdout)


@pytest.mark.parametrize("history", [False, True])
def test_what_is_missing_is_asked_for_and_receipts_follow(broker: Any, tmp_path: Path, history: bool) -> None:
    """A station gave 30 results: 1 to 3 before this consumer was there, 11 to 20 while the broker lost its session."""
    with Outbox(tmp_path / "o") as outbox:
        for _ in range(30):
            commit(outbox)
        outbox.ack([1, 2, 3, *range(11, 21)])
        outbox.note_connection(sound=True)
        with publishing(outbox, broker.port, ALL):
            words = ["--jsonl", "--recover", "--receipt", "mes", "--count", 30 if history else 27]
            done = subscribe(broker, *words, *(["--history"] if history else []))
            wait_for(lambda: outbox.receipts() == {"mes": 30})
    assert done.returncode == 0, done.stderr
    assert sorted(seqs(done)) == list(range(1 if history else 4, 31))
    assert "gap closed, 11 to 20 came late" in done.stderr


def test_what_the_station_no_longer_has_is_lost_and_receipts_go_on(broker: Any, tmp_path: Path) -> None:
    with Outbox(tmp_path / "o") as outbox:
        for _ in range(5):
            commit(outbox)
        outbox.ack([1, 2, 3])
        outbox.forget(0)
        send(broker.port, [result(1)])
        with publishing(outbox, broker.port, ALL):
            done = subscribe(broker, "--jsonl", "--recover", "--receipt", "mes", "--quiet-s", 0.9)
            assert outbox.receipts() == {"mes": 5}
    assert (done.returncode, seqs(done)) == (1, [1, 4, 5])
    assert "the station no longer has 2 to 3; lost to this consumer" in done.stderr


def test_a_closed_stdout_ends_it_and_what_was_not_written_stays_with_the_broker(broker: Any) -> None:
    send(broker.port, [result(1), result(2)])
    command = [sys.executable, "-m", "jetspect", "subscribe", "--host", "127.0.0.1", "--port", str(broker.port)]
    command += ["--client-id", "mes", "--jsonl"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert [json.loads(child.stdout.readline())["seq"] for _ in range(2)] == [1, 2]
        child.stdout.close()
        send(broker.port, [result(3)])
        assert b"stdout cannot be written (Broken pipe)" in child.communicate(timeout=30)[1]
    assert child.returncode == 2
    assert seqs(subscribe(broker, "--jsonl", "--count", 1)) == [3]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_good_order(broker: Any, tmp_path: Path, number: signal.Signals) -> None:
    with Outbox(tmp_path / "o") as outbox, publishing(outbox, broker.port, ALL):

        def end() -> None:
            wait_for(lambda: bool(outbox.receipts()))
            os.kill(os.getpid(), number)

        commit(outbox)
        ender = threading.Thread(target=end)
        ender.start()
        done = subscribe(broker, "--jsonl", "--receipt", "mes", "--quiet-s", 20)
        ender.join()
    assert (done.returncode, seqs(done), done.stderr) == (0, [1], "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--receipt", "mes"], "a table keeps none"),
        (["--receipt", "a b", "--jsonl"], "'a b' is no name of a consumer"),
        (["--recover", "--topic", "#"], "--recover needs a topic filter that ends in /result"),
        (["--state", "/proc/nowhere/s.json"], "/proc/nowhere/s.json cannot be written"),
    ],
)
def test_wrong_wishes_are_refused_before_anything_is_received(words: list[str], said: str) -> None:
    done = jetspect("subscribe", "--port", 1, *words)
    assert done.returncode == 2
    assert said in done.stderr


def test_results_on_a_topic_of_no_station_are_lines_too_and_get_no_receipt(broker: Any) -> None:
    subscribed(broker.port, "odd", "copies")
    send(broker.port, [result(1)], "copies")
    where = ("--host", "127.0.0.1", "--port", broker.port, "--client-id", "odd", "--topic", "copies")
    done = jetspect("subscribe", *where, "--jsonl", "--receipt", "mes", "--count", 1)
    assert (done.returncode, seqs(done)) == (0, [1])
