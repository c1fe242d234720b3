from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from postgres import Postgres, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/results.db"
    server = request.getfixturevalue("postgres")
    name = "t" + tmp_path.name.replace("-", "_").lower()[:50]
    server.run(f'CREATE DATABASE "{name}"')
    return str(server.url(name))


@pytest.fixture
def query() -> Callable[[str, str], list[tuple[object, ...]]]:
    """Ask a database by its URL, past our own code."""

    def ask(url: str, sql: str) -> list[tuple[object, ...]]:
        engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool)
        with engine.begin() as connection:
            result = connection.execute(sa.text(sql))
            return [tuple(row) for row in result] if result.returns_rows else []

    return ask
