"""Versions of models are deleted and restored over HTTP: by whoever may land something on the branch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bascule.history import Workspace
from bascule.registry import list_versions
from bascule.server.tokens import create_token
from tests.project.test_deleting import add, serving
from tests.server.conftest import Serve

BASE = "/api/bascule/v1"
WHY = {"reason": "wrong rows"}


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with closing(Workspace.create(tmp_path / "shop")) as made:
        for data in (b"first", b"second", b"third"):
            add(made, data)
        made.history.create_branch("dev", "main")
        yield made


@pytest.fixture
def ask(workspace: Workspace, serve: Serve) -> Any:
    """Asks as somebody with a role."""

    def call(method: str, path: str, role: str, body: Any = None) -> tuple[int, Any]:
        _, token = create_token(workspace.catalog, f"{role}-anna", role)
        answer = serve(workspace, token).request(method, f"{BASE}/{path}", json=body)
        return answer.status_code, answer.json()

    return call


def test_a_version_is_deleted_and_restored_by_who_may_deploy(workspace: Workspace, ask: Any) -> None:
    path = "models/delays/versions/2"
    assert ask("POST", f"{path}/delete", "reader", WHY)[0] == 403
    assert ask("POST", f"{path}/delete", "writer", WHY)[0] == 403  # main is protected
    assert ask("POST", f"{path}/delete", "writer", {**WHY, "branch": "dev"})[0] == 200
    assert ask("POST", f"{path}/delete", "deployer", {"reason": ""})[0] == 400
    status, done = ask("POST", f"{path}/delete", "deployer", WHY)
    assert (status, done["versions"], done["branch"]) == (200, [2], "main")
    assert [one.version for one in list_versions(workspace, "main", "delays")] == [3, 1]
    status, found = ask("GET", "deleted-models", "reader")
    assert (status, found[0]["name"], found[0]["actor"], found[0]["reason"]) == (
        200,
        "delays@2",
        "deployer-anna",
        "wrong rows",
    )
    status, said = ask("GET", path, "reader")
    assert (status, "was deleted on" in said["error"]) == (404, True)
    assert ask("POST", f"{path}/restore", "writer", {})[0] == 403
    status, done = ask("POST", f"{path}/restore", "deployer", {})
    assert (status, done["versions"]) == (200, [2])
    assert ask("POST", "models/delays/delete", "deployer", WHY)[1]["versions"] == [3, 2, 1]


def test_what_serves_on_another_branch_is_refused(workspace: Workspace, ask: Any) -> None:
    workspace.history.commit("dev", {"deployments/late": serving()}, message="Deploy")
    status, said = ask("POST", "models/delays/versions/3/delete", "deployer", WHY)
    assert (status, "deployments/late on dev serves it" in said["error"]) == (400, True)
