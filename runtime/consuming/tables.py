"""The tables of an archive, in SQLite and PostgreSQL alike."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jetspect.errors import MissingDependencyError

if TYPE_CHECKING:
    from sqlalchemy import MetaData, Table

VERSION = 1
"""Counts up when a table changes in a way that an older jetspect could not write to."""


@dataclass(frozen=True)
class Tables:
    metadata: MetaData
    schema: Table
    results: Table
    defects: Table
    evidence: Table
    stations: Table
    rejected: Table


def require_sqlalchemy() -> None:
    try:
        import sqlalchemy  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("sqlalchemy", "an archive", "pip install 'jetspect[archive]'") from error


@functools.cache
def tables() -> Tables:
    """Describe every table. Integers have 64 bits: what a station sends decides how large they get."""
    require_sqlalchemy()
    import sqlalchemy as sa
    from sqlalchemy.dialects import postgresql

    metadata = sa.MetaData()
    utc = sa.DateTime(timezone=True)
    # SQLite: a time that was handed over in UTC is written as it is. PostgreSQL: timestamptz.
    json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

    def table(name: str, *columns: sa.Column[object] | sa.Index) -> Table:
        return sa.Table(f"jetspect_{name}", metadata, *columns)

    def event() -> sa.Column[object]:
        parent = sa.ForeignKey("jetspect_results.event_id", ondelete="CASCADE")
        return sa.Column("event_id", sa.Text, parent, primary_key=True)

    def number() -> sa.Column[object]:
        return sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False)

    def some(kind: Any, *names: str, null: bool = False) -> list[sa.Column[object]]:
        return [sa.Column(name, kind, nullable=null) for name in names]

    results = table(
        "results",
        sa.Column("event_id", sa.Text, primary_key=True),
        *some(sa.Text, "topic", "namespace", "site", "area", "line", "unit"),
        *some(sa.BigInteger, "seq"),
        *some(sa.Text, "frame_id"),
        *some(sa.Text, "part_id", null=True),
        *some(utc, "captured_at", "inspected_at", "archived_at"),
        *some(sa.Text, "verdict"),
        *some(json, "reasons"),
        *some(sa.BigInteger, "defect_count", "defects_truncated"),
        *some(sa.Double, "decision", "total_ms", null=True),
        *some(sa.BigInteger, "width_px", "height_px", null=True),
        *some(sa.Text, "model_name", "model_version", "manifest_sha256", "precision", "engine"),
        *some(json, "message"),
        sa.Index("jetspect_results_inspected_at", "inspected_at"),
        sa.Index("jetspect_results_topic_seq", "topic", "seq"),
        sa.Index("jetspect_results_part_id", "part_id"),
    )
    defects = table(
        "defects",
        event(),
        number(),
        *some(sa.Text, "class_name"),
        *some(sa.BigInteger, "area_px"),
        *some(sa.Double, "area_mm2", null=True),
        *some(sa.BigInteger, "x_min", "y_min", "x_max", "y_max"),
        *some(sa.Double, "centroid_x", "centroid_y", "peak", "mean"),
        *some(sa.Boolean, "touches_border"),
        sa.Index("jetspect_defects_class_name", "class_name"),
    )
    evidence = table(
        "evidence",
        event(),
        number(),
        *some(sa.Text, "kind", "uri", "sha256", "media_type"),
        *some(sa.BigInteger, "bytes"),
    )
    stations = table(
        "stations",
        sa.Column("topic", sa.Text, primary_key=True),
        *some(sa.BigInteger, "first_seq", "last_seq", "up_to_seq"),
        *some(json, "missing"),
        *some(sa.BigInteger, "gone"),
        *some(utc, "newest_at", null=True),
        *some(sa.Text, "outbox_id", null=True),
    )
    rejected = table(
        "rejected",
        sa.Column("sha256", sa.Text, primary_key=True),
        *some(sa.Text, "topic", "reason"),
        *some(sa.LargeBinary, "payload"),
        *some(utc, "archived_at"),
    )
    schema = table("schema", sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False))
    return Tables(metadata, schema, results, defects, evidence, stations, rejected)
