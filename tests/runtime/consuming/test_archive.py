"""What is in the database, for SQLite and PostgreSQL."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from consumers import result
from delivery import ADDRESS, inspection
from postgres import Postgres

from jetspect.errors import ArchiveError, InputError
from jetspect.runtime.consuming.archive import Archive, _hint
from jetspect.runtime.consuming.reader import ResultReader
from jetspect.runtime.publishing.describing import result_message
from jetspect.runtime.publishing.result_message import EvidenceRef

TOPIC = "jetspect/v1/s/a/l/u/result"
Query = Callable[[str, str], list[Any]]


def store(archive: Archive, reader: ResultReader, *payloads: bytes, topic: str = TOPIC) -> None:
    archive.store([reader.read(topic, payload) for payload in payloads], reader)


def changed(seq: int, **fields: object) -> bytes:
    return json.dumps({**json.loads(result(seq)), **fields}).encode()


def test_a_result_is_there_once_with_its_defects_and_pictures(database: str, query: Query) -> None:
    picture = EvidenceRef(kind="overlay", uri="p.jpg", sha256="1" * 64, bytes=3)
    message = result_message(inspection(), ADDRESS, 7, "e7", [picture])
    east = message.frame.inspected_at.astimezone(timezone(timedelta(hours=5)))
    payload = json.dumps({**json.loads(message.payload()), "later_field": {"x": 1}}).encode()
    payload = payload.replace(
        message.frame.inspected_at.isoformat().replace("+00:00", "Z").encode(), east.isoformat().encode()
    )
    for _ in range(2):  # the second one is a process that has never seen it
        archive = Archive(database)
        store(archive, ResultReader(), payload)
        archive.close()
    assert query(database, "SELECT seq, verdict, defect_count, unit FROM jetspect_results") == [(7, "NOK", 1, "u")]
    assert query(database, "SELECT class_name, area_px, x_max FROM jetspect_defects") == [("pit", 5, 4)]
    assert query(database, "SELECT kind, uri, bytes FROM jetspect_evidence") == [("overlay", "p.jpg", 3)]
    stored = query(database, "SELECT inspected_at, message FROM jetspect_results")[0]
    at = message.frame.inspected_at
    text = at.replace(tzinfo=None).isoformat(" ", "microseconds")
    assert stored[0] in (at, text), "a time is kept in UTC"
    whole = stored[1] if isinstance(stored[1], dict) else json.loads(stored[1])
    assert whole["later_field"] == {"x": 1}


def test_counts_of_stations_come_back(database: str) -> None:
    archive = Archive(database)
    store(archive, archive.load(), *(result(seq) for seq in (3, 6, 5)))
    archive.close()
    archive = Archive(database)
    ledger = archive.load().stations[TOPIC]
    assert (ledger.first, ledger.last, ledger.up_to, ledger.holes) == (3, 6, 3, [(4, 4)])
    assert ledger.newest_at is not None
    assert ledger.newest_at.utcoffset() == timedelta()
    archive.close()


def test_an_archive_from_before_counts_had_names_goes_on(database: str, query: Query) -> None:
    archive = Archive(database)
    store(archive, archive.load(), result(1))
    archive.close()
    query(database, "ALTER TABLE jetspect_stations DROP COLUMN outbox_id")
    for _ in range(2):
        archive = Archive(database)
        reader = archive.load()
        store(archive, reader, changed(3, outbox_id="a"))
        archive.close()
    assert query(database, "SELECT last_seq, outbox_id FROM jetspect_stations") == [(3, "a")]


def test_what_cannot_be_a_row_is_kept_apart_and_holds_up_nothing(database: str, query: Query) -> None:
    """JSON allows more than a database does: NUL in a text, NaN, numbers of more than 64 bits."""
    archive, reader = Archive(database), ResultReader()
    strange = [
        b"\x00\xff",
        changed(2, tiles=10**400).replace(b"1" + b"0" * 400, b"1" * 5000),
        changed(3, defects_truncated=2**70),
        changed(4, timings_ms={"total": float("nan")}),
        changed(6, schema_id="jetspect.result/9"),
    ]
    store(archive, reader, result(1), *strange, result(9))
    store(archive, ResultReader(), *strange)
    archive.close()
    assert query(database, "SELECT seq FROM jetspect_results ORDER BY seq") == [(1,), (9,)]
    rejected = {
        bytes(payload): reason for payload, reason in query(database, "SELECT payload, reason FROM jetspect_rejected")
    }
    assert set(rejected) == set(strange)
    assert "install a newer one" in rejected[strange[4]]


def test_a_part_id_that_no_index_takes_is_cut_and_kept_whole_in_the_message(database: str, query: Query) -> None:
    """A station sends up to 4,096 characters and takes a receipt as a promise: such a result is one like any other."""
    frame = json.loads(result(1))["frame"]
    many = "".join(chr(0x20000 + n) for n in range(4095))  # four bytes each, and nothing repeats itself
    parts = ["x" * 512, "x" * 513, many + "a", many + "b"]
    archive = Archive(database)
    store(archive, ResultReader(), *(changed(n, frame={**frame, "part_id": part}) for n, part in enumerate(parts, 1)))
    archive.close()
    rows = query(database, "SELECT part_id, message FROM jetspect_results ORDER BY seq")
    short = [part for part, _ in rows]
    assert short[0] == parts[0]
    assert short[1] == "x" * 447 + "…" + hashlib.sha256(b"x" * 513).hexdigest()
    assert [len(part) for part in short] == [512] * 4
    assert len(set(short)) == 4
    whole = [message if isinstance(message, dict) else json.loads(message) for _, message in rows]
    assert [message["frame"]["part_id"] for message in whole] == parts


def test_a_topic_that_no_index_takes_wedges_nothing(database: str, query: Query) -> None:
    """What somebody publishes under a station's filter must not stop the archive of all others."""
    level = "".join(f"{n:x}" for n in range(10_000))[:4000]  # an index packs what repeats itself
    archive, reader = Archive(database), ResultReader()
    topics = (f"jetspect/v1/s/a/l/{level}/result", "a\0b/result", f"{'x' * 505}/result", TOPIC)
    for number, topic in enumerate(topics, 1):
        store(archive, reader, changed(number, event_id=f"e{number}"), topic=topic)
    archive.close()
    assert query(database, "SELECT seq FROM jetspect_results ORDER BY seq") == [(3,), (4,)]
    assert query(database, "SELECT last_seq FROM jetspect_stations ORDER BY last_seq") == [(3,), (4,)]
    (reason,), _ = query(database, "SELECT reason FROM jetspect_rejected ORDER BY length(topic) DESC")
    assert reason == "topic: that of a result has at most 512 characters, this one has 4025"


