"""Who may use the catalog, what a protected branch demands, and what is said when nobody knows whether it landed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from bascule.catalog.schema import check_results
from bascule.errors import EnvironmentProblem
from bascule.history import History, Workspace
from bascule.lake import Lake
from bascule.project import admitting
from bascule.project.holding import check_staged
from bascule.protocols.iceberg import ENDPOINTS
from bascule.server import ServerSettings, create_token
from bascule.server.iceberg import check_endpoints
from bascule.server.routes import UndeclaredPermission
from bascule.web import create_app
from tests.protocols.iceberg.conftest import COLUMNS, Catalog

TABLE = "namespaces/ns/tables/t"
NOTHING: dict[str, Any] = {"requirements": [], "updates": [{"action": "set-properties", "updates": {"a": "b"}}]}
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: t
name: t
version: 1.0.0
status: active
schema:
  - name: ns.t
    physicalName: ns.t
    properties:
      - name: id
        logicalType: integer
        required: true
"""


def test_an_endpoint_without_a_permission_does_not_start() -> None:
    check_endpoints(ENDPOINTS)
    with pytest.raises(UndeclaredPermission, match="GET /v1/config declares the permission ''"):
        check_endpoints([replace(ENDPOINTS[0], permission="")])


@pytest.mark.slow
def test_tokens_and_roles(local_workspace: Workspace) -> None:
    tokens = {role: create_token(local_workspace.catalog, role, role)[1] for role in ("reader", "writer")}
    app = create_app(local_workspace, ServerSettings(require_tokens=True))
    http = TestClient(app, base_url="http://127.0.0.1:7400")

    def known(role: str) -> Catalog:
        return Catalog(http, headers={"authorization": f"Bearer {tokens[role]}"})

    code, kind, _ = Catalog(http).error("GET", "namespaces")
    assert (code, kind) == (401, "NotAuthorizedException")
    pyiceberg = Catalog(http, headers={"authorization": "Bearer None"})
    assert pyiceberg.error("GET", "namespaces")[0] == 401
    assert Catalog(http, headers={"authorization": "Bearer wrong"}).error("GET", "namespaces")[0] == 401
    known("writer").table()
    assert local_workspace.history.resolve("main").author == "writer"
    assert known("reader").get(TABLE)
    for method, path, body in (
        ("POST", TABLE, NOTHING),
        ("DELETE", TABLE, None),
        ("POST", "namespaces", {"namespace": ["x"]}),
        ("POST", "transactions/commit", {"table-changes": []}),
    ):
        code, kind, said = known("reader").error(method, path, body)
        assert (code, kind) == (403, "ForbiddenException")
        assert "It takes the role writer" in said


def test_no_token_is_asked_for_at_home(http: TestClient) -> None:
    assert Catalog(http, headers={"authorization": "Bearer None"}).get("namespaces")


def test_a_page_of_another_site_writes_nothing(catalog: Catalog) -> None:
    found = catalog.ask("POST", "namespaces", {"namespace": ["x"]}, headers={"origin": "https://evil.example"})
    assert found.status_code == 403


def rows(*numbers: int | None) -> pa.Table:
    return pa.table({"id": pa.array(numbers, pa.int64()), "name": [f"n{n}" for n in numbers]})


