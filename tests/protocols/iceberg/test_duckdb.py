"""DuckDB's own Iceberg extension, unmodified, over a socket.

The extension comes as wheels for one release of DuckDB, which is not the one that Bascule stands on: so it runs in an
environment of its own, made once and kept in pytest's cache.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bascule.history import Workspace
from bascule.lake import Lake, Session, doctor
from tests.environments import python_with

pytestmark = pytest.mark.slow

RELEASE = "1.5.5"
PACKAGES = ["duckdb", "duckdb-extension-iceberg", "duckdb-extension-avro", "duckdb-extension-httpfs"]


@pytest.fixture(scope="session")
def python(pytestconfig: pytest.Config) -> Path:
    """The Python of an environment with DuckDB and its Iceberg extension."""
    wanted = [f"{name}=={RELEASE}" for name in PACKAGES]
    return python_with(pytestconfig, f"duckdb-{RELEASE}", ("--only-binary", ":all:", *wanted))


class Client:
    """A DuckDB with catalogs attached."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def answer(self, sql: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(sql) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read() if self.process.stderr else ""
        found: dict[str, Any] = json.loads(line)
        return found

    def __call__(self, *statements: str) -> Any:
        """Run statements and return the rows of the last one."""
        for sql in statements:
            found = self.answer(sql)
            assert "error" not in found, f"{sql}: {found.get('error')}"
        return found["rows"]

    def error(self, sql: str) -> str:
        found: str = self.answer(sql)["error"]
        return found


@pytest.fixture
def opened(python: Path, address: str) -> Iterator[Callable[..., Client]]:
    """Opens a client with refs attached by name."""
    script = Path(__file__).with_name("duckdb_client.py")
    running = []

    def start(**refs: str) -> Client:
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        running.append(subprocess.Popen([python, script, address, json.dumps(refs)], **pipes))
        return Client(running[-1])

    yield start
    for process in running:
        process.communicate(timeout=60)


def own(workspace: Workspace, sql: str, ref: str = "main") -> list[tuple[Any, ...]]:
    """Return what Bascule itself reads."""
    with Session(workspace, ref) as session:
        return [tuple(row.values()) for row in session.arrow(sql).to_pylist()]


def test_rows_of_every_kind_of_statement(opened: Callable[..., Client], local_workspace: Workspace) -> None:
    sql = opened(ice="main")
    sql(
        "CREATE SCHEMA ice.d",
        "CREATE TABLE ice.d.t (id BIGINT, name VARCHAR, seen TIMESTAMP)",
        "INSERT INTO ice.d.t SELECT i, 'n' || i, TIMESTAMP '2024-01-01' FROM range(1000) r(i)",
        "UPDATE ice.d.t SET name = 'x' WHERE id < 3",
        "DELETE FROM ice.d.t WHERE id >= 990",
        "MERGE INTO ice.d.t USING (SELECT 5 AS id, 'merged' AS name UNION ALL SELECT 5000, 'new') s ON t.id = s.id "
        "WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name)",
    )
    query = "SELECT count(*), count(*) FILTER (name IN ('x', 'merged', 'new')), sum(id)::BIGINT FROM {}"
    assert [tuple(row) for row in sql(query.format("ice.d.t"))] == own(local_workspace, query.format("d.t"))
    assert own(local_workspace, query.format("d.t")) == [(991, 5, 494555)]
    # The rows that DuckDB's position deletes take out are counted, read and rewritten rightly by Bascule.
    assert local_workspace.history.get("main", "tables/d.t")["rows"] == 991
    Lake(local_workspace).delete("d.t", "id < 3")
    assert sql("SELECT count(*) FROM ice.d.t") == [[988]]
    assert doctor.check(local_workspace).problems == ()


