"""Merges, picks, reverts, restores and forgetting over HTTP: the verbs, with their checks, by whoever asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from bascule.catalog import audit
from bascule.history import Workspace
from bascule.lake import Lake, Session
from bascule.server.tokens import create_token
from tests.server.conftest import Serve

BASE = "/api/bascule/v1"
CONTRACT = """apiVersion: v3.0.2
kind: DataContract
id: people
version: 1.0.0
status: active
schema:
  - name: people
    properties:
      - name: id
        logicalType: integer
        primaryKey: true
        required: true
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Any:
    made = Workspace.create(tmp_path / "shop")
    Lake(made).append("people", rows(1, 2), key=["id"])
    made.history.create_branch("more")
    yield made
    made.close()


@pytest.fixture
def ask(workspace: Workspace, serve: Serve) -> Any:
    """Posts as somebody with a role."""
    clients: dict[str, TestClient] = {}

    def post(path: str, role: str = "deployer", **body: Any) -> tuple[int, Any]:
        if role not in clients:
            _, token = create_token(workspace.catalog, f"{role}-anna", role)
            clients[role] = serve(workspace, token)
        answer = clients[role].post(f"{BASE}/{path}", json=body)
        return answer.status_code, answer.json() if answer.content else None

    return post


def rows(*ids: int) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64()), "name": [f"n{number}" for number in ids]})


def ids(workspace: Workspace, ref: str = "main") -> list[int]:
    with Session(workspace, ref) as session:
        return session.arrow("SELECT id FROM people ORDER BY id")["id"].to_pylist()


def test_a_branch_is_merged_and_undone_and_brought_back(workspace: Workspace, ask: Any) -> None:
    Lake(workspace).append("people", rows(3), branch="more")
    status, done = ask("merges", source="more", message="Three")
    assert (status, ids(workspace)) == (200, [1, 2, 3])
    assert [change["path"] for change in done["changes"]] == ["tables/people"]
    head = workspace.history.resolve("main")
    assert (head.id, head.author, head.message) == (done["commit"]["id"], "deployer-anna", "Three")
    status, undone = ask("reverts", ref="main")
    assert (status, undone["author"], ids(workspace)) == (200, "deployer-anna", [1, 2])
    status, _ = ask("restores", paths=["tables/people"], source="more")
    assert (status, ids(workspace)) == (200, [1, 2, 3])
    assert {entry["actor"] for entry in audit.last(workspace.catalog, 3)} == {"deployer-anna"}
    assert ask("branches/more/delete", role="writer") == (200, None)
    assert "more" not in {ref.name for ref in workspace.history.branches()}


def test_one_commit_is_picked(workspace: Workspace, ask: Any) -> None:
    wanted = Lake(workspace).append("people", rows(7), branch="more")
    Lake(workspace).append("people", rows(8), branch="more")
    assert wanted is not None
    ref = workspace.history.log("more")[1].short
    status, done = ask("cherry-picks", ref=ref, on="main")
    assert (status, ids(workspace)) == (200, [1, 2, 7]), done


def test_a_refused_merge_says_why_and_changes_nothing(workspace: Workspace, ask: Any) -> None:
    (workspace.folder.parent / "contracts").mkdir(exist_ok=True)
    workspace.history.commit("more", {"contracts/people": {"kind": "contract", "text": CONTRACT}}, message="Hold it")
    Lake(workspace).append("people", rows(2), branch="more")
    status, said = ask("merges", source="more")
    assert (status, said["kind"]) == (422, "CheckFailed"), said
    assert "tables/people" in said["error"] or "people" in said["error"]
    assert ids(workspace) == [1, 2]


@pytest.mark.slow
def test_a_conflict_names_its_paths(workspace: Workspace, ask: Any) -> None:
    Lake(workspace).overwrite("people", rows(5), branch="more")
    Lake(workspace).overwrite("people", rows(6))
    status, said = ask("merges", source="more")
    assert (status, said["kind"]) == (409, "Conflict")
    assert "tables/people" in said["error"]
    assert ask("merges", source="more", theirs=["tables/people"])[0] == 200
    assert ids(workspace) == [5]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("merges", {"source": "more"}),
        ("cherry-picks", {"ref": "more"}),
        ("reverts", {"ref": "main"}),
        ("restores", {"paths": ["tables/people"], "source": "more"}),
    ],
)
def test_what_lands_on_a_protected_branch_takes_the_role_that_deploys(
    workspace: Workspace, ask: Any, path: str, body: dict[str, Any]
) -> None:
    Lake(workspace).append("people", rows(3), branch="more")
    before = workspace.history.resolve("main").id
    assert ask(path, role="reader", **body)[0] == 403
    status, said = ask(path, role="writer", **body)
    assert (status, said["hint"]) == (403, "It takes the role deployer or admin.")
    assert workspace.history.resolve("main").id == before
    where = "into" if path == "merges" else "on"
    workspace.history.create_branch("mine")
    assert ask(path, role="writer", **body, **{where: "mine"})[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "part"),
    [
        ("merges", {"source": "moer"}, 404, "Did you mean 'more'?"),
        ("merges", {"source": "more", "into": "mian"}, 404, "Did you mean 'main'?"),
        ("merges", {"source": "more", "squish": True}, 400, "squash"),
        ("reverts", {"ref": "main", "force": " "}, 400, "Say why"),
        ("restores", {"paths": [], "source": "main"}, 400, "paths"),
        ("restores", {"paths": ["tables/peple"], "source": "more"}, 404, "tables/people"),
        ("branches/main/delete", {}, 400, "protected"),
    ],
)
def test_bad_requests_say_what_to_do(ask: Any, path: str, body: dict[str, Any], status: int, part: str) -> None:
    found, said = ask(path, **body)
    assert found == status
    assert part in f"{said['error']} {said['hint']}"


