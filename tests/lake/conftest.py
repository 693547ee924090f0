"""What the lake's tests stand on: a workspace with a lake, and ways to look into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bascule.history import Workspace
from bascule.lake import Lake, engine


@pytest.fixture
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lake]:
    """An empty lake on disk; a test that is marked with `samples.everywhere` gets one in object storage too."""
    storage = request.getfixturevalue("s3") if getattr(request, "param", "disk") == "s3" else ""
    made = Workspace.create(tmp_path / "project", storage=storage)
    yield Lake(made)
    made.close()


@pytest.fixture
def client(lake: Lake, request: pytest.FixtureRequest) -> dict[str, str]:
    """What another engine's client is told to find the lake."""
    return {} if isinstance(lake.folder, Path) else {"s3.endpoint": request.getfixturevalue("s3_server")}


@pytest.fixture
def read() -> Callable[[str], list[dict[str, Any]]]:
    """Rows of SQL text for FROM, sorted as text so that order does not matter."""

    def rows(source: str) -> list[dict[str, Any]]:
        with engine.opened() as connection:
            found = connection.sql(f"SELECT * FROM {source}").to_arrow_table().to_pylist()
        return sorted(found, key=repr)

    return rows


@pytest.fixture
def connection() -> Any:
    with engine.opened() as opened:
        yield opened