def test_deletes_change_what_a_state_is(opened: Callable[..., Client], local_workspace: Workspace) -> None:
    sql, history = opened(ice="main"), local_workspace.history
    sql("CREATE SCHEMA ice.d", "CREATE TABLE ice.d.t AS SELECT i AS id FROM range(10) r(i)")
    before = history.get("main", "tables/d.t")
    sql("DELETE FROM ice.d.t WHERE id = 4")
    after = history.get("main", "tables/d.t")
    assert after["rows"] == 9
    assert after["digest"] != before["digest"]


def test_columns_partitions_and_names(opened: Callable[..., Client], local_workspace: Workspace) -> None:
    sql = opened(ice="main")
    sql(
        "CREATE SCHEMA ice.d",
        "CREATE TABLE ice.d.t AS SELECT 1 AS a, 'b' AS b",
        "ALTER TABLE ice.d.t ADD COLUMN z DOUBLE",
        "ALTER TABLE ice.d.t RENAME COLUMN b TO bb",
        "INSERT INTO ice.d.t VALUES (9, 'q', 1.5)",
        "ALTER TABLE ice.d.t SET PARTITIONED BY (bb)",
        "INSERT INTO ice.d.t VALUES (7, 'r', 2.5), (8, 's', 3.5)",
        "ALTER TABLE ice.d.t RENAME TO u",
    )
    found = own(local_workspace, "SELECT a, bb, z FROM d.u ORDER BY a")
    assert found == [(1, "b", None), (7, "r", 2.5), (8, "s", 3.5), (9, "q", 1.5)]
    assert [tuple(row) for row in sql("SELECT a, bb, z FROM ice.d.u ORDER BY a")] == found
    assert "cannot name a table" in sql.error('CREATE TABLE ice.d."bad name" (id INT)')
    assert "is not empty" in sql.error("DROP SCHEMA ice.d")
    sql("DROP TABLE ice.d.u", "DROP SCHEMA ice.d")
    assert local_workspace.history.digests("main", "tables/") == {}


def test_one_table_that_both_divide(opened: Callable[..., Client], local_workspace: Workspace) -> None:
    sql, lake = opened(ice="main"), Lake(local_workspace)
    sql(
        "CREATE SCHEMA ice.d",
        "CREATE TABLE ice.d.t (id BIGINT, region VARCHAR, seen TIMESTAMP)",
        "ALTER TABLE ice.d.t SET PARTITIONED BY (bucket(4, id), month(seen))",
        "INSERT INTO ice.d.t SELECT i, 'r' || i % 3, TIMESTAMP '2024-01-15' + to_days(i::INT) FROM range(100) r(i)",
    )
    seen = "TIMESTAMP '2024-01-15' + to_days(i::INT) AS seen"
    query = f"SELECT i AS id, 'r' || i % 3 AS region, {seen} FROM range({{}}) r(i)"
    with Session(local_workspace) as session:
        lake.append("d.t", session.sql(query.format("100, 200")))
        done = lake.upsert("d.t", session.sql(query.format("150, 250").replace("'r' ||", "'new' ||")), key=["id"])
    assert (done.added, done.replaced, done.unchanged) == (50, 50, 0)
    lake.delete("d.t", "id % 10 = 0")
    value = local_workspace.history.get("main", "tables/d.t")
    months: dict[tuple[int, int], set[str]] = {}
    for file in lake.files(value):
        bucket, month = file.record["partition"].values()
        months.setdefault((bucket, month), set()).add(file.path.name)
    assert {bucket for bucket, _ in months} == {0, 1, 2, 3}
    for where in ("true", "id = 42", "id = 177", "seen >= TIMESTAMP '2024-06-01'", "id = 40", "region = 'new1'"):
        asked = f"SELECT count(*), sum(id)::BIGINT FROM {{}} WHERE {where}"
        assert [tuple(row) for row in sql(asked.format("ice.d.t"))] == own(local_workspace, asked.format("d.t")), where
    sql("DELETE FROM ice.d.t WHERE id = 42", "INSERT INTO ice.d.t VALUES (1000, 'r', TIMESTAMP '2024-02-01')")
    assert own(local_workspace, "SELECT count(*) FROM d.t") == [(225,)]
    assert doctor.check(local_workspace).problems == ()


