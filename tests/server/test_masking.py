"""Masks: whatever a reader asks, and by whichever way, no personal value leaves; who may see all, sees all."""

from __future__ import annotations

import hashlib
import hmac
import json
import stat
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import insert
from starlette.testclient import TestClient

from bascule.catalog.schema import check_results, jobs, runs
from bascule.contracts import Contract
from bascule.errors import NotFound, ProjectFileError
from bascule.history import Workspace
from bascule.lake import Lake, objects
from bascule.lake.iceberg import metadata
from bascule.lake.masking import key_of
from bascule.lake.records import RecordTable
from bascule.project.querying import query
from bascule.server import create_token
from tests.server.conftest import Serve

EMAILS = [f"anna{n}@secret.example" for n in range(6)]
CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: people
name: people
version: 1.0.0
status: active
schema:
  - name: people
    properties:
      - name: email
        logicalType: string
        classification: pii
      - name: card
        logicalType: string
        tags: [pii]
        customProperties: [{property: mask, value: partial(4)}]
      - name: born
        logicalType: date
        classification: pii
        customProperties: [{property: mask, value: month}, {property: maskFor, value: [reader, writer]}]
      - name: age
        customProperties: [{property: mask, value: bins(10)}]
      - name: zip
        classification: personal
        customProperties: [{property: mask, value: prefix(2)}]
      - name: note
        classification: pii
        customProperties: [{property: mask, value: "null"}]
      - name: town
        logicalType: string
"""
ROW = ("4111111111111111", date(1984, 5, 17), 47, "10115", "a cough", "Berlin")


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace.create(tmp_path / "ws")
    names = ["card", "born", "age", "zip", "note", "town"]
    columns = {"email": EMAILS, **{name: [value] * 6 for name, value in zip(names, ROW, strict=True)}}
    Lake(workspace).append("people", pa.table(columns))
    workspace.history.tag("before")  # when nobody had called anything personal
    contract = {"kind": "contract", "table": "people", "text": CONTRACT, "file": "contracts/people.yaml"}
    workspace.history.commit("main", {"contracts/people": contract}, message="A contract")
    lines = pa.table({"source": ["people"], "file": ["a"], "line": [1], "reason": ["bad"], "raw": [EMAILS[0]]})
    RecordTable(workspace, "quarantine", lines.schema).append(lines)
    yield workspace
    workspace.close()


def rows(ws: Workspace, sql: str, role: str | None = "reader", ref: str = "main") -> list[dict[str, Any]]:
    return query(ws, sql, ref=ref, role=role)


def test_each_kind_of_mask(ws: Workspace) -> None:
    (row,) = rows(ws, 'select * from people order by people."town" limit 1')
    expected = {hmac.new(key_of(ws), email.encode(), hashlib.sha256).hexdigest()[:32] for email in EMAILS}
    assert row.pop("email") in expected
    assert row == {
        "card": "************1111",
        "born": date(1984, 5, 1),
        "age": 40.0,
        "zip": "10*",
        "note": None,
        "town": "Berlin",
    }
    assert {one["email"] for one in rows(ws, "select email from people")} == expected


QUERIES = (
    "select email from people",
    "select p.email as x from people as p",
    "with people as (select * from people) select * from people",
    "with x as (select email as e from people) select e from x",
    "select * from people@before",
    "select * from people@main~1",
    "select a.email from people a join people@before b on a.town = b.town",
    "select email from people union all select note from people",
    "select lower(email), min(email), string_agg(email, ',') from people group by email",
    "select people from people",
    "select unnest([email, card]) from people",
    "select * from people pivot (max(email) for town in ('Berlin'))",
    "summarize people",
    "select (select max(email) from people) as inner_one",
    "select columns('.*ma.*') from people",
    "select to_json(people) from people",
    "select * from copied",
    "select mail from renamed_column",
    "select * from quarantine",
)


@pytest.mark.slow
@pytest.mark.parametrize("sql", QUERIES)
def test_no_query_reaches_a_value(ws: Workspace, sql: str) -> None:
    """Also a table that has another name, and a column that has one, on a branch of somebody's own."""
    value = ws.history.read("main", "tables/people")
    ws.history.commit("main", {"tables/copied": value}, message="Another name")
    ref = "main"
    if "renamed" in sql:
        renamed(ws)
    said = str(rows(ws, sql, ref=ref))
    assert "secret.example" not in said
    assert "a cough" not in said
    assert "4111111111111111" not in said


