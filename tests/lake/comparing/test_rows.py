"""Which rows differ, against a naive comparison in Python, for every type of value that a table can hold."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bascule.history import Workspace
from bascule.lake import Lake, TableDiff

Row = dict[str, Any]

# Few values of each type, and the awkward ones, so that rows meet.
TYPES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "whole": (pa.int64(), [None, 0, 1, -(2**63), 2**63 - 1]),
    "small": (pa.int32(), [None, 0, 7]),
    "real": (pa.float64(), [None, 0.0, -0.0, float("nan"), float("inf"), 1.5]),
    "single": (pa.float32(), [None, 0.5, float("nan"), -0.0, 0.0]),
    "exact": (pa.decimal128(38, 4), [None, Decimal("0.0001"), Decimal("9" * 34)]),
    "truth": (pa.bool_(), [None, True, False]),
    "text": (pa.string(), [None, "", "NULL", "a\x00b", "<script>", "é", "long " * 5000]),
    "day": (pa.date32(), [None, date(1, 1, 1), date(9999, 12, 31)]),
    "clock": (pa.time64("us"), [None, time(0), time(23, 59, 59, 999999)]),
    "moment": (pa.timestamp("us", "UTC"), [None, datetime(1969, 12, 31, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)]),
    "bytes": (pa.binary(), [None, b"", b"\x00\xff"]),
    "list": (pa.list_(pa.float64()), [None, [], [None], [float("nan")], [0.0], [-0.0]]),
    "struct": (pa.struct([("x", pa.int64()), ("y", pa.string())]), [None, {"x": None, "y": None}, {"x": 1, "y": ""}]),
    "map": (pa.map_(pa.string(), pa.int64()), [None, [], [("a", 1)], [("a", None)]]),
}


def plain(value: Any) -> Any:
    """A value as something that can be counted, equal where SQL calls values the same."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    if isinstance(value, dict):
        return ("struct", *((name, plain(value[name])) for name in sorted(value)))
    if isinstance(value, list | tuple):
        return ("list", *(plain(one) for one in value))
    return value


def naive(before: Sequence[Row], after: Sequence[Row], key: Sequence[str]) -> tuple[int, int, int]:
    """How many rows were added, removed and changed."""
    added = removed = changed = 0
    sides = []
    for rows in (before, after):
        groups: dict[Any, list[Any]] = {}
        for row in rows:
            groups.setdefault(tuple(plain(row[name]) for name in key), []).append(plain(row))
        sides.append(groups)
    for one in sides[0].keys() | sides[1].keys():
        old, new = (side.get(one, []) for side in sides)
        if key and len(old) == len(new) == 1:
            changed += old != new
        else:
            left, right = Counter(old), Counter(new)
            added += (right - left).total()
            removed += (left - right).total()
    return added, removed, changed


@pytest.fixture(scope="module")
def lake() -> Iterator[Lake]:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.create(Path(folder) / "w")
        yield Lake(workspace)
        workspace.close()


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[str], list[str], list[list[Row]]]:
    """Columns, a key of some of them or none, and files of rows: kept by both states, only before, only after."""
    columns = draw(st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=4, unique=True))
    key = draw(st.lists(st.sampled_from(columns), max_size=2, unique=True))
    row = st.fixed_dictionaries({name: st.sampled_from(TYPES[name][1]) for name in columns})
    return columns, key, [draw(st.lists(row, max_size=5)) for _ in range(3)]


def table(columns: Sequence[str], rows: Sequence[Row]) -> pa.Table:
    return pa.table({name: pa.array([row[name] for row in rows], TYPES[name][0]) for name in columns})


def check(lake: Lake, before: Any, after: Any, rows: Sequence[Sequence[Row]], key: Sequence[str]) -> TableDiff:
    diff = lake.diff(before, after, limit=100, whole=True)
    assert (diff.added, diff.removed, diff.changed) == naive(rows[0], rows[1], key)
    assert (diff.rows_before, diff.rows_after) == (len(rows[0]), len(rows[1]))
    assert Counter(one.kind for one in diff.sample) == {
        kind: count for kind in ("added", "removed", "changed") if (count := getattr(diff, kind))
    }
    for one in diff.sample:
        assert one.before is None or plain(one.before) in [plain(row) for row in rows[0]]
        assert one.after is None or plain(one.after) in [plain(row) for row in rows[1]]
        if one.before is not None and one.after is not None:
            different = {name for name in one.after if plain(one.before[name]) != plain(one.after[name])}
            assert set(one.columns) == different
    for column in diff.values:
        changed = [one for one in diff.sample if column.column in one.columns]
        assert column.changed == len(changed)
        for profile, side in ((column.table.before, rows[0]), (column.table.after, rows[1])):
            assert profile.nulls == sum(row[column.column] is None for row in side)
    return diff


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_any_two_states_of_a_table(lake: Lake, case: tuple[list[str], list[str], list[list[Row]]]) -> None:
    columns, key, (both, old, new) = case
    base = lake.stage_append(None, table(columns, both), name="t", key=key)
    before = lake.stage_append(base, table(columns, old), name="t") if old else base
    after = lake.stage_append(base, table(columns, new), name="t") if new else base
    diff = lake.diff(before, after)
    if not key or not (old and new):
        # Files that both have are not read: that a key is in them too, nobody sees.
        check(lake, before, after, (both + old, both + new), ())
    else:
        expected = naive(old, new, key)
        assert (diff.added, diff.removed, diff.changed) == expected
    check(lake, base, lake.stage_overwrite(base, table(columns, new), name="t"), (both, new), key)


@pytest.mark.slow
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_a_table_in_the_place_of_another(lake: Lake, case: tuple[list[str], list[str], list[list[Row]]]) -> None:
    columns, key, (_, old, new) = case
    before = lake.stage_append(None, table(columns, old), name="t", key=key)
    after = lake.stage_append(None, table(columns[::-1], new), name="t", key=key)
    diff = check(lake, before, after, (old, new), key if old and new else ())
    assert diff.replaced
    assert check(lake, None, after, ((), new), ()).added == len(new)
    assert check(lake, before, None, (old, ()), ()).removed == len(old)
