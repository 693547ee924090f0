"""What happened to the values of columns: figures against NumPy and SciPy, and what is read for them."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.lake.iceberg.test_engine import delete_file, with_deletes
from tests.lake.samples import everywhere

from bascule.lake import ColumnDiff, Lake, TableDiff, engine
from bascule.lake.comparing import diffs, shift, values
from bascule.lake.objects import Object

FLOATS = st.floats(allow_nan=True, allow_infinity=False, width=32)


def overwritten(lake: Lake, before: pa.Table, after: pa.Table, key: tuple[str, ...] = ("id",)) -> tuple[Object, Object]:
    value = lake.stage_append(None, before, name="t", key=key)
    return value, lake.stage_overwrite(value, after, name="t")


def column(diff: TableDiff, name: str) -> ColumnDiff:
    return next(one for one in diff.values if one.column == name)


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.integers(0, 9), max_size=30), st.lists(st.integers(0, 9), max_size=30))
def test_the_shift_of_numbers_is_what_scipy_says(a: list[int], b: list[int]) -> None:
    stats = pytest.importorskip("scipy.stats")
    found = shift.of_numbers(np.sort(np.array(a)), np.sort(np.array(b)))
    if not a or not b:
        assert found is None
    else:
        with warnings.catch_warnings(action="ignore"):  # of its p-value, which nobody asked for
            assert found == pytest.approx(stats.ks_2samp(a, b, method="asymp").statistic)


@pytest.mark.slow
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    old=st.lists(st.tuples(st.none() | FLOATS, st.sampled_from([None, "a", "b", "c"])), min_size=1, max_size=20),
    new=st.lists(st.tuples(st.none() | FLOATS, st.sampled_from([None, "a", "b", "c"])), min_size=1, max_size=20),
)
def test_figures_of_the_whole_table(lake: Lake, old: list[Any], new: list[Any]) -> None:
    tables = [
        pa.table(
            {
                "id": pa.array(range(len(rows)), pa.int64()),
                "x": pa.array([x for x, _ in rows], pa.float64()),
                "c": pa.array([c for _, c in rows], pa.string()),
            }
        )
        for rows in (old, new)
    ]
    diff = lake.diff(*overwritten(lake, *tables), whole=True)
    if diff.empty:
        return
    x, c = column(diff, "x").table, column(diff, "c").table
    for profile, rows in ((x.before, old), (x.after, new)):
        real = sorted(v for v, _ in rows if v is not None and not math.isnan(v))
        assert profile.nulls == sum(v is None for v, _ in rows)
        assert profile.nans == sum(v is not None and math.isnan(v) for v, _ in rows)
        assert (profile.min, profile.max) == ((real[0], real[-1]) if real else (None, None))
        assert profile.mean == (pytest.approx(np.mean(real)) if real else None)
        expected = np.quantile(real, shift.QUANTILES, method="inverted_cdf").tolist() if real else []
        assert list(profile.quantiles) == expected
    shares = [Counter(c for _, c in rows) for rows in (old, new)]
    distance = sum(abs(shares[0][v] / len(old) - shares[1][v] / len(new)) for v in (None, "a", "b", "c")) / 2
    assert c.shift is not None
    assert c.shift.value == pytest.approx(distance)
    for moved in c.shift.moved:
        assert (moved.before, moved.after) == (shares[0][moved.value] / len(old), shares[1][moved.value] / len(new))


def test_a_shift_among_the_rows_that_differ_is_one_of_the_whole_table(lake: Lake) -> None:
    """What is in the module's docstring: n of N rows that differ shift the whole by n / N as much."""
    number, other = np.arange(1000.0), np.where(np.arange(1000) % 10 == 0, np.arange(1000) + 300.0, np.arange(1000))
    tables = [pa.table({"id": np.arange(1000), "x": x, "c": np.where(x > 900, "a", "b")}) for x in (number, other)]
    diff = lake.diff(*overwritten(lake, *tables), whole=True)
    assert diff.changed == 100
    for name in ("x", "c"):
        one = column(diff, name)
        assert one.rows.shift is not None
        assert one.table.shift is not None
        assert one.table.shift.value == pytest.approx(one.rows.shift.value * 0.1)


def test_times_and_truths(lake: Lake) -> None:
    before = {
        "id": [1, 2],
        "at": [datetime(2026, 1, 1, tzinfo=UTC)] * 2,
        "day": [date(2026, 1, 1)] * 2,
        "ok": [True, False],
    }
    after = before | {
        "at": [datetime(2026, 1, 2, tzinfo=UTC)] * 2,
        "day": [date(1, 1, 1), date(9999, 12, 31)],
        "ok": [True, True],
    }
    diff = lake.diff(*overwritten(lake, pa.table(before), pa.table(after)))
    assert column(diff, "at").rows.after.quantiles == (datetime(2026, 1, 2, tzinfo=UTC),) * 5
    assert column(diff, "at").rows.shift == shift.Shift("kolmogorov_smirnov", 1.0)
    assert (column(diff, "day").rows.after.min, column(diff, "day").rows.after.max) == (date.min, date.max)
    assert (column(diff, "ok").changed, column(diff, "ok").table.before.mean, column(diff, "ok").table.after.mean) == (
        1,
        0.5,
        1.0,
    )


