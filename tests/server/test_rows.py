"""Rows that are sent to a table, and files that a server fetches for it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from bascule.history import Workspace
from bascule.lake import Lake
from bascule.lake.engine import opened
from bascule.server import create_token
from tests.server.conftest import Serve

BASE = "/api/bascule/v1/tables/events"
ARROW = "application/vnd.apache.arrow.stream"


@pytest.fixture
def writer(local_workspace: Workspace, serve: Serve) -> TestClient:
    _, secret = create_token(local_workspace.catalog, "sensor", "writer")
    return serve(local_workspace, secret, require_tokens=True)


def held(ws: Workspace, query: str = "select * from t order by all") -> list[dict[str, Any]]:
    with opened() as connection:
        scan = Lake(ws).scan(ws.history.get("main", "tables/events"))
        found: list[dict[str, Any]] = connection.sql(f"with t as (from {scan}) {query}").to_arrow_table().to_pylist()
        return found


@pytest.mark.slow
def test_json_rows_come_in_once_under_their_key(writer: TestClient, local_workspace: Workspace) -> None:
    rows = [{"id": 1, "word": "a\nb"}, {"id": 2, "word": None}]
    first = writer.post(f"{BASE}/rows?key=id", json=rows, headers={"idempotency-key": "one"})
    assert first.status_code == 200, first.text
    assert first.json()["rows"] == 2
    assert held(local_workspace) == rows
    assert local_workspace.history.get("main", "tables/events")["key"] == ["id"]
    meta = local_workspace.history.resolve("main").meta
    assert meta["author"] == "sensor"
    assert meta["ingest"][0]["version"]["key"] == "one"

    again = writer.post(f"{BASE}/rows", json=rows, headers={"idempotency-key": "one"})
    assert (again.status_code, again.json()["commit"], again.json()["rows"]) == (200, None, 0)
    other = writer.post(f"{BASE}/rows", json=[{"id": 3, "word": "c"}], headers={"idempotency-key": "one"})
    assert other.status_code == 400
    assert "under the key 'one'" in other.json()["error"]
    assert len(held(local_workspace)) == 2
    # Without a key the content is the key.
    for count in (3, 3):
        writer.post(f"{BASE}/rows", json=[{"id": 3, "word": "c"}])
        assert len(held(local_workspace)) == count


@pytest.mark.slow
@pytest.mark.parametrize("file", [False, True])
def test_arrow_rows(writer: TestClient, local_workspace: Workspace, file: bool) -> None:
    table = pa.table({"id": [1, 2], "share": [0.5, None]})
    sink = pa.BufferOutputStream()
    with (pa.ipc.new_file if file else pa.ipc.new_stream)(sink, table.schema) as out:
        out.write_table(table)
    data = sink.getvalue().to_pybytes()
    kind = ARROW.replace("stream", "file") if file else ARROW
    assert writer.post(f"{BASE}/rows", content=data, headers={"content-type": kind}).json()["rows"] == 2
    assert held(local_workspace) == table.to_pylist()
    cut = writer.post(f"{BASE}/rows", content=data[:-12], headers={"content-type": kind})
    assert cut.status_code == 400
    assert "What was sent cannot be read as Arrow IPC" in cut.json()["error"]


def test_lines_and_what_cannot_be_read_of_them(writer: TestClient, local_workspace: Workspace) -> None:
    lines = b"".join(b'{"id": %d}\n' % n for n in range(20)) + b'{"id": \n'
    kind = {"content-type": "application/x-ndjson"}
    refused = writer.post(f"{BASE}/rows", content=lines, headers=kind)
    assert refused.status_code == 400
    assert "sent rows:21: this is not JSON" in refused.json()["error"]
    assert str(local_workspace.folder) not in refused.text
    taken = writer.post(f"{BASE}/rows?tolerate=0.1", content=lines, headers=kind).json()
    assert (taken["rows"], taken["rejected"]) == (20, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "No rows"),
        (b"[]", "No rows"),
        (b"{}", "no list of JSON objects"),
        (b"[1]", "Row 0 is no object"),
        (b'[{"a": 1}, [2]]', "Row 1 is no object"),
        (b'[{"a": NaN}]', "no list of JSON objects"),
        (b"\xff", "no list of JSON objects"),
        (b'[{"a": 1}', "no list of JSON objects"),
        (b"[" * 100_000, "no list of JSON objects"),
    ],
)
def test_bodies_that_are_no_rows(writer: TestClient, local_workspace: Workspace, body: bytes, words: str) -> None:
    answer = writer.post(f"{BASE}/rows", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert words in answer.json()["error"]
    assert local_workspace.history.read("main", "tables/events") is None


def test_who_may_and_how_much(writer: TestClient, local_workspace: Workspace, serve: Serve) -> None:
    _, secret = create_token(local_workspace.catalog, "looker", "reader")
    reader = serve(local_workspace, secret, require_tokens=True)
    assert reader.post(f"{BASE}/rows", json=[{"a": 1}]).status_code == 403
    assert reader.post(f"{BASE}/ingest", json={"source": "https://example.org/a.csv"}).status_code == 403
    assert serve(local_workspace, require_tokens=True).post(f"{BASE}/rows", json=[{"a": 1}]).status_code == 401
    large = {"content-length": str(65 << 20), "content-type": "application/json"}
    assert writer.post(f"{BASE}/rows", content=b"[]", headers=large).status_code == 413
    assert writer.post(f"{BASE}/rows", content=b"a,b", headers={"content-type": "text/csv"}).status_code == 415
    assert writer.post(f"{BASE}/rows?branch=mian", json=[{"a": 1}]).json()["hint"] == "Did you mean 'main'?"
    assert writer.post(f"{BASE}/rows", json=[{"a": 1}], headers={"idempotency-key": "x" * 300}).status_code == 400


def test_a_contract_refuses_sent_rows(writer: TestClient, local_workspace: Workspace) -> None:
    assert writer.post(f"{BASE}/rows?key=id", json=[{"id": 1}]).status_code == 200
    head = local_workspace.history.resolve("main").id
    again = writer.post(f"{BASE}/rows", json=[{"id": 1}, {"id": 2}], headers={"idempotency-key": "two"})
    assert again.status_code == 422, again.text
    assert again.json()["kind"] == "CheckFailed"
    assert local_workspace.history.resolve("main").id == head


@pytest.mark.parametrize(
    "source",
    ["http://127.0.0.1:7400/a.csv", "http://169.254.169.254/", "/etc/passwd", "file:///etc/passwd", "s3://b/k"],
)
def test_a_server_fetches_nothing_from_inside(writer: TestClient, source: str) -> None:
    answer = writer.post(f"{BASE}/ingest", json={"source": source})
    assert answer.status_code == 400
    assert "own network" in answer.json()["error"] or "only from http" in answer.json()["error"]
