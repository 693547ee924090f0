"""Questions under a privacy budget over HTTP: near the truth, paid by the same ledger, refused when it is spent."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import select

from bascule.catalog.schema import audit as audit_table
from bascule.history import Workspace
from bascule.lake import Lake
from bascule.lake.privacy.budget import SPENT
from bascule.project.place import Place
from bascule.project.private import ask_privately, set_privacy_budget
from bascule.server import create_token
from tests.server.conftest import Serve

URL = "/api/bascule/v1"


@pytest.mark.slow
def test_the_same_ledger_pays(local_workspace: Workspace, serve: Serve) -> None:
    ws = local_workspace
    rows = {"town": ["a"] * 300 + ["b"] * 200, "age": list(range(500))}
    Lake(ws).append("people", pa.table(rows))
    place = Place(ws.folder.parent)
    client = serve(ws, create_token(ws.catalog, "asker", "reader")[1], require_tokens=True)

    def ask(table: str = "people", **asked: Any) -> Any:
        return client.post(f"{URL}/tables/{table}/private", json=asked)

    assert ask(aggregate="count", epsilon=1.0).status_code == 404  # no budget
    set_privacy_budget(place, "people", 100)
    found = ask(aggregate="count", epsilon=50.0, by="town", keys=["a", "b"]).json()
    assert "rows" in found, found
    assert [(row["town"], round(row["value"], -1)) for row in found["rows"]] == [("a", 300), ("b", 200)]
    assert (found["epsilon"], found["left"]) == (50.0, 50.0)
    assert ask_privately(place, "people", "count", epsilon=30).left == 20
    (budget,) = client.get(f"{URL}/privacy-budgets").json()
    told = {"table": "people", "epsilon": 100.0, "spent": 80.0, "left": 20.0, "unit": None, "rows_each": 1}
    assert budget == told
    refused = ask(aggregate="count", epsilon=21.0)
    assert (refused.status_code, refused.json()["kind"]) == (422, "BudgetSpent")

    bad = [
        (404, {"aggregate": "count", "epsilon": 1.0, "by": "twon", "keys": ["a"]}),
        (404, {"aggregate": "count", "epsilon": 1.0, "ref": "mian"}),
        (400, {"aggregate": "median", "epsilon": 1.0}),
        (400, {"aggregate": "sum", "epsilon": 1.0, "column": "age"}),
        (400, {"aggregate": "count", "epsilon": -1.0}),
        (400, {"aggregate": "count", "epsilon": 1.0, "where": "age in (select 1)"}),
    ]
    for status, asked in bad:
        answer = ask(**asked)
        assert (answer.status_code, set(answer.json()) >= {"error", "kind"}) == (status, True), (asked, answer.text)
    assert client.get(f"{URL}/privacy-budgets").json() == [told]  # nothing was spent

    # Many seconds' work, without the limit.
    Lake(ws).append("people", pa.table({"town": ["c"] * 400_000, "age": [1] * 400_000}))
    hurried = serve(ws, create_token(ws.catalog, "asker", "reader")[1], require_tokens=True, sql_seconds=0.3)
    slow = "levenshtein(repeat(town, 100 + age), repeat('d', 100)) > 7"
    late = hurried.post(f"{URL}/tables/people/private", json={"aggregate": "count", "epsilon": 5.0, "where": slow})
    assert (late.status_code, "is spent" in late.text) == (400, True), late.text
    assert client.get(f"{URL}/privacy-budgets").json()[0]["left"] == 15
    with ws.catalog.read() as conn:
        query = select(audit_table.c.actor).where(audit_table.c.action == SPENT).order_by(audit_table.c.at)
        actors = conn.execute(query).scalars().all()
    assert [actors[0], actors[2]] == ["asker", "asker"]
    assert actors[1] != "asker"
    assert ask(table="poeple", aggregate="count", epsilon=1.0).status_code == 404
    assert serve(ws, require_tokens=True).post(f"{URL}/tables/people/private", json={}).status_code == 401
