"""The prefix is the ref: branches apart from each other, and states that take no writes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from bascule.history import Workspace
from bascule.lake import Lake
from tests.lake.samples import people
from tests.protocols.iceberg.conftest import COLUMNS, Catalog

PEOPLE = "namespaces/default/tables/people"


def at(catalog: Catalog, ref: str) -> Catalog:
    return Catalog(catalog.http, ref)


def test_branches_are_apart(catalog: Catalog, local_workspace: Workspace) -> None:
    Lake(local_workspace).append("people", people("ann"))
    local_workspace.history.create_branch("feat/x+y")
    dev = at(catalog, "feat/x+y")
    dev.commit(PEOPLE, {"action": "set-properties", "updates": {"where": "dev"}})
    dev.table("new")
    assert "where" in dev.get(PEOPLE)["metadata"]["properties"]
    assert "where" not in catalog.get(PEOPLE)["metadata"]["properties"]
    assert catalog.ask("HEAD", "namespaces/ns").status_code == 404
    dev.ask("DELETE", PEOPLE)
    assert catalog.ask("HEAD", PEOPLE).status_code == 204
    local_workspace.history.merge("feat/x+y", "main")
    assert catalog.ask("HEAD", "namespaces/ns/tables/new").status_code == 204


@pytest.mark.slow
def test_states_that_take_no_writes(catalog: Catalog, local_workspace: Workspace) -> None:
    Lake(local_workspace).append("people", people("ann"))
    first = local_workspace.history.resolve("main")
    moment = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    local_workspace.history.tag("v1.0")
    Lake(local_workspace).append("people", people("bob"))
    head = local_workspace.history.resolve("main")
    writes: list[tuple[str, str, Any]] = [
        ("POST", PEOPLE, {"requirements": [], "updates": [{"action": "set-properties", "updates": {"a": "b"}}]}),
        ("POST", "namespaces", {"namespace": ["x"]}),
        ("POST", "namespaces/default/tables", {"name": "t", "schema": COLUMNS}),
        ("POST", "namespaces/default/tables", {"name": "t", "schema": COLUMNS, "stage-create": True}),
        ("DELETE", PEOPLE, None),
        ("POST", "tables/rename", {"source": _name("people"), "destination": _name("p")}),
    ]
    for ref in ("v1.0", f"main@{first.id[:12]}", first.id, "main~1", f"main@{moment}"):
        past = at(catalog, ref)
        assert len(past.get(PEOPLE)["metadata"]["snapshots"]) == 1, ref
        for method, path, body in writes:
            code, kind, said = past.error(method, path, body)
            assert (code, kind) == (400, "BadRequestException")
            assert "takes no writes" in said
    assert local_workspace.history.resolve("main") == head
    assert not [place for place in local_workspace.lake_folder.iterdir() if place.name.startswith("t-")]


def _name(name: str) -> dict[str, Any]:
    return {"namespace": ["default"], "name": name}


@pytest.mark.parametrize("ref", ["nothing", "main@nonsense", "../up", "main~99", "é", "x" * 5000, "%2e%2e", "a\0b"])
def test_refs_that_are_none(catalog: Catalog, ref: str) -> None:
    code, kind, _ = at(catalog, ref).error("GET", "namespaces")
    assert (code, kind) in ((404, "NotFoundException"), (400, "BadRequestException"))


def test_a_branch_may_have_any_name(catalog: Catalog, local_workspace: Workspace) -> None:
    for name in ("v1", "namespaces", "tables", "a/v1/b"):
        local_workspace.history.create_branch(name)
        branch = at(catalog, name)
        branch.table("t")
        assert branch.ask("HEAD", "namespaces/ns/tables/t").status_code == 204
        found = catalog.http.get("/iceberg/v1/config", params={"warehouse": name})
        assert found.json()["overrides"]["prefix"] == name.replace("/", "%2F")
    assert catalog.ask("HEAD", "namespaces/ns").status_code == 404