@pytest.mark.slow
def test_a_subject_is_forgotten_by_an_admin_only(workspace: Workspace, ask: Any) -> None:
    body: dict[str, Any] = {"subject": {"id": "2"}}
    assert ask("tables/people/forget", **body)[0] == 403
    status, planned = ask("tables/people/forget", role="admin", dry_run=True, **body)
    assert (status, planned["rows"], ids(workspace)) == (200, 1, [1, 2])
    status, _ = ask("tables/people/forget", role="admin", reason="asked to", **body)
    assert (status, ids(workspace), ids(workspace, "more")) == (200, [1], [1])
    told = audit.last(workspace.catalog, 5)
    assert {entry["actor"] for entry in told if entry["action"] == "forget"} == {"admin-anna"}
    assert ask("tables/people/forget", role="admin", subject={})[0] == 400


def test_a_branch_goes_back_to_a_release_by_who_may(workspace: Workspace, ask: Any) -> None:
    from bascule.delivery import deploy, planned
    from tests.delivery.conftest import registered

    registered(workspace)
    environment = {"main": {"name": "production", "approvals": 0, "role": "admin"}}
    made = planned(None, "delays", "delays", environments=environment)
    workspace.history.commit("main", {"deployments/delays": made}, message="Define delays")
    deploy(workspace, "main", "delays", "delays", 1)
    workspace.history.tag("v1")
    Lake(workspace).append("people", rows(3))
    deploy(workspace, "main", "delays", "delays", 2, strategy="all_at_once")
    before = workspace.history.resolve("main").id
    for path, body in (
        ("rollbacks", {"to": "v1"}),
        ("deployments/delays/rollback", {}),
        ("deployments/delays/traffic", {"weights": {"1": 100}}),
        ("deployments/delays/deploy", {"model": "delays", "version": 1}),
        ("deployments/another/deploy", {"model": "delays", "version": 1}),  # by another name it is production too
    ):
        for role in ("writer", "deployer"):
            status, told = ask(path, role=role, **body)
            assert status == 403, (path, role, told)
    assert "may not change production" in told["error"]
    assert workspace.history.resolve("main").id == before
    status, told = ask("rollbacks", role="admin", to="v2")
    assert (status, workspace.history.resolve("main").id) == (404, before)
    status, told = ask("rollbacks", role="admin", to="v1", reason="wrong fares", expect=before)
    assert (status, told["changed"]) == (200, True)
    assert set(told["paths"]) == {"deployments/delays", "models/delays", "tables/people"}
    assert ids(workspace) == [1, 2]
    deployment = workspace.history.get("main", "deployments/delays")
    assert (deployment["traffic"], deployment["revision"]) == ([{"version": 1, "weight": 100}], 3)
    entry = next(one for one in audit.last(workspace.catalog, 20) if one["action"] == "revert")
    assert (entry["actor"], entry["subject"]) == ("admin-anna", "deployments/delays")


def test_a_deployment_that_was_there_before_the_environment_is_held_to_it_too(workspace: Workspace, ask: Any) -> None:
    from bascule.delivery import deploy, planned
    from tests.delivery.conftest import registered

    registered(workspace)
    deploy(workspace, "main", "trial", "delays", 1)
    for approvals, role in ((0, "admin"), (1, "deployer")):
        environment = {"main": {"name": "production", "approvals": approvals, "role": role}}
        made = planned(None, "delays", "delays", environments=environment)
        workspace.history.commit("main", {"deployments/delays": made}, message="Define delays")
        before = workspace.history.resolve("main").id
        for path, body in (
            ("deployments/trial/deploy", {"model": "delays", "version": 2}),
            ("deployments/trial/traffic", {"weights": {"2": 100}}),
        ):
            status, told = ask(path, role="deployer", **body)
            assert (status, "production" in told["error"]) == (403 if role == "admin" else 422, True), told
        assert workspace.history.resolve("main").id == before
    workspace.history.commit("main", {"deployments/delays": planned(None, "delays", "delays")}, message="Open it")
    assert ask("deployments/trial/deploy", role="deployer", model="delays", version=2)[0] == 200