def test_transactions_land_whole_or_not_at_all(opened: Callable[..., Client], local_workspace: Workspace) -> None:
    sql = opened(ice="main")
    sql("CREATE SCHEMA ice.d", "CREATE TABLE ice.d.a AS SELECT 1 AS id", "CREATE TABLE ice.d.b AS SELECT 1 AS id")
    before = len(local_workspace.history.log("main"))
    sql("BEGIN", "INSERT INTO ice.d.a VALUES (2)", "INSERT INTO ice.d.b VALUES (2)", "COMMIT")
    assert len(local_workspace.history.log("main")) == before + 1
    sql("BEGIN", "INSERT INTO ice.d.a VALUES (3)", "ROLLBACK")
    assert own(local_workspace, "SELECT count(*) FROM d.a") == [(2,)]
    # Another writer comes between: nothing of the transaction is there, and nothing of the other is lost.
    sql("BEGIN", "INSERT INTO ice.d.a VALUES (4)", "UPDATE ice.d.b SET id = id + 10")
    Lake(local_workspace).delete("d.b", "id = 1")
    assert "Requirement failed" in sql.error("COMMIT")
    assert own(local_workspace, "SELECT id FROM d.a ORDER BY id") == [(1,), (2,)]
    assert own(local_workspace, "SELECT id FROM d.b") == [(2,)]


def test_time_and_branches(opened: Callable[..., Client], local_workspace: Workspace) -> None:
    history = local_workspace.history
    main = opened(ice="main")
    main("CREATE SCHEMA ice.d", "CREATE TABLE ice.d.t AS SELECT i AS id FROM range(10) r(i)")
    first = history.resolve("main")
    history.create_branch("feat/x+y")
    sql = opened(ice="main", dev="feat/x+y", past=f"main@{first.id[:12]}")
    sql("DELETE FROM dev.d.t WHERE id < 5", "INSERT INTO ice.d.t VALUES (99)")
    counted = "SELECT (SELECT count(*) FROM ice.d.t), (SELECT count(*) FROM dev.d.t), (SELECT count(*) FROM past.d.t)"
    assert sql(counted) == [[11, 5, 10]]
    assert sql("SELECT id FROM ice.d.t EXCEPT ALL SELECT id FROM past.d.t") == [[99]]
    (oldest, *_) = sql("SELECT snapshot_id FROM iceberg_snapshots('ice.d.t') ORDER BY sequence_number")
    assert sql(f"SELECT count(*) FROM ice.d.t AT (VERSION => {oldest[0]})") == [[10]]
    assert "takes no writes" in sql.error("INSERT INTO past.d.t VALUES (1)")
    assert own(local_workspace, "SELECT count(*) FROM d.t", "feat/x+y") == [(5,)]


def test_version_3_and_deletion_vectors(opened: Callable[..., Client], local_workspace: Workspace) -> None:
    sql = opened(ice="main")
    sql(
        "CREATE SCHEMA ice.d",
        "CREATE TABLE ice.d.t (id BIGINT) WITH ('format-version' = '3')",
        "INSERT INTO ice.d.t SELECT * FROM range(100000)",
        "INSERT INTO ice.d.t SELECT * FROM range(100000, 200000)",
    )
    assert own(local_workspace, "SELECT count(*) FROM d.t") == [(200_000,)]
    assert sql("SELECT count(DISTINCT _row_id) FROM ice.d.t") == [[200_000]]
    sql("DELETE FROM ice.d.t WHERE id % 7 = 3", "DELETE FROM ice.d.t WHERE id BETWEEN 90000 AND 120000")
    query = "SELECT count(*), sum(id)::BIGINT FROM {}"
    assert own(local_workspace, query.format("d.t")) == [tuple(row) for row in sql(query.format("ice.d.t"))]
    ((left, _),) = own(local_workspace, query.format("d.t"))
    assert local_workspace.history.get("main", "tables/d.t")["rows"] == left < 160_000
