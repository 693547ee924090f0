"""Tables over plain HTTP: what the specification says of each endpoint, and of each error."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bascule.history import Workspace
from bascule.lake import Lake, Session, doctor
from tests.lake.samples import people
from tests.protocols.iceberg.conftest import COLUMNS, Catalog

TABLE = "namespaces/ns/tables/t"


def set_property(name: str, value: str) -> dict[str, Any]:
    return {"action": "set-properties", "updates": {name: value}}


def test_a_table_comes_and_goes(catalog: Catalog, local_workspace: Workspace) -> None:
    made = catalog.table(properties={"a": "b"})
    metadata = made["metadata"]
    assert Path(made["metadata-location"]).is_file()
    assert metadata["properties"] == {
        "a": "b",
        "bascule.name": "ns.t",
        "bascule.shared": "true",
        "gc.enabled": "false",
        "write.parquet.compression-codec": "zstd",
    }
    assert metadata["format-version"] == 2
    assert metadata["location"].endswith(metadata["table-uuid"].replace("-", "")[:12])
    loaded = catalog.get(TABLE)
    assert loaded == {**made, "config": {}}
    assert catalog.ask("HEAD", TABLE).status_code == 204
    assert catalog.get("namespaces/ns/tables")["identifiers"] == [{"namespace": ["ns"], "name": "t"}]
    value = local_workspace.history.get("main", "tables/ns.t")
    assert (value["kind"], value["rows"], value["uuid"]) == ("table", 0, metadata["table-uuid"])
    assert catalog.ask("DELETE", TABLE, params={"purgeRequested": "true"}).status_code == 204
    assert catalog.error("GET", TABLE)[:2] == (404, "NoSuchTableException")
    assert Path(made["metadata-location"]).is_file(), "a purge takes nothing from other commits"
    assert [c.message for c in local_workspace.history.log("main", limit=2)] == ["Drop ns.t", "Create table ns.t"]


def test_who_and_what_for(catalog: Catalog, local_workspace: Workspace) -> None:
    catalog.headers = {"x-bascule-message": "Nightly load", "user-agent": "Loader 1.0"}
    catalog.table()
    commit = local_workspace.history.resolve("main")
    assert commit.message == "Nightly load"
    assert commit.meta["engine"] == "Loader 1.0"


@pytest.mark.slow
def test_config_says_the_prefix_and_the_endpoints(catalog: Catalog, local_workspace: Workspace) -> None:
    local_workspace.history.create_branch("feat/x+y")
    ask = catalog.http.get
    found = ask("/iceberg/v1/config").json()
    assert found["overrides"] == {"prefix": "main"}
    assert "POST /v1/{prefix}/transactions/commit" in found["endpoints"]
    assert "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}" in found["endpoints"]
    assert ask("/iceberg/v1/config", params={"warehouse": "feat/x+y"}).json()["overrides"]["prefix"] == "feat%2Fx%2By"
    for address in ("/iceberg/feat%2Fx%2By/v1/config", "/iceberg/feat/x+y/v1/config"):
        assert ask(address).json()["overrides"]["prefix"] == "feat%2Fx%2By"
    missing = ask("/iceberg/v1/config", params={"warehouse": "mian"})
    assert missing.status_code == 404
    assert "Did you mean 'main'?" in missing.json()["error"]["message"]


def test_every_listed_endpoint_is_there(catalog: Catalog) -> None:
    endpoints = catalog.http.get("/iceberg/v1/config").json()["endpoints"]
    for endpoint in endpoints:
        method, path = endpoint.split()
        for name, value in (("prefix", "main"), ("namespace", "no"), ("table", "no"), ("view", "no")):
            path = path.replace(f"{{{name}}}", value)
        found = catalog.http.request(method, f"/iceberg{path}", json={} if method == "POST" else None)
        assert found.status_code in (200, 400, 404), endpoint
        if method != "HEAD" and found.status_code >= 400:
            assert "no such endpoint" not in found.json()["error"]["message"]
    code, kind, said = catalog.error("PUT", TABLE)
    assert (code, kind) == (405, "UnsupportedOperationException")
    assert "GET, HEAD, POST" in said
    assert catalog.error("GET", "nothing/here")[0] == 404


def test_etags(catalog: Catalog) -> None:
    catalog.table()
    first = catalog.ask("GET", TABLE)
    tag = first.headers["etag"]
    again = catalog.ask("GET", TABLE, headers={"if-none-match": f'"x", W/{tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    catalog.commit(TABLE, set_property("a", "b"))
    changed = catalog.ask("GET", TABLE, headers={"if-none-match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


@pytest.mark.slow
def test_only_the_snapshots_that_refs_name(catalog: Catalog, local_workspace: Workspace) -> None:
    lake = Lake(local_workspace)
    for name in ("ann", "bob", "cay"):
        lake.append("people", people(name))
    path = "namespaces/default/tables/people"
    every = catalog.get(path)["metadata"]
    named = catalog.get(path, params={"snapshots": "refs"})["metadata"]
    assert len(every["snapshots"]) == 3
    assert [s["snapshot-id"] for s in named["snapshots"]] == [every["current-snapshot-id"]]
    assert catalog.error("GET", path, params={"snapshots": "some"})[0] == 400


def test_staged_creation(catalog: Catalog, local_workspace: Workspace) -> None:
    catalog.post("namespaces", {"namespace": ["ns"]})
    before = local_workspace.history.resolve("main")
    body = {"name": "t", "schema": COLUMNS, "stage-create": True, "properties": {"a": "b"}}
    staged = catalog.post("namespaces/ns/tables", body)
    metadata = staged["metadata"]
    assert "metadata-location" not in staged
    assert (Path(metadata["location"]) / "data").is_dir()
    assert local_workspace.history.resolve("main") == before
    updates = creation(metadata)
    made = catalog.commit(TABLE, *updates, requirements=[{"type": "assert-create"}])
    assert made["metadata"]["table-uuid"] == metadata["table-uuid"]
    assert made["metadata"]["properties"] == {**metadata["properties"], "later": "yes"}
    code, kind, said = catalog.error("POST", TABLE, {"requirements": [{"type": "assert-create"}], "updates": updates})
    assert (code, kind) == (409, "CommitFailedException")
    assert said.startswith("Requirement failed: table already exists")
    assert catalog.error("POST", "namespaces/ns/tables", body)[:2] == (409, "AlreadyExistsException")


def creation(metadata: dict[str, Any], location: str | None = None) -> list[dict[str, Any]]:
    """Return the updates by which clients make a table that was staged."""
    return [
        {"action": "assign-uuid", "uuid": metadata["table-uuid"]},
        {"action": "upgrade-format-version", "format-version": 2},
        {"action": "add-schema", "schema": metadata["schemas"][0], "last-column-id": 2},
        {"action": "set-current-schema", "schema-id": -1},
        {"action": "add-spec", "spec": metadata["partition-specs"][0]},
        {"action": "set-default-spec", "spec-id": -1},
        {"action": "add-sort-order", "sort-order": metadata["sort-orders"][0]},
        {"action": "set-default-sort-order", "sort-order-id": -1},
        {"action": "set-location", "location": location or metadata["location"]},
        {"action": "set-properties", "updates": {**metadata["properties"], "later": "yes"}},
    ]


@pytest.mark.parametrize("place", ["/etc", "LAKE", "LAKE/../x", "LAKE/a/b", "TAKEN", "s3://elsewhere/t", "LAKE/.."])
def test_a_table_is_made_in_a_place_of_its_own(
    catalog: Catalog, local_workspace: Workspace, place: str, tmp_path: Path
) -> None:
    taken = catalog.table("other")["metadata"]
    body = {"name": "t", "schema": COLUMNS, "stage-create": True}
    metadata = catalog.post("namespaces/ns/tables", body)["metadata"]
    location = place.replace("LAKE", str(local_workspace.lake_folder)).replace("TAKEN", taken["location"])
    sent = {"requirements": [{"type": "assert-create"}], "updates": creation(metadata, location)}
    code, kind, said = catalog.error("POST", TABLE, sent)
    assert (code, kind) == (400, "BadRequestException")
    assert "is no place for a new table" in said
    assert catalog.error("POST", "namespaces/ns/tables", {**body, "location": location})[0] == 400


def test_a_creation_that_lacks_something(catalog: Catalog) -> None:
    catalog.post("namespaces", {"namespace": ["ns"]})
    body = {"name": "t", "schema": COLUMNS, "stage-create": True}
    updates = creation(catalog.post("namespaces/ns/tables", body)["metadata"])
    sent = {"requirements": [{"type": "assert-create"}], "updates": [*updates[:2], *updates[8:]]}
    code, _, said = catalog.error("POST", TABLE, sent)
    assert code == 400
    assert "no schema, no partition spec, no sort order" in said


def test_commits_that_come_late_are_told_to_repeat(catalog: Catalog, local_workspace: Workspace) -> None:
    catalog.table()
    lake = Lake(local_workspace)
    lake.append("ns.t", pa.table({"id": pa.array([1], pa.int64()), "name": ["x"]}))
    late = {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": None}
    before = local_workspace.history.resolve("main")
    code, kind, said = catalog.error("POST", TABLE, {"requirements": [late], "updates": [set_property("a", "b")]})
    assert (code, kind) == (409, "CommitFailedException")
    assert said.startswith("Requirement failed: branch main was created concurrently")
    assert local_workspace.history.resolve("main") == before


def test_a_commit_that_changes_nothing_is_no_commit(catalog: Catalog, local_workspace: Workspace) -> None:
    made = catalog.table(properties={"a": "b"})
    before = local_workspace.history.resolve("main")
    answer = catalog.commit(TABLE, set_property("a", "b"))
    assert answer["metadata-location"] == made["metadata-location"]
    assert local_workspace.history.resolve("main") == before


def test_a_transaction_lands_whole_or_not_at_all(catalog: Catalog, local_workspace: Workspace) -> None:
    for name in ("a", "b"):
        catalog.table(name)

    def change(name: str, key: str, **more: Any) -> dict[str, Any]:
        identifier = {"namespace": ["ns"], "name": name}
        return {"identifier": identifier, "requirements": [], "updates": [set_property(key, "1")], **more}

    before = len(local_workspace.history.log("main"))
    catalog.post("transactions/commit", {"table-changes": [change("a", "x"), change("b", "y"), change("a", "z")]})
    assert len(local_workspace.history.log("main")) == before + 1
    assert {"x", "z"} <= set(catalog.get("namespaces/ns/tables/a")["metadata"]["properties"])
    assert "y" in catalog.get("namespaces/ns/tables/b")["metadata"]["properties"]
    head = local_workspace.history.resolve("main")
    bad = change("b", "q", requirements=[{"type": "assert-table-uuid", "uuid": "other"}])
    assert catalog.error("POST", "transactions/commit", {"table-changes": [change("a", "q"), bad]})[0] == 409
    assert catalog.error("POST", "transactions/commit", {"table-changes": [change("a", "q"), change("no", "q")]})[
        :2
    ] == (404, "NoSuchTableException")
    nameless = {"requirements": [], "updates": []}
    assert catalog.error("POST", "transactions/commit", {"table-changes": [nameless]})[0] == 400
    assert local_workspace.history.resolve("main") == head
    assert doctor.check(local_workspace).orphans == ()


def test_renames(catalog: Catalog, local_workspace: Workspace) -> None:
    for name in ("a", "b"):
        catalog.table(name)

    def rename(source: str, target: str, namespace: str = "ns") -> dict[str, Any]:
        destination = {"namespace": [namespace], "name": target}
        return {"source": {"namespace": ["ns"], "name": source}, "destination": destination}

    unique = catalog.get("namespaces/ns/tables/a")["metadata"]["table-uuid"]
    assert catalog.ask("POST", "tables/rename", rename("a", "c")).status_code == 204
    assert catalog.get("namespaces/ns/tables/c")["metadata"]["table-uuid"] == unique
    code, kind, said = catalog.error("POST", "tables/rename", rename("b", "c"))
    assert (code, kind, said) == (409, "AlreadyExistsException", "Table already exists: ns.c")
    assert catalog.error("POST", "tables/rename", rename("a", "d"))[:2] == (404, "NoSuchTableException")
    assert catalog.error("POST", "tables/rename", rename("b", "d", "no"))[:2] == (404, "NoSuchNamespaceException")
    assert catalog.ask("POST", "tables/rename", rename("b", "plain", "default")).status_code == 204
    assert local_workspace.history.read("main", "tables/plain") is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["", "a b", "../x", "a.b", "é", "e\u0301", "x" * 10_000, "1st", "a/b", "t\0", "t\n"], ids=repr
)
def test_names_that_no_table_has(catalog: Catalog, name: str, local_workspace: Workspace) -> None:
    catalog.post("namespaces", {"namespace": ["ns"]})
    before = local_workspace.history.resolve("main")
    code, kind, said = catalog.error("POST", "namespaces/ns/tables", {"name": name, "schema": COLUMNS})
    assert (code, kind) == (400, "BadRequestException")
    assert "cannot name a table" in said
    assert len(said) < 400
    assert local_workspace.history.resolve("main") == before
    assert not any(local_workspace.lake_folder.glob("*"))


def test_what_is_not_there(catalog: Catalog) -> None:
    catalog.post("namespaces", {"namespace": ["ns"]})
    for method, path, body in (
        ("GET", TABLE, None),
        ("DELETE", TABLE, None),
        ("POST", TABLE, {"requirements": [], "updates": []}),
        ("GET", "namespaces/ns/tables/a%20b", None),
        ("GET", "namespaces/no/tables/t", None),
        ("POST", f"{TABLE}/metrics", {"report-type": "scan-report"}),
    ):
        code, kind, said = catalog.error(method, path, body)
        assert (code, kind) == (404, "NoSuchTableException"), (method, path)
        assert said.startswith("Table does not exist: ")
    new = {"name": "t", "schema": COLUMNS}
    assert catalog.error("POST", "namespaces/no/tables", new)[:2] == (404, "NoSuchNamespaceException")


def test_bodies_that_are_none(catalog: Catalog) -> None:
    catalog.table()
    for path in ("namespaces", "namespaces/ns/tables", TABLE, "transactions/commit", "tables/rename"):
        found = catalog.http.post(f"/iceberg/v1/main/{path}", content=b"\xff{")
        assert found.status_code == 400
        assert found.json()["error"]["type"] == "BadRequestException"
        assert catalog.error("POST", path, ["no"])[0] == 400
        deep = catalog.http.post(f"/iceberg/v1/main/{path}", content=b'{"updates":' + b"[" * 100_000)
        assert deep.status_code == 400
    assert catalog.error("POST", TABLE, {"requirements": [{}], "updates": []})[0] == 400
    nested: Any = "int"
    for number in range(300):
        nested = {"type": "list", "element-id": 1000 + number, "element": nested, "element-required": False}
    schema = {"type": "struct", "fields": [{"id": 1, "name": "x", "required": False, "type": nested}]}
    assert catalog.error("POST", "namespaces/ns/tables", {"name": "deep", "schema": schema})[0] == 400
    assert catalog.error("POST", TABLE, {"requirements": [], "updates": [{"action": "dance"}]})[0] == 400


def test_properties_that_guard_other_branches(catalog: Catalog, local_workspace: Workspace) -> None:
    catalog.table()
    outside = "/elsewhere"
    for update in (
        set_property("gc.enabled", "true"),
        {"action": "remove-properties", "removals": ["gc.enabled"]},
        set_property("bascule.former-locations", "/etc"),
        set_property("bascule.sources", "../../x"),
        set_property("bascule.key", "no such column"),
        set_property("write.data.path", outside),
        set_property("write.metadata.path", f"{local_workspace.lake_folder}/other/metadata"),
        {"action": "set-location", "location": outside},
    ):
        code, kind, said = catalog.error("POST", TABLE, {"requirements": [], "updates": [update]})
        assert (code, kind) == (400, "BadRequestException"), update
        assert len(said.split("\n")) > 1
    new = {"name": "u", "schema": COLUMNS, "properties": {"gc.enabled": "true"}}
    assert catalog.error("POST", "namespaces/ns/tables", new)[0] == 400
    catalog.commit(TABLE, set_property("bascule.key", "id"))
    assert local_workspace.history.get("main", "tables/ns.t")["key"] == ["id"]
    assert doctor.check(local_workspace).orphans == ()


def test_a_table_comes_back_by_its_document(catalog: Catalog, local_workspace: Workspace) -> None:
    Lake(local_workspace).append("people", people("ann", "bob"))
    path = "namespaces/default/tables/people"
    location = catalog.get(path)["metadata-location"]
    catalog.ask("DELETE", path)
    told = {"name": "back", "metadata-location": location}
    answer = catalog.post("namespaces/default/register", told)
    assert answer["metadata-location"] == location
    assert local_workspace.history.get("main", "tables/back")["rows"] == 2
    assert catalog.error("POST", "namespaces/default/register", told)[:2] == (409, "AlreadyExistsException")
    catalog.table("t", "default")
    catalog.post("namespaces/default/register", {**told, "name": "t", "overwrite": True})
    assert local_workspace.history.get("main", "tables/t")["rows"] == 2


def test_documents_that_are_no_table_of_the_lake(catalog: Catalog, local_workspace: Workspace, tmp_path: Path) -> None:
    made = catalog.table()
    lake = local_workspace.lake_folder
    outside = tmp_path / "x.metadata.json"
    outside.write_text("{}")
    broken = Path(made["metadata"]["location"]) / "metadata" / "broken.metadata.json"
    broken.write_text('{"format-version": 2}')
    for location in (
        str(outside),
        "/etc/passwd",
        f"{lake}/../../x.metadata.json",
        f"{made['metadata']['location']}/metadata/../metadata/x.metadata.json",
        f"{made['metadata']['location']}/metadata/missing.metadata.json",
        str(broken),
        "s3://other/x.metadata.json",
        "",
    ):
        told = {"name": "u", "metadata-location": location}
        assert catalog.error("POST", "namespaces/ns/register", told)[:2] == (400, "BadRequestException"), location


def test_reports_are_kept(catalog: Catalog, local_workspace: Workspace) -> None:
    catalog.table()
    report = {"report-type": "scan-report", "table-name": "ns.t", "snapshot-id": 3, "metrics": {"n": 1}}
    assert catalog.ask("POST", f"{TABLE}/metrics", report).status_code == 204
    with Session(local_workspace) as session:
        (row,) = session.arrow("select * from engine_reports").to_pylist()
    assert (row["table_name"], row["kind"], row["snapshot_id"], row["ref"]) == ("ns.t", "scan-report", 3, "main")
    assert '"metrics"' in row["report_json"]
    too_large = {"report-type": "x" * 300_000}
    assert catalog.error("POST", f"{TABLE}/metrics", too_large)[0] == 413


def test_a_table_moves_no_others(catalog: Catalog, local_workspace: Workspace) -> None:
    """Two names of one place cannot come to be: every table has a uuid in its location."""
    first, second = (catalog.table(name)["metadata"]["location"] for name in ("a", "b"))
    assert first != second
    catalog.ask("DELETE", "namespaces/ns/tables/a")
    assert catalog.table("a")["metadata"]["location"] != first
    assert uuid.UUID(catalog.get("namespaces/ns/tables/a")["metadata"]["table-uuid"]).version == 4
