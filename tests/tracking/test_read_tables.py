"""What ambient capture sees of tables that a script reads and writes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import make_url, select
from tests.tracking.test_frameworks import python_with

from bascule.capture import module
from bascule.catalog.schema import run_io
from bascule.history import Workspace
from bascule.lake import Lake, Session
from bascule.store import digest_of
from bascule.tracking.ambient import meanings, track
from bascule.tracking.ambient.told import Told

PYTHON_PATH = os.pathsep.join(p for p in sys.path if p)


@pytest.fixture
def folder(tmp_path: Path, local_workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "project"
    (place / "d.csv").write_text("a,b\n" + "".join(f"{n},{n * n}\n" for n in range(50)))
    monkeypatch.chdir(place)
    return place


class Read:
    """The inputs and outputs of a script that was tracked, as records have them."""

    def __init__(self, workspace: Workspace, folder: Path, script: str, *modules: str) -> None:
        (folder / "script.py").write_text(script)
        self.done = track(workspace, folder, [python_with(*modules), "script.py"], "main")
        with workspace.catalog.read() as conn:
            found = conn.execute(select(run_io).where(run_io.c.run_id == self.done.run_id)).all()
        self.rows = {(row.direction, row.path): row for row in found}
        with Session(workspace) as session:
            asked = session.arrow("SELECT * FROM datasets WHERE run_id = ?", [self.done.run_id])
        self.datasets: list[dict[str, Any]] = asked.to_pylist()

    def dataset(self, api: str) -> dict[str, Any]:
        """Return the dataset that came through a function."""
        (found,) = [row for row in self.datasets if json.loads(row["source"])["api"] == api]
        return found


FRAMES = """
import sqlite3
import pandas, pyarrow.csv, pyarrow.dataset, pyarrow.feather, pyarrow.parquet, sqlalchemy

frame = pandas.read_csv("d.csv")
frame.to_parquet("p.parquet")
pyarrow.dataset.dataset("p.parquet")
table = pyarrow.csv.read_csv("d.csv")
pyarrow.parquet.write_table(table, "w.parquet")
pyarrow.feather.write_feather(table, "f.feather")
engine = sqlalchemy.create_engine("sqlite:///s.db")
frame.to_sql("t", engine, index=False)
pandas.read_sql("SELECT a FROM t WHERE a > 10", engine)
with engine.connect() as connection:
    connection.execute(sqlalchemy.text("SELECT count(*) FROM t")).all()
"""


@pytest.mark.slow
def test_frames_arrow_and_databases(local_workspace: Workspace, folder: Path) -> None:
    read = Read(local_workspace, folder, FRAMES, "pandas", "pyarrow", "sqlalchemy")
    assert read.done.exit_code == 0

    csv = read.rows["in", "d.csv"]
    assert (csv.version, csv.rows) == (digest_of((folder / "d.csv").read_bytes()), 50)
    assert ("in", "p.parquet") not in read.rows  # its own work read back is no input
    assert [read.rows["out", name].rows for name in ("p.parquet", "w.parquet", "f.feather")] == [50, 50, 50]

    asked = read.dataset("pandas.read_sql")
    source = json.loads(asked["source"])
    assert source["query"] == "SELECT a FROM t WHERE a > 10"
    assert source["uri"] == "sqlite:///s.db"
    assert json.loads(asked["profile"])["num_rows"] == 39
    assert json.loads(asked["schema"])["columns"] == [{"name": "a", "type": "int64"}]
    assert asked["context"] == "read"
    assert json.loads(read.dataset("sqlalchemy.execute")["source"])["query"] == "SELECT count(*) FROM t"
    assert read.dataset("pandas.to_sql")["context"] == "written"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("postgresql://me:geheim@host/x", "postgresql://me@host/x"),
        ("s3://bucket/a.csv?X-Amz-Signature=1", "s3://bucket/a.csv"),
        ("https://host/a.csv?page=2", "https://host/a.csv?page=2"),
        ("https://token123@host/a.csv", "https://host/a.csv"),
        ("sqlite:///s.db", "sqlite:///s.db"),
    ],
)
def test_addresses_are_told_without_secrets(address: str, told: str) -> None:
    assert module("bascule_frameworks.addresses").without_secrets(address) == told


def test_a_database_s_address_has_no_password() -> None:
    url = SimpleNamespace(url=make_url("postgresql+psycopg://me:geheim@host/x?options=a"))
    assert module("bascule_frameworks.pandas_tables").database_of(url) == "postgresql+psycopg://me@host/x?options=a"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("sqlite:////home/me/project/data/q.db", "sqlite:///data/q.db"),
        ("sqlite:////home/me/other/q.db", "sqlite:////home/me/other/q.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("postgresql://host/home/me/project", "postgresql://host/home/me/project"),
    ],
)
def test_a_database_in_the_project_is_named_from_there(source: str, told: str) -> None:
    run = Told("run_a", folder="/home/me/project")
    meanings.table(run, {"kind": "table", "mode": "r", "source": source, "source_type": "sql", "query": "select 1"})
    assert run.touched[0].path.partition("#")[0] == told


DUCKDB = """
import duckdb
duckdb.sql("SELECT count(*) FROM 'd.csv' -- not 'other.csv'").fetchall()
with duckdb.connect() as connection:
    connection.execute("CREATE TABLE t AS SELECT * FROM read_csv('d.csv')")
    connection.execute("COPY t TO 'copy.parquet' (FORMAT parquet)")
    connection.sql("SELECT a FROM t").write_csv("relation.csv")
