"""A workspace and MLflow's API on it, in this process, as a plain HTTP client sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2 as httpx
import pytest
from starlette.testclient import TestClient

from bascule.history import Workspace
from bascule.server import ServerSettings
from bascule.server.app import create_app


@dataclass
class Api:
    """MLflow's API: `api("POST", "runs/create", …)` answers with the JSON, `refusal` with status, code and message."""

    http: TestClient
    below: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, /, body: Any = None, **query: Any) -> httpx.Response:
        url = path if path.startswith("/") else f"{self.below}/api/2.0/mlflow/{path}"
        found: httpx.Response = self.http.request(
            method, url, json=body if method != "GET" else None, params=query or None, headers=self.headers
        )
        return found

    def __call__(self, method: str, path: str, /, body: Any = None, **query: Any) -> Any:
        found = self.ask(method, path, body, **query)
        assert found.status_code == 200, found.text
        return found.json()

    def refusal(self, method: str, path: str, /, body: Any = None, **query: Any) -> tuple[int, str, str]:
        found = self.ask(method, path, body, **query)
        assert found.status_code >= 400, found.text
        return found.status_code, found.json()["error_code"], found.json()["message"]

    def run(self, **told: Any) -> str:
        body = {"experiment_id": "0", "start_time": 1000, **told}
        return str(self("POST", "runs/create", body)["run"]["info"]["run_id"])


@pytest.fixture
def serve(local_workspace: Workspace) -> Callable[..., Api]:
    """Makes a client of a server over the workspace, on loopback unless the settings say otherwise."""

    def make(below: str = "", **settings: Any) -> Api:
        app = create_app(local_workspace, ServerSettings(**settings))
        client = TestClient(app, base_url="http://127.0.0.1:7400", raise_server_exceptions=False)
        return Api(client, below)

    return make


@pytest.fixture
def api(serve: Callable[..., Api]) -> Api:
    """The API, on main."""
    return serve()
