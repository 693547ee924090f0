"""Upserts: against a dict, beside other writers, with bad keys, and killed on the way."""

from __future__ import annotations

import datetime as dt
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.lake.samples import everything_in, everywhere, names_in, people, state

from bascule.errors import Conflict, InputError, NotFound
from bascule.history import Workspace
from bascule.lake import Lake, engine
from bascule.lake.doctor import check
from bascule.lake.iceberg import snapshots

Read = Callable[[str], list[dict[str, Any]]]


@pytest.mark.slow
@everywhere
def test_known_keys_are_replaced_and_others_added(lake: Lake) -> None:
    for start in (0, 10, 20):
        lake.append("people", people("ann", "bob", start=start), key=["id"])
    before = {f.path for f in lake.files(state(lake, "people"))}
    done = lake.upsert("people", pa.table({"id": [11, 30], "name": ["new", "more"], "score": [1.0, 2.0]}))
    assert (done.added, done.replaced, done.unchanged) == (1, 1, 0)
    assert done.commit is not None
    assert done.commit.id == lake.workspace.history.resolve("main").id
    value = state(lake, "people")
    assert done.value == value
    rows = zip(names_in(lake, value, "id"), names_in(lake, value), strict=True)
    wanted = [(0, "ann"), (1, "bob"), (10, "ann"), (11, "new"), (20, "ann"), (21, "bob"), (30, "more")]
    assert sorted(rows) == wanted
    assert len(before & {f.path for f in lake.files(value)}) == 2  # only the file that held it was written again
    assert not check(lake.workspace).orphans


@pytest.mark.slow
@everywhere
def test_rows_that_are_there_already_are_left_alone(lake: Lake) -> None:
    lake.append("people", people("ann", "bob", "cyd"), key=["id"])
    head, before = lake.workspace.history.resolve("main").id, everything_in(lake.folder)
    done = lake.upsert("people", people("ann", "bob", "cyd"))
    assert (done.added, done.replaced, done.unchanged, done.commit) == (0, 0, 3, None)
    assert lake.workspace.history.resolve("main").id == head
    assert everything_in(lake.folder) == before
    done = lake.upsert("people", people("ann", "eve", "cyd", "dot"))
    assert (done.added, done.replaced, done.unchanged) == (1, 1, 2)
    assert sorted(names_in(lake, state(lake, "people"))) == ["ann", "cyd", "dot", "eve"]
    assert not check(lake.workspace).orphans


@pytest.mark.slow
def test_the_key_may_be_given_and_be_of_several_columns(lake: Lake, read: Read) -> None:
    lake.append("t", pa.table({"a": [1, 1, 2], "b": ["x", "y", "x"], "v": [1, 2, 3]}))
    with pytest.raises(InputError, match="has no key") as raised:
        lake.upsert("t", pa.table({"a": [1], "b": ["y"], "v": [20]}))
    assert "key=" in raised.value.hint
    lake.upsert("t", pa.table({"B": ["y", "z"], "v": [20, 40], "a": [1, 1]}), key=["A", "b"])
    assert read(lake.scan(state(lake, "t"))) == [
        {"a": 1, "b": "x", "v": 1},
        {"a": 1, "b": "y", "v": 20},
        {"a": 1, "b": "z", "v": 40},
        {"a": 2, "b": "x", "v": 3},
    ]
    with pytest.raises(NotFound, match="nope"):
        lake.upsert("t", pa.table({"a": [1], "b": ["y"], "v": [20]}), key=["nope"])


def test_times_in_rows_that_are_refused_are_shown_as_sql_writes_them(lake: Lake) -> None:
    moments = pa.table({"at": pa.array([dt.datetime(2024, 1, 2, tzinfo=dt.UTC)] * 2, pa.timestamp("us", "UTC"))})
    lake.append("m", moments.slice(0, 1), key=["at"])
    with pytest.raises(InputError, match=r"among the rows for table 'm': at = 2024-01-02 00:00:00\+00:00\."):
        lake.upsert("m", moments)


