"""From a real station through a real broker into a real database: everything, once, whoever dies on the way."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from commands import Done, jetspect
from consumers import ANY, broker_at, result, send, subscribed
from delivery import commit, publishing, wait_for
from postgres import Postgres

from jetspect.runtime.consuming.archive import Archive
from jetspect.runtime.consuming.archivist import Archivist
from jetspect.runtime.consuming.consumer import Consumer
from jetspect.runtime.consuming.inbox import Inbox
from jetspect.runtime.publishing.commands import CommandSettings
from jetspect.runtime.publishing.outbox import Outbox

HELPERS = Path(__file__).resolve().parents[2] / "helpers"
ALL = CommandSettings(receipts=True, replay=True)
LIVES, SEED = 6, 20261121
Query = Callable[[str, str], list[Any]]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits as long as in a plant."""
    monkeypatch.setattr("jetspect.runtime.consuming.recovery.GRACE_S", 0.2)
    monkeypatch.setattr("jetspect.runtime.consuming.archive._BUSY_S", 0.05)


def archive(database: str, port: int, *words: object) -> Done:
    return jetspect(
        "archive", "--database", database, "--host", "127.0.0.1", "--port", port, "--client-id", "archive", *words
    )


@contextmanager
def archiving(database: str, port: int) -> Iterator[list[str]]:
    """An archive in a thread; yields what it tells."""
    told: list[str] = []
    kept, inbox = Archive(database), Inbox(broker_at(port), [ANY], client_id="archive")
    consumer = Consumer(inbox, kept.load(), Archivist(kept, inbox.stopping, told.append), tell=told.append)
    with inbox:
        worker = threading.Thread(target=consumer.run)
        worker.start()
        try:
            yield told
        finally:
            inbox.stopping.set()
            worker.join()
            kept.close()


def test_kills_of_archive_and_broker_lose_nothing_and_repeat_nothing(
    postgres: Postgres, query: Query, tmp_path: Path, mosquitto: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    broker = mosquitto()
    postgres.run("CREATE DATABASE kills")
    database = postgres.url("kills")
    subscribed(broker.port, "archive")
    path_list = os.pathsep.join(p for p in sys.path if p)
    command = [sys.executable, str(HELPERS / "archive_lives.py"), database, str(broker.port), str(LIVES), str(SEED)]
    with Outbox(tmp_path / "o") as outbox, publishing(outbox, broker.port, ALL) as publisher:
        for _ in range(200):
            commit(outbox)
        publisher.notify()
        environment = {**os.environ, "PYTHONPATH": path_list}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as lives:
            assert lives.stdout is not None
            for number, _ in enumerate(lives.stdout):
                if number == LIVES // 2:
                    broker.kill()
                    broker.start()
        assert lives.returncode == 0
        before = query(database, "SELECT count(*) FROM jetspect_results")[0][0]
        wait_for(lambda: publisher.flush(1) == 0)
        done = archive(database, broker.port, "--recover", "--history", "--receipt", "archive", "--quiet-s", "0.5")
        wait_for(lambda: outbox.receipts() == {"archive": 200})
        outbox.reopen(range(1, 201))
        kept = [(row.seq, row.event_id) for row in outbox.pending(limit=1000)]
    assert done.returncode == 0, done.stderr
    assert query(database, "SELECT seq, event_id FROM jetspect_results ORDER BY seq") == kept
    assert query(database, "SELECT count(*) FROM jetspect_defects") == [(200,)]
    assert query(database, "SELECT up_to_seq FROM jetspect_stations") == [(200,)]
    assert 0 < before < 200, "the archives that were killed stored nothing, or left nothing to do"
    with capsys.disabled():
        print(f"\n{LIVES} kills of an archive, 1 of the broker: 200 results, each once, {before} before the last start")


def test_results_wait_while_the_database_is_locked(tmp_path: Path, mosquitto: Callable[..., Any], query: Query) -> None:
    broker, url = mosquitto(), f"sqlite:///{tmp_path}/results.db"
    with archiving(url, broker.port) as told:
        other = sqlite3.connect(tmp_path / "results.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        send(broker.port, [result(seq) for seq in range(1, 31)])
        wait_for(lambda: bool(told))
        other.execute("ROLLBACK")
        other.close()
        wait_for(lambda: query(url, "SELECT count(*) FROM jetspect_results") == [(30,)])
    assert "database is locked; another program holds it; end that; results wait with the broker" in told[0]
    assert told[1].endswith("takes results again")


def test_results_wait_while_the_database_is_away(
    postgres: Postgres, mosquitto: Callable[..., Any], query: Query
) -> None:
    broker = mosquitto()
    postgres.run("CREATE DATABASE away")
    url = postgres.url("away")
    with archiving(url, broker.port) as told:
        send(broker.port, [result(1)])
        wait_for(lambda: query(url, "SELECT count(*) FROM jetspect_results") == [(1,)])
        postgres.stop()
        try:
            send(broker.port, [result(seq) for seq in range(2, 61)])
            wait_for(lambda: bool(told))
        finally:
            postgres.start()
        wait_for(lambda: query(url, "SELECT count(*) FROM jetspect_results") == [(60,)])
    assert told[0].endswith("results wait with the broker")


def test_leaving_while_the_database_is_away_acknowledges_nothing(
    tmp_path: Path, mosquitto: Callable[..., Any], query: Query
) -> None:
    broker, url = mosquitto(), f"sqlite:///{tmp_path}/results.db"
    with archiving(url, broker.port) as told:
        other = sqlite3.connect(tmp_path / "results.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        send(broker.port, [result(1), result(2)])
        wait_for(lambda: bool(told))
    other.execute("ROLLBACK")
    other.close()
    assert query(url, "SELECT count(*) FROM jetspect_results") == [(0,)]
    done = archive(url, broker.port, "--count", 2)
    assert (done.returncode, done.stdout) == (0, "2 results stored, 0 messages rejected\n")


def test_the_command_says_gaps_and_what_it_stored(tmp_path: Path, mosquitto: Callable[..., Any]) -> None:
    broker, url = mosquitto(), f"sqlite:///{tmp_path}/results.db"
    subscribed(broker.port, "archive")
    send(broker.port, [result(1), b"?", result(4)])
    done = archive(url, broker.port, "--count", 2, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"stored": 2, "rejected": 1, "missing": 2, "lost": 0}
    assert "2 results are missing at the end: 2 to 3" in done.stderr


def test_wrong_databases_are_refused_with_exit_code_2(tmp_path: Path) -> None:
    assert "--database is no URL" in archive("results", 1).stderr
    (tmp_path / "text").write_text("not a database, for certain " * 100)
    done = archive(f"sqlite:///{tmp_path}/text", 1)
    assert (done.returncode, "file is not a database" in done.stderr) == (2, True)