"""


@pytest.mark.slow
def test_the_files_that_duckdb_names(local_workspace: Workspace, folder: Path) -> None:
    (folder / "other.csv").write_text("x\n1\n")
    read = Read(local_workspace, folder, DUCKDB, "duckdb")
    assert read.done.exit_code == 0
    assert set(read.rows) == {("in", "d.csv"), ("out", "copy.parquet"), ("out", "relation.csv")}
    assert json.loads(read.dataset("duckdb.sql")["source"])["query"].startswith("SELECT count(*)")
    assert json.loads(read.dataset("duckdb.write_csv")["schema"])["columns"] == [{"name": "a", "type": "BIGINT"}]


OWN = """
import http.server, threading
import pandas
from bascule.history import Workspace
from bascule.lake import Lake, Session

workspace = Workspace.open(".")
with Session(workspace) as session:
    session.sql("SELECT a FROM people").fetchall()
Lake(workspace).append("people", [{"a": 3}])

class Handler(http.server.SimpleHTTPRequestHandler):
    def end_headers(self):
        self.send_header("ETag", '"abc"')
        super().end_headers()

    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
pandas.read_csv(f"http://127.0.0.1:{server.server_port}/d.csv?token=geheim")
server.shutdown()
"""


@pytest.mark.slow
def test_bascules_own_tables_with_their_commit_and_addresses_without_secrets(
    local_workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Lake(local_workspace).append("people", [{"a": 1}, {"a": 2}])
    before = local_workspace.history.resolve("main")
    monkeypatch.setenv("PYTHONPATH", PYTHON_PATH)
    read = Read(local_workspace, folder, OWN, "pandas")
    assert read.done.exit_code == 0

    history = local_workspace.history
    people = read.rows["in", "tables/people"]
    assert (people.version, people.rows) == (history.digest(before, "tables/people"), 2)
    written = read.rows["out", "tables/people"]
    assert (written.version, written.rows) == (history.digest("main", "tables/people"), 3)
    asked = read.dataset("bascule.sql")
    assert json.loads(asked["source"])["uri"] == f"tables/people@{before.id}"
    assert json.loads(asked["schema"])["columns"] == [{"name": "a", "type": "long"}]

    (address,) = [path for _, path in read.rows if path.startswith("http:")]
    assert address.endswith("/d.csv")
    assert read.rows["in", address].version == '"abc"'
    assert not [path for _, path in read.rows if ".bascule" in path]
    assert "geheim" not in json.dumps(read.datasets)


POLARS = """
import polars
polars.read_csv("d.csv").write_parquet("w.parquet")
polars.scan_csv("d*.csv").filter(polars.col("a") > 3).sink_parquet("sink.parquet")
"""


@pytest.mark.slow
def test_polars(local_workspace: Workspace, folder: Path) -> None:
    read = Read(local_workspace, folder, POLARS, "polars")
    assert read.rows["in", "d.csv"].rows == 50
    assert {path for direction, path in read.rows if direction == "out"} == {"w.parquet", "sink.parquet"}
    schema = json.loads(read.dataset("polars.write_parquet")["schema"])
    assert schema["columns"][0] == {"name": "a", "type": "Int64"}