@pytest.mark.slow
@everywhere
def test_keys_that_say_nothing_are_refused_with_the_rows(lake: Lake) -> None:
    lake.append("people", people("ann"), key=["id"])
    before = everything_in(lake.folder)
    twice = pa.table({"id": [7, 8, 7], "name": ["x", "y", "z"], "score": [1.0, 2.0, 3.0]})
    with pytest.raises(InputError, match=r"1 key is more than once .*: id = 7\..*name = 'x'.*name = 'z'"):
        lake.upsert("people", twice)
    missing = pa.table({"id": [7, None], "name": ["x", "y"], "score": [1.0, 2.0]})
    with pytest.raises(InputError, match=r"1 of the rows .* no value in its key .*name = 'y'"):
        lake.upsert("people", missing)
    with pytest.raises(InputError, match="lack the column"):
        lake.upsert("people", people("x").drop_columns(["name"]))
    with pytest.raises(NotFound, match="peple"):
        lake.upsert("peple", people("x"))
    assert everything_in(lake.folder) == before


def test_new_columns_come_along_when_that_is_asked_for(lake: Lake, read: Read) -> None:
    lake.append("t", pa.table({"id": [1, 2], "v": [1, 2]}), key=["id"])
    lake.upsert("t", pa.table({"id": [2, 3], "v": [2, 3], "w": ["b", "c"]}), evolve=True)
    assert read(lake.scan(state(lake, "t"))) == [
        {"id": 1, "v": 1, "w": None},
        {"id": 2, "v": 2, "w": "b"},
        {"id": 3, "v": 3, "w": "c"},
    ]


def test_a_key_that_the_table_has_twice_is_put_right(lake: Lake) -> None:
    lake.append("people", people("ann", "bob"), key=["id"])
    lake.append("people", people("ann", "bob"))
    assert lake.upsert("people", people("ann")).replaced == 1
    assert sorted(names_in(lake, state(lake, "people"))) == ["ann", "bob", "bob"]


@pytest.mark.slow
def test_keys_of_every_kind_find_their_row(lake: Lake) -> None:
    import datetime as dt
    from decimal import Decimal

    values: dict[str, list[Any]] = {
        "float": [1.5, math.nan, math.inf],
        "text": ["a" * 40, "a" * 39 + "b", "\U0010ffff" * 20],
        "at": [
            dt.datetime(1960, 1, 1, tzinfo=dt.UTC),
            dt.datetime(2024, 2, 29, 1, tzinfo=dt.UTC),
            dt.datetime.max.replace(tzinfo=dt.UTC),
        ],
        "day": [dt.date(1, 1, 1), dt.date(1970, 1, 1), dt.date(9999, 1, 1)],
        "amount": [Decimal("-1.50"), Decimal("0.00"), Decimal("99.99")],
        "bytes": [b"", b"\xff" * 30, b"\x00"],
        "flag": [True, False],
    }
    for name, keys in values.items():
        old = pa.table({"k": keys, "v": [0] * len(keys)})
        lake.append(name, old, key=["k"])
        for number, key in enumerate(keys, 1):
            done = lake.upsert(name, pa.table({"k": pa.array([key], old.schema.field("k").type), "v": [number]}))
            assert (done.added, done.replaced) == (0, 1), (name, key)
        assert sorted(names_in(lake, state(lake, name), "v")) == list(range(1, len(keys) + 1))


