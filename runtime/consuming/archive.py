"""Results in SQLite or PostgreSQL, each once, however often it comes."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from jetspect.errors import ArchiveError, InputError, MissingDependencyError
from jetspect.runtime.consuming.ledger import StationLedger
from jetspect.runtime.consuming.reader import Received, ResultReader, plain
from jetspect.runtime.consuming.rows import (
    Row,
    defect_rows,
    evidence_rows,
    rejected_row,
    result_row,
    station_row,
)
from jetspect.runtime.consuming.tables import VERSION, require_sqlalchemy, tables
from jetspect.runtime.frames import utc_now

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine, Table

log = logging.getLogger(__name__)
_BUSY_S = 5.0
_ONE_AT_A_TIME = 0x6A657473  # PostgreSQL: two archives must not create the tables at once


class Archive:
    """The database of an archive. Opening it creates the tables, and finds out whether they can be written.

    Raises
    ------
    InputError
        The URL is none, or of a database that an archive cannot use.
    ArchiveError
        The database cannot be reached or written, or a newer jetspect made its tables.
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self._tables = tables()
        self.where = _shown(self._engine.url)
        self._insert = _inserter(self._engine)
        self._saved: dict[str, Row] = {}
        self.stored = self.rejected = 0
        try:
            self._work(self._prepare)
            self._work(self._try_rights)
        except BaseException:
            self.close()
            raise

    def load(self, *, from_first: bool = False) -> ResultReader:
        """Return a reader that goes on with the counts that are in the database."""
        import sqlalchemy as sa

        rows = self._work(lambda c: c.execute(sa.select(self._tables.stations)).mappings().all())
        stations = {}
        for row in rows:
            holes = [(first, last) for first, last in row["missing"]]
            at = row["newest_at"]
            newest_at = at.replace(tzinfo=timezone.utc) if at and at.tzinfo is None else at
            ledger = StationLedger(row["first_seq"], row["last_seq"], holes, row["gone"], newest_at, row["outbox_id"])
            stations[row["topic"]] = ledger
            self._saved[row["topic"]] = station_row(row["topic"], ledger)
        return ResultReader(stations, from_first=from_first)

    def store(self, batch: list[Received], reader: ResultReader) -> None:
        """Write a batch and the counts it leads to in one transaction.

        A message that the database refuses goes to ``jetspect_rejected``, and holds up no other.

        Raises
        ------
        ArchiveError
            The database cannot take anything now; nothing of the batch is in it.
        """
        at, stored, rejected = utc_now(), 0, 0
        counts = {topic: station_row(topic, ledger) for topic, ledger in reader.stations.items()}
        changed = [row for topic, row in counts.items() if row != self._saved.get(topic)]

        def write(connection: Connection) -> None:
            nonlocal stored, rejected
            stored, rejected = self._write_batch(connection, batch, at)
            for row in changed:
                self._put_station(connection, row)

        if batch or changed:
            self._work(write)
            self._saved.update((row["topic"], row) for row in changed)
            self.stored += stored
            self.rejected += rejected

    def close(self) -> None:
        self._engine.dispose()

    def _write_batch(self, connection: Connection, batch: list[Received], at: datetime) -> tuple[int, int]:
        tried = connection.begin_nested()
        try:
            written = self._write(connection, batch, at)
            tried.commit()
            return written
        except Exception as error:
            if not _is_data_fault(error) or not batch:
                raise  # the whole transaction goes; SQLite may have ended it already
            tried.rollback()
            if len(batch) == 1:
                self._put(connection, self._tables.rejected, [rejected_row(batch[0], _first_line(error), at)])
                log.warning(
                    "a message on %s goes to jetspect_rejected: %s", plain(batch[0].topic), plain(_first_line(error))
                )
                return 0, 1
        # One of them is refused; halves find it in few steps.
        half = len(batch) // 2
        first, second = (self._write_batch(connection, part, at) for part in (batch[:half], batch[half:]))
        return first[0] + second[0], first[1] + second[1]

    def _write(self, connection: Connection, batch: list[Received], at: datetime) -> tuple[int, int]:
        results: list[Row] = []
        defects: list[Row] = []
        evidence: list[Row] = []
        rejected: list[Row] = []
        for received in batch:
            message = received.message
            if message is None:
                rejected.append(rejected_row(received, received.fault, at))
            elif not received.repeated:
                results.append(result_row(received, message, at))
                defects += defect_rows(message)
                evidence += evidence_rows(message)
        stored = self._put(connection, self._tables.results, results)
        self._put(connection, self._tables.defects, defects)
        self._put(connection, self._tables.evidence, evidence)
        return stored, self._put(connection, self._tables.rejected, rejected)

    def _put(self, connection: Connection, table: Table, rows: list[Row]) -> int:
        """Insert what is not there yet; return how much that is."""
        return connection.execute(self._insert(table).on_conflict_do_nothing(), rows).rowcount if rows else 0

    def _put_station(self, connection: Connection, row: Row) -> None:
        insert = self._insert(self._tables.stations).values(row)
        connection.execute(insert.on_conflict_do_update(index_elements=["topic"], set_=row))

    def _prepare(self, connection: Connection) -> None:
        import sqlalchemy as sa

        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ONE_AT_A_TIME)))
        schema = self._tables.schema
        if not sa.inspect(connection).has_table(schema.name):
            self._tables.metadata.create_all(connection)
            connection.execute(sa.insert(schema).values(version=VERSION))
        found = connection.execute(sa.select(sa.func.max(schema.c.version))).scalar()
        if found != VERSION:
            raise ArchiveError(
                f"{self.where} has the tables of version {found}, this jetspect writes version {VERSION}; "
                "install the jetspect that wrote it or name another database"
            )
        stations = self._tables.stations.name
        if "outbox_id" not in {column["name"] for column in sa.inspect(connection).get_columns(stations)}:
            # Made by a jetspect that did not have it yet; that one goes on writing without it.
            connection.execute(sa.text(f"ALTER TABLE {stations} ADD COLUMN outbox_id TEXT"))

    def _try_rights(self, connection: Connection) -> None:
        """Write nothing into every table: it is refused as something would be."""
        import sqlalchemy as sa

        stations = self._tables.stations
        for table in self._tables.metadata.sorted_tables:
            if table is not self._tables.schema:
                none = sa.select(table).where(sa.false())
                connection.execute(sa.insert(table).from_select([c.name for c in table.c], none))
        connection.execute(sa.update(stations).where(sa.false()).values(gone=0))

    def _work(self, work: Callable[[Connection], Any]) -> Any:
        """Do something in one transaction; every way in which that fails is an ArchiveError."""
        import sqlalchemy as sa

        try:
            with self._engine.begin() as connection:
                return work(connection)
        except sa.exc.SQLAlchemyError as error:
            raise ArchiveError(f"{self.where} cannot be used: {_first_line(error)}; {_hint(error)}") from error