def test_gaps_beyond_all_bounds_wedge_nothing(database: str, query: Query) -> None:
    archive, reader = Archive(database), ResultReader()
    for number, (seq, count) in enumerate(((1, "a"), (2**63 - 1, "a"), (1, "b"), (2**63 - 1, "b"), (1, "c"))):
        store(archive, reader, changed(seq, event_id=f"e{number}", outbox_id=count))
    archive.close()
    assert query(database, "SELECT gone FROM jetspect_stations") == [(2**63 - 1,)]


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("could not extend file: No space left on device", "free space on its disk"),
        ("database or disk is full", "free space on its disk"),
        ('relation "full_time" does not exist', "check --database"),
    ],
)
def test_only_a_full_disk_is_called_full(said: str, hint: str) -> None:
    error = sa.exc.OperationalError("INSERT", {"part": "full"}, Exception(said))
    assert _hint(error).startswith(hint)


def test_nul_in_a_text_is_kept_one_way_or_the_other(database: str, query: Query) -> None:
    archive = Archive(database)
    store(archive, ResultReader(), changed(1, reasons=["a\0b"]), result(2))
    archive.close()
    kept = query(database, "SELECT count(*) FROM jetspect_results")[0][0]
    assert kept + query(database, "SELECT count(*) FROM jetspect_rejected")[0][0] == 2


