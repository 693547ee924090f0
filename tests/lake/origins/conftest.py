"""A table that rows are brought into, as the project room does it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bascule.history import Workspace
from bascule.lake import Lake
from bascule.lake.engine import opened
from bascule.lake.origins import Options
from bascule.project.batches import Batch, bring_in


@pytest.fixture
def bring(local_workspace: Workspace) -> Callable[..., Batch]:
    """Bring a source into the table `t` of main."""

    def call(source: str | Path, *, query: str = "", cursor: str = "", more: Any = None, **told: Any) -> Batch:
        table = told.pop("table", "t")
        return bring_in(local_workspace, table, source, "main", options=Options(query, cursor, more or {}), **told)

    return call


@pytest.fixture
def rows(local_workspace: Workspace) -> Callable[..., list[tuple[Any, ...]]]:
    """The rows of a query over the table `t` of main."""

    def call(query: str = "select * from t order by all") -> list[tuple[Any, ...]]:
        with opened() as connection:
            scan = Lake(local_workspace).scan(local_workspace.history.get("main", "tables/t"))
            table = connection.sql(f"with t as (from {scan}) {query}").to_arrow_table()
            return [tuple(row.values()) for row in table.to_pylist()]

    return call


@pytest.fixture
def quarantine(local_workspace: Workspace) -> Callable[[], list[dict[str, Any]]]:
    """What was set aside, in the order of the lines."""

    def call() -> list[dict[str, Any]]:
        from bascule.lake.quarantined import NAME, SCHEMA
        from bascule.lake.records import RecordTable

        with opened() as connection:
            scan = RecordTable(local_workspace, NAME, SCHEMA).scan()
            found: list[dict[str, Any]] = (
                connection.sql(f"from {scan} order by file, line").to_arrow_table().to_pylist()
            )
            return found

    return call
