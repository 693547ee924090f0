"""Views: kept and given back, by commits like all else."""

from __future__ import annotations

from typing import Any

from bascule.history import Workspace
from tests.protocols.iceberg.conftest import COLUMNS, Catalog

VIEWS = "namespaces/ns/views"


def version(sql: str, number: int = 1) -> dict[str, Any]:
    return {
        "version-id": number,
        "schema-id": 0,
        "timestamp-ms": 1,
        "summary": {"engine-name": "spark"},
        "default-namespace": ["ns"],
        "representations": [{"type": "sql", "sql": sql, "dialect": "spark"}],
    }


def new(name: str = "v", sql: str = "select 1") -> dict[str, Any]:
    return {"name": name, "schema": COLUMNS, "view-version": version(sql), "properties": {"a": "b"}}


def test_a_view_comes_and_goes(catalog: Catalog, local_workspace: Workspace) -> None:
    catalog.table()
    made = catalog.post(VIEWS, new())
    assert made["metadata"]["current-version-id"] == 1
    assert made["metadata"]["versions"][0]["representations"][0]["sql"] == "select 1"
    assert catalog.get(f"{VIEWS}/v") == made
    assert catalog.get(VIEWS)["identifiers"] == [{"namespace": ["ns"], "name": "v"}]
    assert catalog.get("namespaces/ns/tables")["identifiers"] == [{"namespace": ["ns"], "name": "t"}]
    assert catalog.ask("HEAD", f"{VIEWS}/v").status_code == 204
    assert local_workspace.history.get("main", "views/ns.v")["kind"] == "view"
    assert catalog.ask("DELETE", f"{VIEWS}/v").status_code == 204
    assert catalog.error("GET", f"{VIEWS}/v")[:2] == (404, "NoSuchViewException")


def test_a_view_is_replaced(catalog: Catalog) -> None:
    catalog.table()
    unique = catalog.post(VIEWS, new())["metadata"]["view-uuid"]
    demand = {"type": "assert-view-uuid", "uuid": unique}
    wider = {**COLUMNS, "fields": [*COLUMNS["fields"], {"id": 3, "name": "x", "required": False, "type": "int"}]}
    updates = [
        {"action": "add-schema", "schema": wider},
        {"action": "add-view-version", "view-version": {**version("select 2"), "schema-id": -1}},
        {"action": "set-current-view-version", "view-version-id": -1},
        {"action": "set-properties", "updates": {"c": "d"}},
        {"action": "remove-properties", "removals": ["a"]},
    ]
    after = catalog.post(f"{VIEWS}/v", {"requirements": [demand], "updates": updates})["metadata"]
    assert (after["current-version-id"], after["versions"][1]["schema-id"], after["properties"]) == (2, 1, {"c": "d"})
    assert [entry["version-id"] for entry in after["version-log"]] == [1, 2]
    # An older version that is made anew is that one again.
    back = [{"action": "add-view-version", "view-version": version("select 1", 7)}, updates[2]]
    after = catalog.post(f"{VIEWS}/v", {"requirements": [demand], "updates": back})["metadata"]
    assert (after["current-version-id"], len(after["versions"])) == (1, 2)
    for number in range(20):
        more = [{"action": "add-view-version", "view-version": version(f"select 9{number}")}]
        after = catalog.post(f"{VIEWS}/v", {"requirements": [], "updates": more})["metadata"]
    assert len(after["versions"]) == 10
    assert after["versions"][0]["version-id"] == 1, "the current one stays"


def test_what_views_refuse(catalog: Catalog) -> None:
    catalog.table()
    catalog.post(VIEWS, new())
    assert catalog.error("POST", VIEWS, new())[1:] == ("AlreadyExistsException", "View already exists: ns.v")
    assert catalog.error("POST", VIEWS, new("t"))[2] == "Table with same name already exists: ns.t"
    table = {"name": "v", "schema": COLUMNS}
    assert catalog.error("POST", "namespaces/ns/tables", table)[2] == "View with same name already exists: ns.v"
    other = {"requirements": [{"type": "assert-view-uuid", "uuid": "x"}], "updates": []}
    assert catalog.error("POST", f"{VIEWS}/v", other)[:2] == (409, "CommitFailedException")
    twice = [{"type": "sql", "dialect": "a", "sql": "select 1"}] * 2
    for update in (
        {"action": "set-current-view-version", "view-version-id": 9},
        {"action": "add-view-version", "view-version": {**version("x"), "schema-id": 9}},
        {"action": "add-view-version", "view-version": {**version("x"), "representations": []}},
        {"action": "add-view-version", "view-version": {**version("x"), "representations": twice}},
        {"action": "set-location", "location": "/etc"},
        {"action": "add-snapshot", "snapshot": {}},
    ):
        assert catalog.error("POST", f"{VIEWS}/v", {"requirements": [], "updates": [update]})[0] == 400, update
    rename = {"source": {"namespace": ["ns"], "name": "v"}, "destination": {"namespace": ["ns"], "name": "t"}}
    assert catalog.error("POST", "views/rename", rename)[0] == 409
    rename["destination"]["name"] = "w"
    assert catalog.ask("POST", "views/rename", rename).status_code == 204
    assert catalog.get(VIEWS)["identifiers"] == [{"namespace": ["ns"], "name": "w"}]
    assert catalog.error("POST", "views/rename", rename)[:2] == (404, "NoSuchViewException")
    assert catalog.error("DELETE", "namespaces/ns")[:2] == (409, "NamespaceNotEmptyException")
