"""Artifacts over the wire: bytes as they were sent, and no way out of their folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bascule.history import Workspace
from bascule.server.tokens import create_token
from tests.protocols.mlflow.conftest import Api

FILES = "/api/2.0/mlflow-artifacts/artifacts"
ESCAPES = [
    "..%2fsecret",
    "a/..%2f..%2f..%2fsecret",
    "..%252f..%252fsecret",
    "%2e%2e/%2e%2e/secret",
    "%2fetc%2fpasswd",
    "..%5c..%5csecret",
    "C:%5cx",
    "a%00b",
    "a%23b",
    "x" * 300,
    "/".join(["d" * 200] * 40),
]


def test_bytes_come_back_as_they_were_sent(api: Api, local_workspace: Workspace) -> None:
    run = api.run()
    data = bytes(range(256)) * 5000
    for name in ("plots/a b.png", "plots/ü.bin", "MLmodel"):
        sent = api.http.put(f"{FILES}/0/{run}/artifacts/{name}", content=data)
        assert sent.status_code == 200
        found = api.http.get(f"{FILES}/0/{run}/artifacts/{name}")
        assert found.content == data
        assert found.headers["content-disposition"].startswith("attachment")
        assert found.headers["x-content-type-options"] == "nosniff"
    listed = api("GET", "artifacts/list", run_id=run, path="plots")
    assert [(one["path"], one["is_dir"], one["file_size"]) for one in listed["files"]] == [
        ("plots/a b.png", False, len(data)),
        ("plots/ü.bin", False, len(data)),
    ]
    names = api("GET", FILES, path=f"0/{run}/artifacts")["files"]
    assert [(one["path"], one["is_dir"]) for one in names] == [("MLmodel", False), ("plots", True)]
    assert api("GET", FILES, path="nothing") == {}
    assert api.http.get("/get-artifact", params={"run_id": run, "path": "MLmodel"}).content == data
    assert api.http.delete(f"{FILES}/0/{run}/artifacts/plots").status_code == 200
    assert api.refusal("GET", f"{FILES}/0/{run}/artifacts/plots/ü.bin")[:2] == (404, "RESOURCE_DOES_NOT_EXIST")
    assert api.refusal("GET", f"{FILES}/0/{run}/artifacts")[0] == 400
    assert not list((local_workspace.folder / "artifacts.tmp").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("path", ESCAPES)
@pytest.mark.parametrize("prefix", ["/api", "/ajax-api"])
def test_no_path_leads_out(api: Api, local_workspace: Workspace, path: str, prefix: str) -> None:
    secret = local_workspace.folder / "secret"
    secret.write_text("s")
    (local_workspace.folder / "artifacts").mkdir(exist_ok=True)
    for method in ("GET", "PUT", "DELETE"):
        url = f"{prefix}/2.0/mlflow-artifacts/artifacts/{path}"
        found = api.http.request(method, url, content=b"x" if method == "PUT" else None)
        assert found.status_code in (400, 404), (method, found.text)
        assert found.json()["error_code"] in (
            "INVALID_PARAMETER_VALUE",
            "RESOURCE_DOES_NOT_EXIST",
            "ENDPOINT_NOT_FOUND",
        )
    run = api.run()
    for name in ("/get-artifact", "/ajax-api/2.0/mlflow/get-artifact"):
        assert api.http.get(f"{name}?run_id={run}&path={path}").status_code in (400, 404)
    assert api.http.get(f"/api/2.0/mlflow/artifacts/list?run_id={run}&path={path}").status_code in (200, 400)
    assert secret.read_text() == "s"
    assert [p.name for p in (local_workspace.folder / "artifacts").iterdir()] == []


def test_a_link_that_was_planted_is_not_followed(api: Api, local_workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    folder = local_workspace.folder / "artifacts" / "0"
    folder.mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path)
    assert api.http.get(f"{FILES}/0/link/secret").status_code == 400
    assert api.http.put(f"{FILES}/0/link/new", content=b"x").status_code == 400
    assert not (tmp_path / "new").exists()


def test_a_browser_runs_nothing(api: Api) -> None:
    for name in ("a.html", "a.svg", "a.xhtml", "a.xml"):
        api.http.put(f"{FILES}/0/r/artifacts/{name}", content=b"<script>alert(1)</script>")
        found = api.http.get(f"{FILES}/0/r/artifacts/{name}")
        assert found.headers["content-type"].startswith("application/octet-stream")
        assert "default-src" in found.headers["content-security-policy"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "place", ["http:///#/../../etc/", "file:///etc", "mlflow-artifacts:/../x", "dbfs://../", "s3://b/x"]
)
def test_an_experiment_keeps_its_artifacts_here(api: Api, place: str) -> None:
    body = {"name": "e", "artifact_location": place}
    assert api.refusal("POST", "experiments/create", body)[:2] == (400, "INVALID_PARAMETER_VALUE")


def test_every_endpoint_asks_who_one_is(serve: Callable[..., Api], local_workspace: Workspace) -> None:
    _, reader = create_token(local_workspace.catalog, "r", "reader")
    _, writer = create_token(local_workspace.catalog, "w", "writer")
    api = serve(require_tokens=True)
    create = ("POST", "runs/create", {"experiment_id": "0"})
    assert api.refusal(*create)[:2] == (401, "UNAUTHENTICATED")
    for path in ("runs/get", "artifacts/list", "registered-models/search"):
        for variant in (f"/api/2.0/mlflow/{path}", f"/ajax-api/2.0/mlflow/{path}", f"/api/2.0/mlflow/{path}/"):
            assert api.ask("GET", variant).status_code == 401
    for path in (f"{FILES}/0/x", FILES, "/get-artifact?run_id=a&path=b", "/model-versions/get-artifact?name=a"):
        assert api.http.get(path).status_code == 401
    assert api.http.put(f"{FILES}/0/x", content=b"").status_code == 401
    api.headers = {"authorization": f"Bearer {reader}"}
    assert api.refusal(*create)[:2] == (403, "PERMISSION_DENIED")
    assert api("POST", "runs/search", {"experiment_ids": ["0"]}) == {}
    assert api.http.put(f"{FILES}/0/x", content=b"", headers=api.headers).status_code == 403
    import base64

    basic = base64.b64encode(f"anyone:{writer}".encode()).decode()
    api.headers = {"authorization": f"Basic {basic}"}
    assert api("POST", "runs/create", {"experiment_id": "0"})["run"]["info"]["user_id"] == "w"
    api.headers = {"authorization": "Basic " + base64.b64encode(b"admin:password").decode()}
    assert api.refusal(*create)[:2] == (401, "UNAUTHENTICATED")


def test_unknown_endpoints_are_not_found(api: Api) -> None:
    for method, path in (
        ("PUT", "traces"),
        ("POST", "runs/nothing"),
        ("DELETE", "runs/create"),
        ("GET", "runs/create"),
    ):
        assert api.refusal(method, path)[:2] == (404, "ENDPOINT_NOT_FOUND")
    refused = api.http.get("/api/2.0/mlflow/experiments/search", headers={"x-mlflow-workspace": "w"})
    assert refused.json()["error_code"] == "NOT_IMPLEMENTED"