def _engine(url: str) -> Engine:
    require_sqlalchemy()
    import sqlalchemy as sa

    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise InputError(
            "--database is no URL; write sqlite:///results.db or postgresql://user@host/database"
        ) from error
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "postgresql+psycopg"):
        raise InputError(f"an archive is in sqlite or postgresql, not in {parsed.drivername}; change --database")
    if parsed.drivername == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise InputError("a database in memory keeps nothing; write sqlite:///results.db")
        engine = sa.create_engine(parsed, connect_args={"timeout": _BUSY_S})
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
        return engine
    try:
        # A database behind a cut cable must be given up, so that a new connection can be made.
        limits = {"connect_timeout": 10, "keepalives_idle": 10, "tcp_user_timeout": 30_000}
        own = {name: value for name, value in limits.items() if name not in parsed.query}
        return sa.create_engine(parsed, pool_pre_ping=True, connect_args=own)
    except ImportError as error:
        raise MissingDependencyError("psycopg", "PostgreSQL", "pip install 'jetspect[archive]'") from error


def _shown(url: URL) -> str:
    """Return a URL without what may be secret in it: the values of its keys too."""
    plain = url.set(query=dict.fromkeys(url.query, "...")) if url.query else url
    return plain.render_as_string(hide_password=True)


def _prepare_sqlite(connection: Any, record: object) -> None:
    connection.isolation_level = None  # SQLAlchemy begins and ends transactions
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _inserter(engine: Engine) -> Callable[[Table], Any]:
    from sqlalchemy.dialects import postgresql, sqlite

    return sqlite.insert if engine.dialect.name == "sqlite" else postgresql.insert


def _is_data_fault(error: Exception) -> bool:
    """Whether it is the message that cannot be written, not the database that cannot write."""
    import sqlalchemy as sa

    if isinstance(error, (ValueError, OverflowError)):
        return True
    if not isinstance(error, sa.exc.DBAPIError) or error.connection_invalidated:
        return False
    # Classes of PostgreSQL: data, constraints, too large or too complex.
    state = str(getattr(error.orig, "sqlstate", None) or "")
    return isinstance(error, (sa.exc.DataError, sa.exc.IntegrityError)) or state[:2] in ("22", "23", "54")


def _first_line(error: Exception) -> str:
    text = str(getattr(error, "orig", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _hint(error: Exception) -> str:
    text = _first_line(error)  # without the statement and what was to be written
    if "permission denied" in text or "readonly" in text or "must be owner" in text:
        return "give its user the right to create and write these tables"
    if "locked" in text:
        return "another program holds it; end that"
    if re.search("disk.*full|No space", text):
        return "free space on its disk"
    return "check --database, that it runs and who may connect"