def renamed(ws: Workspace) -> None:
    table = objects.load(ws.history.read("main", "tables/people") or {}, ws.lake_folder, "people")
    document = dict(table.metadata)
    schema = document["schemas"][-1]
    fields = [{**one, "name": "mail"} if one["name"] == "email" else one for one in schema["fields"]]
    document["schemas"] = [*document["schemas"][:-1], {**schema, "fields": fields}]
    place = table.path.with_name("00099-renamed.metadata.json")
    metadata.write(place, document)
    value = objects.describe(type(table)("people", table.folder, place, document), ws.lake_folder)
    ws.history.commit("main", {"tables/renamed_column": value}, message="A column has another name")


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_parquet('{lake}/**/*.parquet')",
        "select * from duckdb_views()",
        "select * from information_schema.views",
        'select * from "unmoved predictions", (with "unmoved predictions" as (select 1) select 1)',
    ],
)
def test_ways_around_are_refused(ws: Workspace, sql: str) -> None:
    with pytest.raises(Exception, match=r"(?i)cannot|no table|not|unknown"):
        rows(ws, sql.format(lake=ws.lake_folder))


def test_comparing_with_a_value_tells_nothing(ws: Workspace) -> None:
    assert rows(ws, f"select count(*) as n from people where email = '{EMAILS[0]}'") == [{"n": 0}]
    (shown,) = {one["email"] for one in rows(ws, "select email from people limit 1")}
    assert rows(ws, f"select count(*) as n from people where email = '{shown}'") == [{"n": 1}]


@pytest.mark.slow
def test_conditions_are_on_what_is_shown_also_of_a_table_of_many_files(ws: Workspace) -> None:
    """What a file's bounds say of the values must not decide which rows a masked condition finds."""
    names = ("card", "born", "age", "zip", "note", "town")
    for n in range(12):
        row = {**dict(zip(names, ROW, strict=True)), "age": 41 + n, "zip": f"1{n:04d}"}
        Lake(ws).append("people", pa.table({name: [value] for name, value in {"email": f"{n}@x", **row}.items()}))
    assert rows(ws, "select count(*) as n from people where age = 40") == [{"n": 6 + 9}]
    assert rows(ws, "select count(*) as n from people where zip = '10*'") == [{"n": 6 + 12}]
    assert rows(ws, "select count(*) as n from people where age = 41") == [{"n": 0}]


def test_roles(ws: Workspace) -> None:
    for role in (None, "admin", "deployer"):
        assert rows(ws, "select * from people limit 1", role)[0]["note"] == "a cough"
    writer = rows(ws, "select * from people limit 1", "writer")[0]
    assert (writer["note"], writer["born"]) == ("a cough", date(1984, 5, 1))
    with pytest.raises(NotFound, match="role named 'raeder'"):
        rows(ws, "select 1", "raeder")


