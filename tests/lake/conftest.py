"""What the lake's tests stand on: a workspace with a lake, and ways to look into it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bascule.history import Workspace
from bascule.lake import Lake, engine


@pytest.fixture
def lake(local_workspace: Workspace) -> Lake:
    return Lake(local_workspace)


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
