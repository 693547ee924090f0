"""Who is answered at all: names, origins, sizes; and what every answer carries."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from bascule import web
from bascule.errors import BasculeError
from bascule.history import Workspace
from bascule.server import Call, Route, ServerSettings, create_app
from bascule.server.guard import CONTENT_SECURITY_POLICY
from tests.server.conftest import Serve
from tests.server.filled import Filled

BRANCHES = "/api/bascule/v1/branches"


@pytest.mark.slow
@pytest.mark.parametrize("host", ["127.0.0.1:7400", "localhost", "LOCALHOST:7400", "[::1]:7400", "[::1]"])
def test_its_own_names_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7400",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil@127.0.0.1",
        "127.0.0.1/x",
        "",
        "[::1",
        "0.0.0.0",
    ],
)
def test_other_names_are_not(client: TestClient, host: str) -> None:
    answer = client.get(BRANCHES, headers={"host": host})
    assert answer.status_code == 421
    assert answer.json()["kind"] == "InputError"


def test_a_name_may_be_allowed(local_workspace: Workspace, serve: Serve) -> None:
    served = serve(local_workspace, allowed_hosts=("ml.example",))
    assert served.get("/health", headers={"host": "ml.example"}).status_code == 200
    assert served.get("/health", headers={"host": "other.example"}).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_page_of_another_site_changes_nothing(copy: Filled, serve: Serve, headers: dict[str, str]) -> None:
    before = copy.ws.history.resolve("main").id
    for url in ("/api/bascule/v1/deployments/delays/rollback", "/deployments/delays/rollback"):
        answer = serve(copy.ws).post(url, headers=headers, json={})
        assert answer.status_code == 403
    assert copy.ws.history.resolve("main").id == before


def test_its_own_page_and_programs_may_write(local_workspace: Workspace, serve: Serve) -> None:
    served = serve(local_workspace)
    own = {"origin": "http://127.0.0.1:7400", "sec-fetch-site": "same-origin"}
    assert served.post(BRANCHES, headers=own, json={"name": "a"}).status_code == 200
    assert served.post(BRANCHES, json={"name": "b"}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/health", "/nothing", BRANCHES, "/static/bascule.css"])
def test_every_answer_carries_the_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "access-control-allow-origin" not in headers
    assert "unsafe" not in headers["content-security-policy"]


def test_nothing_but_static_files_is_kept_by_browsers(client: TestClient) -> None:
    assert client.get("/").headers["cache-control"] == "no-store"
    kept = client.get("/static/bascule.css")
    assert "immutable" in kept.headers["cache-control"]
    again = client.get("/static/bascule.css", headers={"if-none-match": kept.headers["etag"]})
    assert again.status_code == 304


def test_a_large_body_is_refused_unread(local_workspace: Workspace, serve: Serve) -> None:
    served = serve(local_workspace, max_body=1000)
    answer = served.post(BRANCHES, json={"name": "a" * 2000})
    assert answer.status_code == 413
    assert answer.headers.get("connection") != "close"  # who is still sending hears this answer

    def without_a_length() -> Any:
        yield from [b"x" * 100] * 30

    answer = served.post(BRANCHES, content=without_a_length(), headers={"content-type": "application/json"})
    assert answer.status_code == 413


def test_an_exception_shows_no_traceback(local_workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    def broken(call: Call[None, None]) -> str:
        """Break."""
        raise RuntimeError("the secret is 1234")

    def told(call: Call[None, None]) -> str:
        """Say no."""
        raise BasculeError("This is refused.", hint="Do that.")

    routes = [Route("GET", "/broken", broken, "read"), Route("GET", "/page", broken, "read", page=True)]
    app = create_app(local_workspace, ServerSettings(), routes=[*routes, Route("GET", "/told", told, "read")])
    served = TestClient(app, base_url="http://127.0.0.1:7400")
    answer = served.get("/broken")
    assert answer.status_code == 500
    assert "1234" not in answer.text
    assert "Traceback" not in answer.text
    number = answer.json()["error"].split("error ")[1].split(")")[0]
    assert number in caplog.text
    assert "the secret is 1234" in caplog.text
    page = served.get("/page")
    assert page.headers["content-type"].startswith("text/html")
    assert "1234" not in page.text
    assert served.get("/told").json() == {"error": "This is refused.", "kind": "BasculeError", "hint": "Do that."}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["../app.py", "..%2fapp.py", "%2e%2e/%2e%2e/errors.py", "/etc/passwd", "vendor/../../app.py", "a%00b"]
)
def test_static_files_are_only_those_that_came_with_it(client: TestClient, name: str) -> None:
    assert client.get(f"/static/{name}").status_code == 404


def test_head_answers_as_get_without_a_body(local_workspace: Workspace) -> None:
    client = TestClient(web.create_app(local_workspace), base_url="http://127.0.0.1:7400")
    for path in (
        "/health",
        "/runs",  # a page
        BRANCHES,
        "/api/2.0/mlflow/experiments/get?experiment_id=0",
        "/branch/main/ajax-api/2.0/mlflow/experiments/get?experiment_id=7",  # 404, as GET
        "/api/2.0/mlflow-artifacts/artifacts",
        "/iceberg/v1/config",
        "/iceberg/v1/main/namespaces",
    ):
        found, read = client.head(path), client.get(path)
        assert (found.status_code, found.content) == (read.status_code, b""), path
        assert found.headers["content-length"] == str(len(read.content)), path
    assert client.head("/api/2.0/mlflow/runs/create").status_code == 404
    assert client.head("/iceberg/v1/main/tables/rename").status_code == 405