@pytest.mark.slow
@everywhere
def test_a_large_table_is_told_from_its_manifests_unless_it_is_asked_for_whole(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffs, "SMALL", 10)
    before = lake.stage_append(
        None, pa.table({"id": range(50), "x": [None, 1.5] * 25, "s": ["a"] * 50}), name="t", key=["id"]
    )
    after = lake.stage_append(before, pa.table({"id": range(50, 60), "x": [9.5] * 10, "s": ["b"] * 10}), name="t")
    after = lake.stage_columns(after, add=[pa.field("new", pa.int32())])
    diff = lake.diff(before, after)
    assert (diff.whole, diff.added, diff.files_read, diff.files_shared) == (False, 10, 1, 1)
    told = column(diff, "x").table
    assert (told.before.rows, told.before.nulls, told.before.min, told.before.max) == (50, 25, 1.5, 1.5)
    assert (told.after.rows, told.after.nulls, told.after.max, told.after.mean) == (60, 25, 9.5, None)
    assert column(diff, "new").table.after.nulls == 60
    assert (column(diff, "s").table.after.nulls, column(diff, "s").table.after.max) == (0, None)
    whole = lake.diff(before, after, whole=True)
    assert column(whole, "x").table.after.mean == pytest.approx((25 * 1.5 + 95) / 35)
    assert not lake.diff(before, after, profile=False).values


def test_what_is_drawn_is_the_same_on_both_sides(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that did not change cancel in a sample too: a small change is not drowned by chance."""
    monkeypatch.setattr(values, "SAMPLE", 500)
    chance = np.random.default_rng(3)
    data = {"id": np.arange(5000), "x": chance.normal(size=5000), "c": chance.integers(0, 500, 5000).astype(str)}
    other = data | {
        "x": np.where(data["id"] % 50 == 0, 100.0, data["x"]),
        "c": np.where(data["id"] % 50 == 0, "z", data["c"]),
    }
    diff = lake.diff(*overwritten(lake, pa.table(data), pa.table(other)), whole=True)
    for name in ("x", "c"):
        told = column(diff, name).table
        assert not told.exact
        assert told.shift is not None
        assert told.shift.value == pytest.approx(0.02, abs=0.015)
    assert column(diff, "id").table.shift == shift.Shift("kolmogorov_smirnov", 0.0)
    assert column(diff, "x").rows.exact


class TestFiles:
    """Only what differs is read."""

    def test_files_of_equal_content_are_not_read(self, lake: Lake) -> None:
        data = pa.table({"id": range(9)})
        before, after = overwritten(lake, data, data)
        diff = lake.diff(before, after)
        assert (diff.files_read, diff.empty) == (0, True)
        again = lake.stage_append(None, data, name="t", key=["id"])
        assert (lake.diff(before, again).files_read, lake.diff(before, again).empty) == (0, True)

    def test_a_file_of_which_another_engine_deleted_rows_is_read(self, lake: Lake) -> None:
        value = lake.stage_append(None, pa.table({"id": range(5), "x": range(5)}), name="t", key=["id"])
        value = lake.stage_append(value, pa.table({"id": range(5, 9), "x": range(4)}), name="t")
        table = lake.table(value, "t")
        first = str(table.data_files()[0].path)
        deleted = with_deletes(table, delete_file(table, [(first, 1), (first, 3)]))
        after = lake.adopt(deleted.path, "t")
        diff = lake.diff(value, after)
        assert (diff.added, diff.removed, diff.changed, diff.rows_after) == (0, 2, 0, 7)
        assert [one.before["id"] for one in diff.sample if one.before] == [1, 3]
        assert diff.files_read == 2
        assert lake.diff(after, value).added == 2
        assert lake.diff(after, after).empty

    @pytest.mark.slow
    def test_rows_merge_with_those_that_another_engine_deleted(self, lake: Lake) -> None:
        base = lake.stage_append(None, pa.table({"id": range(5), "x": range(5)}), name="t", key=["id"])
        table = lake.table(base, "t")
        deleted = with_deletes(table, delete_file(table, [(str(table.data_files()[0].path), 1)]))
        theirs = lake.adopt(deleted.path, "t")
        ours = lake.stage_delete(base, "id = 2")
        for sides in ((ours, theirs), (theirs, ours)):
            merged, _ = lake.merge_rows(base, *sides)
            assert merged is not None
            with engine.opened() as connection:
                found = connection.sql(f"SELECT id FROM {lake.scan(merged)} ORDER BY 1").fetchall()
            assert found == [(0,), (3,), (4,)]
            assert merged["rows"] == 3


@pytest.mark.slow
def test_five_hundred_columns(lake: Lake) -> None:
    data = {"id": np.arange(50)} | {f"c{n}": np.arange(50) + n for n in range(500)}
    before, after = overwritten(lake, pa.table(data), pa.table(data | {"c7": np.arange(50)}))
    diff = lake.diff(before, after)
    assert (diff.changed, len(diff.values)) == (50, 501)
    assert [one.column for one in diff.values if one.changed] == ["c7"]
    assert {one.columns for one in diff.sample} == {("c7",)}


def test_keys_that_are_there_twice_or_null(lake: Lake) -> None:
    before = pa.table({"id": [1, 2, 2, None, 4], "x": ["a", "b", "c", "d", "e"]})
    after = pa.table({"id": [1, 2, 2, None, 5], "x": ["A", "b", "C", "D", "e"]})
    diff = lake.diff(*overwritten(lake, before, after))
    assert (diff.added, diff.removed, diff.changed, diff.repeated_keys) == (2, 2, 2, 1)
    assert diff.matched_by == ("id",)
