"""An instance of DuckDB serves one block of work after another, and none sees what another did."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from tests.lake.samples import people, state

import bascule
from bascule.history import Workspace
from bascule.lake import Lake, engine, instances
from bascule.store import places

# What a setting that is not looked at may be: of one connection, of DuckDB's Python, or the same for all.
OF_ONE = {
    "asof_loop_join_threshold",
    "enable_progress_bar",
    "python_enable_replacements",
    "streaming_buffer_size",
    "TimeZone",
}
CONFINED = {"allowed_directories"}  # it goes with `enable_external_access`, and cannot be taken back

IN_A_FORK = """
import os, sys
from bascule.lake import engine
with engine.opened() as connection:
    connection.execute("SELECT 1")
if not os.fork():
    with engine.opened() as connection:
        connection.execute("CREATE TEMP TABLE t AS SELECT range a FROM range(1000000) ORDER BY hash(a)")
    sys.exit(0)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[duckdb.DuckDBPyConnection]]:
    """The instances that were begun, none of them before this test."""
    monkeypatch.setattr(places, "_expected", False)
    instances.close_idle()
    made: list[duckdb.DuckDBPyConnection] = []
    begin = instances.begin
    monkeypatch.setattr(instances, "begin", lambda: made.append(begin()) or made[-1])
    yield made
    instances.close_idle()


def test_one_block_after_another_has_one_instance(begun: list[duckdb.DuckDBPyConnection], tmp_path: Path) -> None:
    for temporary in (None, tmp_path / "one", tmp_path / "two", None):
        with engine.opened(temporary) as connection:
            found = connection.sql("SELECT current_setting('temp_directory'), current_setting('TimeZone')").fetchall()
            assert found == [(str(temporary or ".tmp"), "UTC")]
    assert len(begun) == 1


def test_a_block_within_a_block_has_an_instance_of_its_own(begun: list[duckdb.DuckDBPyConnection]) -> None:
    for _ in range(2):
        with engine.opened() as outer, engine.opened() as inner:
            outer.execute("CREATE TABLE mine AS SELECT 1 a")
            with pytest.raises(duckdb.CatalogException, match="mine"):
                inner.execute("FROM mine")
            outer.execute("DROP TABLE mine")
    assert len(begun) == 2


def test_nothing_of_a_block_is_there_for_the_next(begun: list[duckdb.DuckDBPyConnection]) -> None:
    with engine.opened() as connection:
        connection.execute("CREATE TEMP TABLE made AS SELECT 1 a")
        connection.execute("CREATE TEMP VIEW seen AS SELECT 1 a")
        connection.execute("CREATE TEMP MACRO added(a) AS a + 1")
        connection.register("given", pa.table({"a": [1]}))
        connection.execute("SET TimeZone = 'Asia/Tokyo'; SET streaming_buffer_size = '1MB'; BEGIN")
    with engine.opened() as connection:
        for name in ("made", "seen", "given"):
            with pytest.raises(duckdb.CatalogException, match=name):
                connection.execute(f"FROM {name}")
        with pytest.raises(duckdb.CatalogException, match="added"):
            connection.execute("SELECT added(1)")
        found = connection.sql(
            "SELECT current_setting('TimeZone'), current_setting('streaming_buffer_size')"
        ).fetchall()
        assert found == [("UTC", "10.0 MiB")]
    assert len(begun) == 1


@pytest.mark.parametrize(
    "left",
    [
        "SET memory_limit = '1GB'",
        "SET threads = 1",
        "SET preserve_insertion_order = false",
        "SET enable_external_access = false",
        "SET lock_configuration = true",
        "CREATE TABLE made AS SELECT 1 a",
        "SET default_null_order = 'nulls_first'",
        "ATTACH ':memory:' AS other",
        "CREATE SEQUENCE counted",
        "CREATE TYPE mood AS ENUM ('good')",
        "CREATE SCHEMA other; CREATE VIEW other.seen AS SELECT 1 a",
    ],
)
def test_an_instance_that_a_block_changed_serves_no_other(begun: list[duckdb.DuckDBPyConnection], left: str) -> None:
    with engine.opened() as connection:
        connection.execute(left)
    with engine.opened():
        assert len(begun) == 2
    with pytest.raises(duckdb.ConnectionException, match="closed"):
        begun[0].execute("SELECT 1")


def test_an_instance_whose_block_failed_serves_no_other(begun: list[duckdb.DuckDBPyConnection]) -> None:
    with pytest.raises(ZeroDivisionError), engine.opened():
        raise ZeroDivisionError
    with engine.opened():
        assert len(begun) == 2


def test_what_was_given_a_function_serves_no_other(begun: list[duckdb.DuckDBPyConnection]) -> None:
    with engine.opened() as connection:
        instances.keep_apart(connection)
    with engine.opened():
        assert len(begun) == 2


def test_what_spilled_leaves_no_file_behind(begun: list[duckdb.DuckDBPyConnection], tmp_path: Path) -> None:
    spilled = tmp_path / "spilled"
    with engine.opened(spilled) as connection:
        connection.execute("SET memory_limit = '60MB'")
        connection.execute("CREATE TEMP TABLE t AS SELECT range a, hash(range) b FROM range(8000000)")
        assert list(spilled.iterdir())
        connection.execute("RESET memory_limit")
    assert not spilled.exists() or not list(spilled.iterdir())
    with engine.opened():
        assert len(begun) == 2


def test_what_read_object_storage_serves_no_other(
    begun: list[duckdb.DuckDBPyConnection], s3: str, tmp_path: Path
) -> None:
    with engine.opened():  # begun, maybe, before this process knew of any
        pass
    with closing(Workspace.create(tmp_path / "w", storage=s3)) as workspace:
        lake = Lake(workspace)
        lake.append("people", people("ann", "bob"))
        rows = lake.scan(state(lake, "people"))
        instances.close_idle()
        begun.clear()
        for number in (1, 2):
            with engine.opened() as connection:
                assert connection.sql(f"SELECT count(*) FROM {rows} WHERE name > 'a'").fetchall() == [(2,)]
            assert len(begun) == number


def test_a_kept_instance_finds_the_way_to_object_storage(begun: list[duckdb.DuckDBPyConnection]) -> None:
    with engine.opened() as connection:
        connection.execute("SELECT 1")
    places.expect_objects()
    with engine.opened() as connection, pytest.raises(Exception, match="Not below"):
        connection.execute("FROM read_parquet('s3://elsewhere/x.parquet')")
    assert len(begun) == 1


def test_a_ctrl_c_reaches_what_runs_in_a_kept_instance(begun: list[duckdb.DuckDBPyConnection]) -> None:
    for _ in range(2):
        with engine.opened(), engine.opened():
            pass
        with engine.opened() as connection, engine.bounded(connection, 0.05), pytest.raises(duckdb.InterruptException):
            connection.execute("SELECT sum(hash(a.range + b.range)) FROM range(10000000) a, range(10000000) b")
    assert len(begun) == 2


def test_a_fork_works_with_instances_of_its_own() -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(bascule.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", IN_A_FORK], env=env, timeout=60, check=False).returncode == 0


def test_every_setting_that_bascule_changes_is_looked_at() -> None:
    """A new one would stay in an instance, and nobody would know why the next block is slower or told of no memory."""
    written = "".join(path.read_text() for path in Path(bascule.__file__).parent.glob("**/*.py"))
    assert "connection.execute(" in written
    changed = set(re.findall(r"\bconnection\.execute\(f?[\"']SET (\w+) = ", written))
    assert len(changed) > 5
    assert changed <= {*instances.SETTINGS, *OF_ONE, *CONFINED}