def test_a_protected_branch_checks_what_an_engine_writes(catalog: Catalog, local_workspace: Workspace) -> None:
    """The rows come by a branch that nobody protects; the engine then sets `main` to that very snapshot."""
    lake, history = Lake(local_workspace), local_workspace.history
    catalog.table()
    lake.append("ns.t", rows(1))
    history.commit(
        "main", {"contracts/ns.t": {"kind": "contract", "table": "ns.t", "text": CONTRACT}}, message="Promise"
    )
    history.create_branch("dev")
    lake.append("ns.t", rows(2, None), branch="dev")
    (bad,) = [s for s in lake.snapshots(history.get("dev", "tables/ns.t")) if s.get("parent-snapshot-id")]
    head = history.resolve("main")
    sent = {"requirements": [], "updates": added(bad)}
    code, kind, said = catalog.error("POST", TABLE, sent)
    assert (code, kind) == (400, "BadRequestException")
    assert "Nothing is written to 'main': 1 critical check failed" in said
    assert "id" in said
    assert history.resolve("main") == head
    with local_workspace.catalog.read() as conn:
        kept = conn.execute(select(check_results.c.status).where(check_results.c.commit_id == head.id)).scalars().all()
    assert "failed" in kept
    history.protect("main", False)
    catalog.post(TABLE, sent)
    assert history.get("main", "tables/ns.t")["rows"] == 3
    history.protect("main")
    # Taking the bad row out again passes.
    (good,) = [s for s in catalog.get(TABLE)["metadata"]["snapshots"] if not s.get("parent-snapshot-id")]
    back = {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": good["snapshot-id"]}
    catalog.commit(TABLE, back)
    assert history.get("main", "tables/ns.t")["rows"] == 1


REFERS = """\
apiVersion: v3.1.0
kind: DataContract
id: other
version: 1.0.0
status: active
schema:
  - name: ns.other
    properties:
      - name: id
        logicalType: integer
        quality:
          - {type: custom, engine: bascule, implementation: {check: relationship, table: ns.t, to: [id]}}
"""


@pytest.mark.parametrize(("table", "text"), [("ns.t", CONTRACT), ("ns.other", REFERS)])
def test_a_contract_that_comes_between_the_checks_and_the_landing_holds(
    catalog: Catalog, local_workspace: Workspace, monkeypatch: pytest.MonkeyPatch, table: str, text: str
) -> None:
    lake, history = Lake(local_workspace), local_workspace.history
    catalog.table()
    lake.append("ns.other", rows(2))
    history.create_branch("dev")
    lake.append("ns.t", rows(3, None), branch="dev")
    (bad,) = lake.snapshots(history.get("dev", "tables/ns.t"))
    made: list[int] = []

    def check(*args: Any) -> Any:
        found = check_staged(*args)
        made.append(1)
        if len(made) == 1:  # passed, and now somebody promises something
            value = {"kind": "contract", "table": table, "text": text}
            history.commit("main", {f"contracts/{table}": value}, message="Promise")
        return found

    monkeypatch.setattr(admitting, "check_staged", check)
    code, _, said = catalog.error("POST", TABLE, {"requirements": [], "updates": added(bad)})
    assert code == 400
    assert "Nothing is written to 'main': 1 critical check failed" in said
    assert len(made) == 1
    assert history.resolve("main").message == "Promise"


def added(snapshot: dict[str, Any]) -> list[dict[str, Any]]:
    ref = {"ref-name": "main", "type": "branch", "snapshot-id": snapshot["snapshot-id"]}
    return [{"action": "add-snapshot", "snapshot": snapshot}, {"action": "set-snapshot-ref", **ref}]


def test_a_key_is_held_on_a_protected_branch(catalog: Catalog, local_workspace: Workspace) -> None:
    lake, history = Lake(local_workspace), local_workspace.history
    catalog.table(properties={"bascule.key": "id"})
    history.create_branch("dev")
    lake.append("ns.t", rows(1, 1), branch="dev")
    (twice,) = lake.snapshots(history.get("dev", "tables/ns.t"))
    code, _, said = catalog.error("POST", TABLE, {"requirements": [], "updates": added(twice)})
    assert code == 400
    assert "1 critical check failed" in said


PROJECT = """
[project]
name = "p"

[merge]
checks = ["few.sql", "own:calm"]
"""
CALM = """
def calm(state):
    if state.read("tables/ns.t") is None:
        return None
    rows, before = (state.sql(f"SELECT count(*) AS n FROM {t}").to_pylist()[0]["n"] for t in ("ns.t", "ns.t@main"))
    return f"{rows - before} rows more" if rows - before > LIMIT else None
"""


@pytest.mark.slow
def test_what_the_project_requires_holds_for_engines_too(local_workspace: Workspace, tmp_path: Path) -> None:
    history, lake = local_workspace.history, Lake(local_workspace)
    (tmp_path / "bascule.toml").write_text('[project]\nname = "p"\n', encoding="utf-8")
    (tmp_path / "few.sql").write_text("SELECT * FROM ns.t WHERE id < 0\n", encoding="utf-8")
    (tmp_path / "own.py").write_text(f"LIMIT = 2\n{CALM}", encoding="utf-8")
    catalog = Catalog(TestClient(create_app(local_workspace, folder=tmp_path), base_url="http://127.0.0.1:7400"))
    catalog.table()
    for name, ids in (("negative", [-1]), ("many", [1, 2, 3]), ("good", [1])):
        history.create_branch(name)
        lake.append("ns.t", rows(*ids), branch=name)

    def send(name: str) -> Any:
        (fresh,) = lake.snapshots(history.get(name, "tables/ns.t"))
        return {"requirements": [], "updates": added(fresh)}

    # Read anew at each change: what is required is what the file says by now.
    (tmp_path / "bascule.toml").write_text(PROJECT, encoding="utf-8")
    head = history.resolve("main")
    code, kind, said = catalog.error("POST", TABLE, send("negative"))
    assert (code, kind) == (400, "BadRequestException")
    assert "Nothing is written to 'main': 1 required check failed" in said
    assert "few.sql: 1 row must not be" in said
    several = {"table-changes": [{"identifier": {"namespace": ["ns"], "name": "t"}, **send("many")}]}
    assert "own:calm: 3 rows more" in catalog.error("POST", "transactions/commit", several)[2]
    assert history.resolve("main") == head
    (tmp_path / "own.py").write_text("nonsense(", encoding="utf-8")
    code, _, said = catalog.error("POST", TABLE, send("good"))
    assert code == 400
    assert "'own' cannot be imported" in said
    assert history.resolve("main") == head
    # A branch that nobody protects is not held.
    history.create_branch("dev")
    assert replace(catalog, ref="dev").ask("POST", TABLE, send("negative")).status_code == 200
    (tmp_path / "own.py").write_text(f"LIMIT = 2\n{CALM}", encoding="utf-8")
    catalog.post(TABLE, send("good"))
    assert history.get("main", "tables/ns.t")["rows"] == 1


class Lost(EnvironmentProblem):
    """The database is gone."""


@pytest.mark.parametrize("after", [False, True], ids=["before it landed", "after it landed"])
def test_what_nobody_knows_is_never_a_4xx(
    catalog: Catalog, local_workspace: Workspace, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    catalog.table()
    commit = History.commit

    def broken(self: History, *args: Any, **told: Any) -> Any:
        if after:
            commit(self, *args, **told)
        raise Lost("The connection broke.")

    monkeypatch.setattr(History, "commit", broken)
    code, kind, said = catalog.error("POST", TABLE, NOTHING)
    assert (code, kind) == (500, "CommitStateUnknownException")
    assert "it may have landed" in said
    changes = {"table-changes": [{"identifier": {"namespace": ["ns"], "name": "t"}, **NOTHING}]}
    assert catalog.error("POST", "transactions/commit", changes)[0] in ((200, 500) if after else (500,))
    monkeypatch.undo()
    assert ("a" in catalog.get(TABLE)["metadata"]["properties"]) is after


def test_a_full_disk_is_told_and_leaves_nothing(
    catalog: Catalog, local_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bascule.lake import doctor
    from bascule.lake.iceberg import metadata

    catalog.table()
    head = local_workspace.history.resolve("main")

    def full(*_: object) -> None:
        raise EnvironmentProblem("Cannot write x: the disk is full. Nothing was changed.")

    monkeypatch.setattr(metadata, "write", full)
    code, kind, said = catalog.error("POST", TABLE, NOTHING)
    assert (code, kind) == (500, "InternalServerError")
    assert "the disk is full" in said
    new = {"name": "u", "schema": COLUMNS}
    assert catalog.error("POST", "namespaces/ns/tables", new)[0] == 500
    monkeypatch.undo()
    assert local_workspace.history.resolve("main") == head
    assert doctor.check(local_workspace).orphans == ()
