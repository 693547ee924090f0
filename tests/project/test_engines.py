"""What joins features says what is wrong with the rows, whenever it meets it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from bascule.errors import InputError
from bascule.features import Entity, FeatureView, build_feature_set
from bascule.history import Workspace
from bascule.lake import Lake
from bascule.project.engines import engine_rows
from bascule.project.tables import opened_tables

MOST = 2**64 - 1


def joined(workspace: Workspace, key: str, **of_view: Any) -> list[dict[str, Any]]:
    commit = workspace.history.resolve("main")
    view = FeatureView(name="v", entity="k", event_time="t", **of_view)
    asked = f"select {key} as k, timestamp '2025-01-02' as at"
    with opened_tables(workspace, commit, ["events"]) as connection:
        entities = [Entity("k", ("k",))]
        made = build_feature_set(
            connection, name="s", entities=entities, views=[view], population=asked, prediction_time="at"
        )
        with engine_rows(workspace, commit, connection, made, asked, None) as rows:
            return rows.to_arrow_table().to_pylist()


@pytest.mark.parametrize("of_view", [{}, {"windows": ("2d",), "aggregates": {"n": "count(*)"}}])
def test_rows_that_no_feature_holds_are_told_by_column_and_are_no_bug(
    local_workspace: Workspace, of_view: dict[str, Any]
) -> None:
    """The lake has no type for UBIGINT, and keeps it as a DECIMAL; what says so is found at different moments."""
    events = {"k": pa.array([MOST], pa.uint64()), "x": ["7"]}
    table = pa.table(events).append_column("t", pa.array([1_735_689_600_000_000], pa.timestamp("us")))
    Lake(local_workspace).append("events", table)
    with pytest.raises(InputError, match=r"column 'k' has a value of more digits .*CAST it in the SQL to UBIGINT"):
        joined(local_workspace, f"{MOST}::decimal(20, 0)", sql="from events", **of_view)
    sql = "select k::ubigint as k, t, x::int as x from events"
    [row] = joined(local_workspace, f"{MOST}::ubigint", sql=sql, **of_view)
    assert (row["k"], row.get("v__x", 7), row.get("v__n_2d", 1)) == (MOST, 7, 1)


def test_sql_that_fails_on_the_rows_is_told(local_workspace: Workspace) -> None:
    table = pa.table({"k": pa.array([1, 2], pa.int64()), "x": ["7", "seven"]})
    table = table.append_column("t", pa.array([0, 0], pa.timestamp("us")))
    Lake(local_workspace).append("events", table)
    with pytest.raises(InputError, match=r"features cannot be computed: .*seven"):
        joined(local_workspace, "unnest([1, 2])::bigint", sql="select k, t, x::int as x from events")
