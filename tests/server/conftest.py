"""A server over a filled workspace (shared, only read) and over a copy of it (to be changed)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from bascule.history import Workspace
from bascule.server import ServerSettings
from bascule.web import create_app
from tests.server.filled import Filled, fill

Serve = Callable[..., TestClient]


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """A filled workspace that no test changes."""
    ws = Workspace.create(tmp_path_factory.mktemp("filled") / "flights")
    yield fill(ws, requests=1200)
    ws.close()


@pytest.fixture
def copy(filled: Filled, tmp_path: Path) -> Iterator[Filled]:
    """A copy of it that a test may change."""
    shutil.copytree(filled.ws.folder, tmp_path / "flights" / ".bascule")
    ws = Workspace.open(tmp_path / "flights")
    yield Filled(**{**vars(filled), "ws": ws})
    ws.close()


@pytest.fixture
def serve() -> Serve:
    """Makes a client of a server, on loopback unless the settings say otherwise."""

    def make(ws: Workspace, token: str = "", **settings: object) -> TestClient:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        app = create_app(ws, ServerSettings(**settings))  # type: ignore[arg-type]
        return TestClient(app, base_url="http://127.0.0.1:7400", headers=headers, follow_redirects=False)

    return make


@pytest.fixture
def client(filled: Filled, serve: Serve) -> TestClient:
    """A client of a server over the shared workspace."""
    return serve(filled.ws)
