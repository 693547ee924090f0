from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, literal, select, update

from bascule.catalog import Catalog, database, new_id, schema
from bascule.errors import EnvironmentProblem, InputError
from bascule.history import Workspace


# SQLite's driver cannot look at an index of an expression; `test_long_values_have_an_index` does.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*expression-based index.*")
def test_migrations_make_exactly_the_schema(workspace: Workspace) -> None:
    with workspace.catalog.read() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []


@pytest.mark.slow
def test_long_values_have_an_index(workspace: Workspace) -> None:
    indexes = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'index'",
        "postgresql": "SELECT indexname FROM pg_indexes",
    }
    with workspace.catalog.read() as conn:
        found = set(conn.exec_driver_sql(indexes[conn.dialect.name]).scalars())
    assert {"ix_run_params_value", "ix_run_tags_value"} <= found


@pytest.mark.slow
def test_a_block_that_raises_writes_nothing(workspace: Workspace) -> None:
    class OnPurposeError(Exception):
        pass

    def fail() -> None:
        with workspace.catalog.write() as conn:
            conn.execute(insert(schema.settings).values(key="k", value="v"))
            raise OnPurposeError

    with pytest.raises(OnPurposeError):
        fail()
    with workspace.catalog.read() as conn:
        assert conn.execute(select(schema.settings)).all() == []


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'catalog.db'}"
    Catalog.open(url).close()
    with sqlite3.connect(tmp_path / "catalog.db") as db:
        db.execute("update alembic_version set version_num = '9999'")
    db.close()
    with pytest.raises(EnvironmentProblem, match="9999"):
        Catalog.open(url)


@pytest.mark.slow
def test_a_second_writer_waits_for_the_first(workspace: Workspace) -> None:
    with workspace.catalog.write() as conn:
        conn.execute(insert(schema.settings).values(key="k", value="1"))
    with workspace.catalog.write() as conn:
        conn.execute(update(schema.settings).values(value="2"))
    with workspace.catalog.read() as conn:
        assert conn.execute(select(schema.settings.c.value)).scalar_one() == "2"


@pytest.mark.parametrize("url", ["mysql://host/db", "nonsense", "oracle+x://a"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(InputError):
        Catalog.open(url)


def test_a_database_that_does_not_answer_is_told(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem) as error:
        Catalog.open("postgresql://nobody:secret@127.0.0.1:9/none")
    assert "secret" not in error.value.message


def test_ids_sort_by_time() -> None:
    ids = [new_id("run") for _ in range(1000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 1000


@pytest.mark.slow
def test_many_threads_read_while_they_write(workspace: Workspace) -> None:
    begun = Barrier(40)

    def write(number: int) -> int:
        begun.wait()
        with workspace.catalog.write(), workspace.catalog.read() as conn:
            return int(conn.execute(select(literal(number))).scalar_one())

    with ThreadPoolExecutor(40) as pool:
        assert sorted(pool.map(write, range(40))) == list(range(40))


def test_an_acknowledged_transaction_is_on_disk(tmp_path: Path) -> None:
    """The other tests do not wait for the disk, see tests/conftest.py."""
    engine = database._sqlite.__wrapped__(f"sqlite:///{tmp_path / 'catalog.db'}", None)  # type: ignore[attr-defined]
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
    engine.dispose()