def test_the_key_is_the_owners_or_the_environments(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    key = key_of(ws)
    file = ws.folder / "secrets" / "mask.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key_of(ws) == key == file.read_bytes()
    before = rows(ws, "select email from people order by town, email limit 1")
    monkeypatch.setenv("BASCULE_MASK_KEY", "another")
    assert key_of(ws) == b"another"
    assert rows(ws, "select email from people order by town, email limit 1") != before


@pytest.mark.slow
def test_the_server_masks_for_tokens_that_may_only_read(ws: Workspace, serve: Serve) -> None:
    def client(role: str) -> TestClient:
        return serve(ws, create_token(ws.catalog, role, role)[1], require_tokens=True)

    row = {name: [value] for name, value in zip(("card", "born", "age", "zip", "note", "town"), ROW, strict=True)}
    Lake(ws).append("people", pa.table({"email": ["new@secret.example"], **row}))
    reader, deployer = client("reader"), client("deployer")

    def ask(who: TestClient) -> str:
        return who.post("/api/bascule/v1/sql", json={"sql": "select * from people"}).text

    assert "secret.example" in ask(deployer)
    assert "Berlin" in ask(reader)
    for path in (
        "/api/bascule/v1/tables/people/rows",
        "/data/people",
        "/data/people/rows?before=before&after=main",
        "/api/bascule/v1/tables/people/diff?before=before&after=main",
    ):
        assert "secret.example" in deployer.get(path).text, path
        assert "secret.example" not in reader.get(path).text, path
    sample = json.dumps([{"email": "old@secret.example", "town": "Bonn"}])  # from before anything was personal
    with ws.catalog.write() as conn:
        result = {"id": "c1", "subject": "tables/people", "check_name": "x", "severity": "critical", "status": "failed"}
        told = {"column_name": "email", "observed": "old@secret.example", "sample_json": sample, "at": 77}
        conn.execute(insert(check_results).values(**result, **told))
    assert "old@secret.example" in deployer.get("/data/people/checks/77").text
    assert "Bonn" in reader.get("/data/people/checks/77").text
    assert "old@secret.example" not in reader.get("/data/people/checks/77").text
    assert "secret.example" not in str(rows(ws, "select * from check_results"))
    for who, hidden in ((deployer, False), (reader, True), (deployer, False)):  # the page is kept, for each as it is
        said = who.get("/data/people/profile?ref=before")
        assert said.status_code == 200
        assert ("a cough" in said.text) is not hidden
        assert "Berlin" in said.text
    compared = [who.get("/api/bascule/v1/tables/people/diff?before=before&after=main") for who in (deployer, reader)]
    assert "Berlin" in compared[1].text
    assert compared[0].json()["added"] == compared[1].json()["added"] == 1
    assert [{one["column"] for one in each.json()["values"]} for each in compared] == [
        {"email", *row},
        {"town"},
    ]
    table = "/iceberg/v1/main/namespaces/default/tables/people"
    said = reader.get(table)
    assert said.status_code == 403
    assert said.json()["error"]["type"] == "ForbiddenException"
    assert "bascule sql" in said.json()["error"]["message"]
    assert deployer.get(table).status_code == 200
    older = reader.get("/iceberg/v1/before/namespaces/default/tables/people")
    assert older.status_code == 403


@pytest.mark.slow
def test_why_a_run_failed_quotes_no_value_to_a_reader(ws: Workspace, serve: Serve) -> None:
    """A line that could not be read is told to who brought it, and stands in the run's record."""
    told = f"people.csv:5: the header names 2 columns, this line has 3: 7,{EMAILS[0]},x"
    with ws.catalog.write() as conn:
        run = "run_1"
        one = {
            "id": run,
            "environment_json": "{}",
            "name": "ingest people",
            "kind": "ingest",
            "status": "failed",
            "user_name": "ann",
        }
        conn.execute(insert(runs).values(**one, branch="main", started_at=1, finished_at=2, error=told))
        job = {"id": "j1", "kind": "retrain", "branch": "main", "spec_json": "{}", "reason": "drift", "created_at": 1}
        conn.execute(insert(jobs).values(**job, status="failed", result_json=json.dumps({"error": told})))
    reader, deployer = (
        serve(ws, create_token(ws.catalog, role, role)[1], require_tokens=True) for role in ("reader", "deployer")
    )
    for path in (
        "/api/bascule/v1/runs",
        f"/api/bascule/v1/runs/{run}",
        "/runs",
        f"/runs/{run}",
        "/api/bascule/v1/jobs",
    ):
        assert "ingest people" in reader.get(path).text or path.endswith("jobs"), path
        assert EMAILS[0] not in reader.get(path).text, path
    for path in (f"/api/bascule/v1/runs/{run}", "/api/bascule/v1/jobs"):
        assert EMAILS[0] in deployer.get(path).text, path
    for table in ("runs", "jobs"):
        assert EMAILS[0] not in str(rows(ws, f"select * from {table}"))
        assert EMAILS[0] in str(rows(ws, f"select * from {table}", None))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("partial(4)", "shuffle", "There is no mask"),
        ("month}", "month(3)}", "has no amount"),
        ("bins(10)", "bins(0)", "more than 0"),
        ("[reader, writer]", "[raeder]", "There is no role"),
    ],
)
def test_what_is_no_mask_is_refused_at_its_line(old: str, new: str, words: str) -> None:
    with pytest.raises(ProjectFileError, match=words) as caught:
        Contract.parse(CONTRACT.replace(old, new), "people.yaml")
    assert caught.value.line is not None


def test_a_contract_that_cannot_be_read_shows_nothing(ws: Workspace) -> None:
    contract = {"kind": "contract", "table": "people", "text": CONTRACT.replace("month", "moon"), "file": "x.yaml"}
    ws.history.commit("main", {"contracts/people": contract}, message="A mistake")
    with pytest.raises(ProjectFileError, match="no mask"):
        rows(ws, "select town from people")
    assert rows(ws, "select count(*) as n from people", None) == [{"n": 6}]
