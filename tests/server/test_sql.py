"""SQL over HTTP: everything can be read, nothing written, and nobody waits for ever."""

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from bascule.errors import InputError, NotFound
from bascule.server.reads.asking import ask
from tests.server.conftest import Serve
from tests.server.filled import Filled

URL = "/api/bascule/v1/sql"


def post(client: TestClient, sql: str, **more: Any) -> Any:
    return client.post(URL, json={"sql": sql, **more})


def test_tables_and_records_in_one_query(client: TestClient) -> None:
    query = "SELECT (SELECT count(*) FROM flights) AS rows, (SELECT count(*) FROM runs) AS runs"
    assert post(client, query).json() == {
        "columns": ["rows", "runs"],
        "types": ["BIGINT", "BIGINT"],
        "rows": [[2400, 63]],
        "more": False,
    }


def test_other_states(client: TestClient) -> None:
    assert post(client, 'SELECT count(*) FROM "flights@batch/2013-06"').json()["rows"] == [[2400]]
    assert post(client, "SELECT count(*) FROM flights", ref="windier-features").json()["rows"] == [[2400]]
    assert post(client, "SELECT count(*) FROM flights", ref="nothing").status_code == 404


def test_parameters(client: TestClient) -> None:
    query = "SELECT count(*) FROM flights WHERE carrier = ?"
    assert post(client, query, params=["UA' OR 1=1 --"]).json()["rows"] == [[0]]
    assert post(client, "SELECT $a + 1", params={"a": 2}).json()["rows"] == [[3]]


def test_rows_are_bounded(filled: Filled, serve: Serve) -> None:
    found = post(serve(filled.ws, sql_rows=10), "SELECT * FROM range(1000)", limit=500).json()
    assert len(found["rows"]) == 10
    assert found["more"]


def test_all_types_are_json(client: TestClient) -> None:
    query = """SELECT TIMESTAMPTZ '2013-01-01 00:00+00' AS t, DATE '2013-01-01' AS d, 1.50::DECIMAL(5,2) AS n,
        'nan'::DOUBLE AS nan, [1, NULL] AS l, {'a': 1} AS s, INTERVAL 2 DAY AS i, 'x'::BLOB AS b, NULL AS z,
        uuid() AS u, 18446744073709551615::UBIGINT AS big"""
    row = json.loads(post(client, query).text)["rows"][0]
    assert row[0].startswith("2013-01-01T00:00:00")
    assert row[2:6] == ["1.50", None, [1, None], {"a": 1}]
    assert row[-1] == 2**64 - 1


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE flights",
        "CREATE TABLE x AS SELECT 1",
        "INSERT INTO flights SELECT * FROM flights",
        "DELETE FROM runs",
        "ATTACH '/tmp/x.db'",
        "COPY flights TO '/tmp/x.csv'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SELECT 1; DROP TABLE flights",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_text('/etc/passwd')",
        "PRAGMA database_list",
        "nonsense",
        "",
    ],
)
def test_nothing_can_be_written_and_no_file_read(client: TestClient, sql: str) -> None:
    answer = post(client, sql)
    assert answer.status_code in (400, 404), answer.text
    assert "Traceback" not in answer.text
    assert "root:" not in answer.text


@pytest.mark.parametrize("table", ["tokens", "settings", "nodes"])
def test_secrets_are_no_records(client: TestClient, table: str) -> None:
    assert post(client, f"SELECT * FROM {table}").status_code == 404
    assert post(client, f"SELECT * FROM records.{table}").status_code == 404


def test_a_query_without_an_end_is_ended(filled: Filled) -> None:
    query = "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range * b.range = 7"
    with pytest.raises(InputError, match=r"took more than 0\.2 s"):
        ask(filled.ws, query, seconds=0.2)


def test_unknown_tables_are_told(filled: Filled) -> None:
    with pytest.raises(NotFound) as caught:
        ask(filled.ws, "SELECT * FROM flihgts")
    assert "flights" in caught.value.hint
