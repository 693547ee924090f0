"""Namespaces: made, nested, described, dropped; each by a commit."""

from __future__ import annotations

import pytest

from bascule.history import Workspace
from bascule.lake import Lake
from tests.lake.samples import people
from tests.protocols.iceberg.conftest import Catalog


def test_a_namespace_comes_and_goes(catalog: Catalog, local_workspace: Workspace) -> None:
    assert catalog.get("namespaces")["namespaces"] == [["default"]]
    made = catalog.post("namespaces", {"namespace": ["ops"], "properties": {"owner": "ann"}})
    assert made == {"namespace": ["ops"], "properties": {"owner": "ann"}}
    assert catalog.get("namespaces")["namespaces"] == [["default"], ["ops"]]
    told = catalog.get("namespaces/ops")["properties"]
    assert told == {"owner": "ann", "location": str(local_workspace.lake_folder)}
    assert catalog.ask("HEAD", "namespaces/ops").status_code == 204
    assert catalog.ask("DELETE", "namespaces/ops").status_code == 204
    assert catalog.ask("HEAD", "namespaces/ops").status_code == 404
    assert [c.message for c in local_workspace.history.log("main", limit=2)] == [
        "Drop namespace ops",
        "Create namespace ops",
    ]


def test_nested_namespaces(catalog: Catalog) -> None:
    catalog.post("namespaces", {"namespace": ["a", "b", "c"]})
    assert catalog.get("namespaces")["namespaces"] == [["a"], ["default"]]
    assert catalog.get("namespaces", params={"parent": "a"})["namespaces"] == [["a", "b"]]
    assert catalog.get("namespaces", params={"parent": "a\x1fb"})["namespaces"] == [["a", "b", "c"]]
    assert catalog.get("namespaces/a%1Fb%1Fc")["namespace"] == ["a", "b", "c"]
    assert catalog.get("namespaces/a.b")["namespace"] == ["a", "b"]
    assert catalog.error("GET", "namespaces", params={"parent": "b"})[:2] == (404, "NoSuchNamespaceException")
    assert catalog.error("DELETE", "namespaces/a")[:2] == (409, "NamespaceNotEmptyException")
    made = catalog.table("t", "a.b.c")
    assert made["metadata"]["location"].rpartition("/")[2].startswith("a.b.c.t-")
    assert catalog.get("namespaces/a%1Fb%1Fc/tables")["identifiers"] == [{"namespace": ["a", "b", "c"], "name": "t"}]


def test_properties(catalog: Catalog) -> None:
    catalog.post("namespaces", {"namespace": ["ops"], "properties": {"a": "1", "b": "2"}})
    changed = catalog.post("namespaces/ops/properties", {"updates": {"c": "3"}, "removals": ["a", "zz"]})
    assert changed == {"updated": ["c"], "removed": ["a"], "missing": ["zz"]}
    told = catalog.get("namespaces/ops")["properties"]
    assert {k: v for k, v in told.items() if k != "location"} == {"b": "2", "c": "3"}
    both = {"updates": {"b": "9"}, "removals": ["b"]}
    assert catalog.error("POST", "namespaces/ops/properties", both)[:2] == (422, "UnprocessableEntityException")
    assert catalog.error("POST", "namespaces/no/properties", {})[:2] == (404, "NoSuchNamespaceException")
    chosen = {"namespace": ["x"], "properties": {"location": "s3://elsewhere"}}
    assert catalog.error("POST", "namespaces", chosen)[0] == 400


def test_what_tables_say_of_namespaces(catalog: Catalog, local_workspace: Workspace) -> None:
    lake = Lake(local_workspace)
    lake.append("people", people("ann"))
    lake.append("ops.people", people("bob"))
    assert catalog.get("namespaces")["namespaces"] == [["default"], ["ops"]]
    assert catalog.get("namespaces/default/tables")["identifiers"] == [{"namespace": ["default"], "name": "people"}]
    assert catalog.error("POST", "namespaces", {"namespace": ["ops"]})[:2] == (409, "AlreadyExistsException")
    code, kind, said = catalog.error("DELETE", "namespaces/ops")
    assert (code, kind) == (409, "NamespaceNotEmptyException")
    assert said.startswith("Namespace ops is not empty\nIt holds tables/ops.people")
    # It stays when the last of its tables goes.
    assert catalog.ask("DELETE", "namespaces/ops/tables/people").status_code == 204
    assert catalog.get("namespaces/ops/tables")["identifiers"] == []
    assert catalog.error("DELETE", "namespaces/default")[0] == 409
    catalog.ask("DELETE", "namespaces/default/tables/people")
    assert catalog.error("DELETE", "namespaces/default")[0] == 400


def test_pages(catalog: Catalog) -> None:
    for name in ("a", "b", "c"):
        catalog.post("namespaces", {"namespace": [name]})
    seen, token = [], ""
    while token is not None:
        page = catalog.get("namespaces", params={"pageSize": 2, "pageToken": token})
        seen.append(page["namespaces"])
        token = page["next-page-token"]
    assert seen == [[["a"], ["b"]], [["c"], ["default"]]]
    assert catalog.error("GET", "namespaces", params={"pageToken": "x"})[0] == 400


@pytest.mark.slow
@pytest.mark.parametrize(
    "levels", [[], [""], ["a b"], ["../up"], ["é"], ["e\u0301"], ["a/b"], ["x" * 10_000], ["a"] * 6, ["1a"]], ids=repr
)
def test_names_that_none_has(catalog: Catalog, levels: list[str], local_workspace: Workspace) -> None:
    before = local_workspace.history.resolve("main")
    code, kind, said = catalog.error("POST", "namespaces", {"namespace": levels})
    assert (code, kind) == (400, "BadRequestException")
    assert len(said) < 500
    assert local_workspace.history.resolve("main") == before


def test_namespaces_that_are_not_there(catalog: Catalog) -> None:
    for method, path in (
        ("GET", "namespaces/no"),
        ("DELETE", "namespaces/no"),
        ("GET", "namespaces/no/tables"),
        ("GET", "namespaces/no/views"),
        ("GET", "namespaces/..%2Fup"),
    ):
        code, kind, said = catalog.error(method, path)
        assert (code, kind) == (404, "NoSuchNamespaceException")
        assert said.startswith("Namespace does not exist: ")
