from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, literal, select, update

from bascule.catalog import Catalog, database, migrations, new_id, schema
from bascule.errors import EnvironmentProblem, InputError
from bascule.history import Workspace


# SQLite's driver cannot look at an index of an expression; `test_long_values_have_an_index` does.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*expression-based index.*")
def test_migrations_make_exactly_the_schema(workspace: Workspace) -> None:
    with workspace.catalog.read() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []


def _described(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Say all of a database's tables that queries could tell: columns in order, indexes, keys, kinds of sequences.

    PostgreSQL writes a number that is a default in another way where the column was widened: it is the same number.
    """
    catalog = Catalog(database.engine_of(url))
    asked = {
        "sqlite": {
            "columns": "SELECT t.name, c.* FROM sqlite_master t, pragma_table_info(t.name) c"
            " WHERE t.type = 'table' ORDER BY 1, 2",
            "indexes": 'SELECT t.name, i.name, i."unique", i.origin, x.* FROM sqlite_master t,'
            " pragma_index_list(t.name) i, pragma_index_xinfo(i.name) x WHERE t.type = 'table' ORDER BY 1, 2, 5",
            "expressions": "SELECT sql FROM sqlite_master WHERE type <> 'table' AND sql IS NOT NULL ORDER BY 1",
            "counted": "SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%' ORDER BY 1",
        },
        "postgresql": {
            "columns": "SELECT table_name, ordinal_position, column_name, data_type, character_maximum_length,"
            " is_nullable, regexp_replace(column_default, '^''(\\d+)''::bigint$', '\\1')"
            " FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2",
            "indexes": "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
            "keys": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2",
            "sequences": "SELECT sequence_name, data_type FROM information_schema.sequences ORDER BY 1",
        },
    }
    with catalog.read() as conn:
        found = {
            what: [tuple(row) for row in conn.exec_driver_sql(query)]
            for what, query in asked[conn.dialect.name].items()
        }
        rows = {
            table.name: [tuple(row) for row in conn.execute(select(table))] for table in schema.metadata.sorted_tables
        }
    catalog.close()
    return found | {f"rows of {name}": held for name, held in rows.items() if held}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_an_empty_database_gets_what_the_migrations_make(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "sqlite":
        stepwise, at_once = (f"sqlite:///{tmp_path / name}.db" for name in ("stepwise", "at_once"))
    else:
        stepwise, at_once = request.getfixturevalue("database"), request.getfixturevalue("another_database")
    engine = database.engine_of(stepwise)
    migrations._upgrade(engine, None)
    engine.dispose()
    Catalog.open(at_once).close()
    assert _described(at_once) == _described(stepwise)


def test_a_database_of_something_else_keeps_its_tables(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "catalog.db") as db:
        db.execute("create table theirs (a)")
    db.close()
    Catalog.open(f"sqlite:///{tmp_path / 'catalog.db'}").close()
    with sqlite3.connect(tmp_path / "catalog.db") as db:
        names = {name for (name,) in db.execute("select name from sqlite_master where type = 'table'")}
    db.close()
    assert {"theirs", "commits", "alembic_version"} <= names


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
