"""A workspace, its catalog over HTTP in this process, and one that real clients reach by a socket."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx2 as httpx
import pytest
import uvicorn
from starlette.testclient import TestClient

from bascule.history import Workspace
from bascule.server import ServerSettings
from bascule.server.ports import listen
from bascule.web import create_app

COLUMNS = {
    "type": "struct",
    "schema-id": 0,
    "fields": [
        {"id": 1, "name": "id", "required": False, "type": "long"},
        {"id": 2, "name": "name", "required": False, "type": "string"},
    ],
}


@dataclass
class Catalog:
    """The catalog as a plain HTTP client sees it, at one ref."""

    http: TestClient
    ref: str = "main"
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        headers = {**self.headers, **more.pop("headers", {})}
        url = f"/iceberg/v1/{quote(self.ref, safe='')}/{path}"
        found: httpx.Response = self.http.request(method, url, json=body, headers=headers, **more)
        return found

    def get(self, path: str, **more: Any) -> Any:
        found = self.ask("GET", path, **more)
        assert found.status_code == 200, found.text
        return found.json()

    def post(self, path: str, body: Any, **more: Any) -> Any:
        found = self.ask("POST", path, body, **more)
        assert found.status_code in (200, 204), found.text
        return found.json() if found.content else None

    def error(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, str, str]:
        """Return (status, type, message) of an answer that must be an error in the envelope."""
        found = self.ask(method, path, body, **more)
        assert found.status_code >= 400, found.text
        error = found.json()["error"]
        assert set(found.json()) == {"error"}
        assert error["code"] == found.status_code
        return error["code"], error["type"], error["message"]

    def table(self, name: str = "t", namespace: str = "ns", **more: Any) -> dict[str, Any]:
        """Make a table (and its namespace) and return the answer."""
        if self.ask("HEAD", f"namespaces/{namespace}").status_code == 404:
            self.post("namespaces", {"namespace": namespace.split(".")})
        found: dict[str, Any] = self.post(f"namespaces/{namespace}/tables", {"name": name, "schema": COLUMNS, **more})
        return found

    def commit(self, path: str, *updates: dict[str, Any], requirements: Any = ()) -> Any:
        return self.post(path, {"requirements": list(requirements), "updates": list(updates)})


@pytest.fixture
def http(local_workspace: Workspace) -> TestClient:
    """A client of a server over an empty workspace."""
    return TestClient(create_app(local_workspace), base_url="http://127.0.0.1:7400")


@pytest.fixture
def catalog(http: TestClient) -> Catalog:
    """The catalog at `main`."""
    return Catalog(http)


@contextmanager
def served(workspace: Workspace) -> Iterator[str]:
    """Serve a workspace on a socket; yields the catalog's address."""
    sock = listen("127.0.0.1", 0)
    port = sock.getsockname()[1]
    app = create_app(workspace, ServerSettings(port=port))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    yield f"http://127.0.0.1:{port}/iceberg"
    server.should_exit = True
    thread.join(30)
    sock.close()


@pytest.fixture
def address(local_workspace: Workspace) -> Iterator[str]:
    """The address of the catalog on a socket."""
    with served(local_workspace) as found:
        yield found