@pytest.mark.slow
@everywhere
def test_rows_that_come_meanwhile_are_looked_at_too(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.append("people", people("ann"), key=["id"])
    replace = snapshots.replace

    def slow(*args: Any, **named: Any) -> Any:
        monkeypatch.setattr(snapshots, "replace", replace)
        Lake(lake.workspace).append("people", people("bob", start=1))
        return replace(*args, **named)

    monkeypatch.setattr(snapshots, "replace", slow)
    done = lake.upsert("people", people("eva", "fay", "gus"))
    assert (done.added, done.replaced) == (1, 2)
    assert sorted(names_in(lake, state(lake, "people"))) == ["eva", "fay", "gus"]
    assert not check(lake.workspace).orphans


def test_columns_that_change_meanwhile_are_a_conflict(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.append("people", people("ann"), key=["id"])
    replace = snapshots.replace

    def slow(*args: Any, **named: Any) -> Any:
        monkeypatch.setattr(snapshots, "replace", replace)
        other = lake.stage_columns(state(lake, "people"), add=[pa.field("y", pa.int32())])
        lake.workspace.history.commit("main", {"tables/people": other}, message="m")
        return replace(*args, **named)

    monkeypatch.setattr(snapshots, "replace", slow)
    with pytest.raises(Conflict, match="columns"):
        lake.upsert("people", people("eva").append_column("x", pa.array([1])), evolve=True)
    assert names_in(lake, state(lake, "people")) == ["ann"]
    assert not check(lake.workspace).orphans


@pytest.mark.slow
def test_a_stream_of_rows_goes_in_by_pieces(lake: Lake) -> None:
    with engine.opened() as connection:
        lake.append("t", connection.sql("SELECT range AS id, range AS v FROM range(300000)"), key=["id"])
        rows = connection.sql("SELECT range AS id, -range AS v FROM range(150000, 450000)")
        done = lake.upsert("t", rows)
        assert (done.added, done.replaced, done.unchanged) == (150_000, 150_000, 0)
        found = connection.execute(f"SELECT count(*), sum(v)::BIGINT FROM {lake.scan(state(lake, 't'))}").fetchall()
    assert found == [(450_000, sum(range(150_000)) - sum(range(150_000, 450_000)))]


def plain(value: float | None) -> str:
    """A value as DuckDB tells values apart: NaN is itself, and there is one zero."""
    return str(value if value is None else value + 0.0)


KEYS = st.integers(-4, 4)
VALUES = st.none() | st.floats(allow_nan=True, width=16) | st.integers(-2, 2).map(float)
BATCHES = st.lists(
    st.tuples(st.sampled_from(["upsert", "delete", "append"]), st.dictionaries(KEYS, VALUES, max_size=6)),
    min_size=1,
    max_size=6,
)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches=BATCHES)
def test_upserts_do_what_a_dict_does(batches: list[tuple[str, dict[int, float | None]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.create(Path(folder) / "w")
        lake, model = Lake(workspace), dict[int, float | None]()
        value = lake.stage_create("t", pa.schema([("k", pa.int64()), ("v", pa.float64())]), key=["k"])
        for what, rows in batches:
            if what == "append":
                rows = {key: v for key, v in rows.items() if key not in model}
            table = pa.table({"k": pa.array(list(rows), pa.int64()), "v": pa.array(list(rows.values()), pa.float64())})
            if what == "delete":
                value = lake.stage_delete(value, f"k IN ({', '.join(map(str, [*rows, 99]))})")
                model = {key: v for key, v in model.items() if key not in rows}
                continue
            if what == "append":
                value = lake.stage_append(value, table, name="t")
            else:
                done = lake.stage_upsert(value, table, name="t")
                same = sum(1 for key, v in rows.items() if key in model and plain(model[key]) == plain(v))
                known = sum(1 for key in rows if key in model)
                assert (done.added, done.replaced, done.unchanged) == (len(rows) - known, known - same, same)
                value = done.value
            model |= rows
        with engine.opened() as connection:
            found = connection.execute(f"SELECT k, v FROM {lake.scan(value)}").fetchall()
        assert len(found) == len(model) == value["rows"]
        assert {k: plain(v) for k, v in found} == {k: plain(v) for k, v in model.items()}
        workspace.close()