def test_tables_of_a_newer_jetspect_are_left_alone(database: str, query: Query) -> None:
    Archive(database).close()
    query(database, "UPDATE jetspect_schema SET version = 2")
    with pytest.raises(ArchiveError, match="has the tables of version 2, this jetspect writes version 1; install"):
        Archive(database)


def test_tables_of_somebody_else_are_told_before_the_first_result(database: str, query: Query) -> None:
    query(database, "CREATE TABLE jetspect_defects (event_id TEXT)")
    with pytest.raises(ArchiveError, match="cannot be used"):
        Archive(database)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "is no URL"),
        ("results.db", "is no URL"),
        ("sqlite://", "keeps nothing"),
        ("mysql://h/d", "not in mysql"),
        ("oracle+nothing://h/d", "not in oracle"),
    ],
)
def test_a_wrong_url_is_refused(url: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Archive(url)


def test_a_database_that_is_not_there_is_told_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="unable to open") as told:
        Archive(f"sqlite:///{tmp_path}/no/folder.db")
    with pytest.raises(ArchiveError, match="Connection refused") as told:
        Archive("postgresql://u:hunter2@127.0.0.1:1/d")
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize("key", ["password", "sslpassword", "passfile", "options"])
def test_no_key_of_a_url_is_told(key: str) -> None:
    with pytest.raises(ArchiveError) as told:
        Archive(f"postgresql://u@127.0.0.1:1/d?{key}=hunter2")
    assert str(told.value).startswith(f"postgresql+psycopg://u@127.0.0.1:1/d?{key}=... cannot be used")
    assert "hunter2" not in str(told.value)


def test_a_user_without_rights_is_told_at_the_start(postgres: Postgres, query: Query) -> None:
    postgres.run("CREATE ROLE reader LOGIN")
    postgres.run("CREATE DATABASE guarded")
    with pytest.raises(ArchiveError, match=r"permission denied for schema public.*; give its user the right"):
        Archive(postgres.url("guarded", "reader"))
    Archive(postgres.url("guarded")).close()
    postgres.run("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", "guarded")
    with pytest.raises(ArchiveError, match="permission denied for table jetspect_"):
        Archive(postgres.url("guarded", "reader"))


def test_a_full_disk_leaves_the_batch_outside_and_later_takes_it(tmp_path: Path, query: Query) -> None:
    """SQLite's own limit on pages stands in for the disk: it fails with the same error at the same places."""
    url = f"sqlite:///{tmp_path}/results.db"
    archive, reader = Archive(url), ResultReader()
    pages = query(url, "PRAGMA page_count")[0][0]
    limit = [f"PRAGMA max_page_count = {pages + 4}"]
    sa.event.listen(archive._engine, "begin", lambda c: [c.exec_driver_sql(pragma) for pragma in limit])
    batch = [reader.read(TOPIC, result(seq)) for seq in range(1, 201)]
    with pytest.raises(ArchiveError, match="is full; free space on its disk"):
        archive.store(batch, reader)
    assert query(url, "SELECT count(*) FROM jetspect_results") == [(0,)]
    limit[:] = ["PRAGMA max_page_count = 100000"]
    archive.store(batch, reader)
    archive.close()
    assert query(url, "SELECT count(*) FROM jetspect_results") == [(200,)]


def test_a_locked_database_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/results.db"
    archive, reader = Archive(url), ResultReader()
    monkeypatch.setattr("jetspect.runtime.consuming.archive._BUSY_S", 0.01)
    other = sqlite3.connect(tmp_path / "results.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(ArchiveError, match="is locked; another program holds it"):
        Archive(url)
    other.execute("ROLLBACK")
    other.close()
    store(archive, reader, result(1))
    assert archive.stored == 1
    archive.close()
