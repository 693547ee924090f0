"""Merging two states of a table row by row, against a naive merge of two dicts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.lake.samples import everywhere, read

from bascule.history import Workspace
from bascule.lake import Lake, engine, ingest
from bascule.lake.doctor import check
from bascule.lake.objects import Object
from bascule.lake.rowmerge import Unmergeable

State = dict[int | None, tuple[Any, Any]]
SCHEMA = pa.schema([("id", pa.int64()), ("x", pa.float64()), ("y", pa.string())])


@pytest.fixture(scope="module")
def shared() -> Iterator[Lake]:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.create(Path(folder) / "w")
        yield Lake(workspace)
        workspace.close()


def table(rows: State) -> pa.Table:
    return pa.table([list(rows), [x for x, _ in rows.values()], [y for _, y in rows.values()]], schema=SCHEMA)


def rows_of(lake: Lake, value: Object) -> State:
    found = read(f"SELECT id, x, y FROM {lake.scan(value)}").to_pylist()
    assert len({row["id"] for row in found}) == len(found)
    assert value["rows"] == len(found)
    return {row["id"]: (row["x"], row["y"]) for row in found}


def upsert(lake: Lake, value: Object, rows: State) -> Object:
    """Put rows in the place of those with their keys."""
    if not rows:
        return value
    terms = ["id IS NULL" if key is None else f"id = {key}" for key in rows]
    return lake.stage_append(lake.stage_delete(value, " OR ".join(terms)), table(rows), name="t")


def changed(lake: Lake, value: Object, ops: Sequence[tuple[str, Any]]) -> Object:
    for op, argument in ops:
        if op == "delete":
            terms = ["id IS NULL" if key is None else f"id = {key}" for key in argument]
            value = lake.stage_delete(value, " OR ".join(terms) or "false")
        elif op == "upsert":
            value = upsert(lake, value, argument)
        else:
            value = lake.stage_overwrite(value, table(rows_of(lake, value) | argument), name="t")
    return value


def naive(base: State, ours: State, theirs: State, settle: str | None, cells: bool) -> tuple[State, set[Any]]:
    """The merged rows, and the keys in conflict."""
    merged, clashes = dict(ours), set()
    for key in base.keys() | theirs.keys():
        old, mine, other = base.get(key), ours.get(key), theirs.get(key)
        if other in (old, mine):
            continue
        taken = other
        if mine != old:
            columns = list(zip(old, mine, other, strict=True)) if old and mine and other else []
            if cells and columns and all(b in (o, t) or o == t for b, o, t in columns):
                taken = tuple(t if o == b else o for b, o, t in columns)
            elif settle is None:
                clashes.add(key)
                continue
            elif settle == "ours":
                continue
        if taken is None:
            merged.pop(key, None)
        else:
            merged[key] = taken
    return merged, clashes


KEYS = st.sampled_from([None, 0, 1, 2, 3, 4, 5])
VALUES = st.tuples(st.sampled_from([None, 0.0, 1.0]), st.sampled_from([None, "a", "b"]))
STATES = st.dictionaries(KEYS, VALUES, max_size=4)
OPS = st.lists(
    st.one_of(
        st.tuples(st.just("delete"), st.lists(KEYS, max_size=2)),
        st.tuples(st.just("upsert"), STATES),
        st.tuples(st.just("overwrite"), STATES),
    ),
    max_size=3,
)


SIDES = given(
    files=st.lists(STATES, min_size=1, max_size=3),
    mine=OPS,
    other=OPS,
    settle=st.sampled_from([None, "ours", "theirs"]),
    cells=st.booleans(),
)


@pytest.mark.slow
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@SIDES
def test_any_two_sides(shared: Lake, **sides: Any) -> None:
    check_sides(shared, **sides)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@SIDES
def test_many_pairs_of_sides(shared: Lake, **sides: Any) -> None:
    check_sides(shared, **sides)


def check_sides(lake: Lake, files: list[State], mine: Any, other: Any, settle: Any, cells: bool) -> None:
    """Merge what two sides made of a table, and hold it to the naive merge."""
    base = lake.stage_append(None, table({}), name="t", key=["id"])
    for file in files:
        base = upsert(lake, base, file)
    ours, theirs = changed(lake, base, mine), changed(lake, base, other)
    states = [rows_of(lake, value) for value in (base, ours, theirs)]
    expected, clashes = naive(*states, settle, cells)
    told: list[Any] = []
    merged, done = lake.merge_rows(base, ours, theirs, settle=settle, cells=cells, tell=told.append)
    assert {conflict.key["id"] for conflict in told} == clashes
    assert done.conflicts == len(clashes) == len(told)
    for conflict in told:
        for side, state in zip((conflict.base, conflict.ours, conflict.theirs), states, strict=True):
            row = state.get(conflict.key["id"])
            assert (side is None) == (row is None)
            assert side is None or row is None or (side["x"], side["y"]) == row
    if clashes:
        assert merged is None
        return
    assert merged is not None
    assert rows_of(lake, merged) == expected
    # A file that only one side touched is kept as it is.
    paths = [{file.path for file in lake.files(value)} for value in (base, ours, theirs, merged)]
    untouched = paths[0] & paths[1] & paths[2]
    assert untouched <= paths[3]
    if not (paths[0] - paths[1]) & (paths[0] - paths[2]) and done.incoming and not done.rewritten:
        assert (paths[1] - paths[0]) <= paths[3]


class TestFiles:
    @pytest.fixture
    def base(self, lake: Lake) -> Object:
        value = lake.stage_append(None, table(dict.fromkeys(range(100), (0.0, "a"))), name="t", key=["id"])
        return lake.stage_append(value, table(dict.fromkeys(range(100, 200), (0.0, "b"))), name="t")

    @pytest.mark.slow
    @everywhere
    def test_each_sides_files_are_kept_when_each_changed_another(self, lake: Lake, base: Object) -> None:
        ours = upsert(lake, base, {5: (1.0, "ours")})
        theirs = upsert(lake, base, {105: (2.0, "theirs")})
        merged, done = lake.merge_rows(base, ours, theirs)
        assert merged is not None
        assert (done.rewritten, done.written) == (0, ())
        sides = [{f.path for f in lake.files(v)} for v in (base, ours, theirs)]
        assert {f.path for f in lake.files(merged)} == (sides[1] - sides[0]) | (sides[2] - sides[0])
        assert rows_of(lake, merged)[5] == (1.0, "ours")
        assert rows_of(lake, merged)[105] == (2.0, "theirs")

    @pytest.mark.slow
    @everywhere
    def test_rows_of_one_file(self, lake: Lake, base: Object) -> None:
        ours = upsert(lake, base, {5: (1.0, "ours")})
        theirs = upsert(lake, base, {6: (2.0, "theirs"), 300: (3.0, "new")})
        merged, done = lake.merge_rows(base, ours, theirs)
        assert merged is not None
        assert done.incoming is not None
        assert (done.incoming.added, done.incoming.changed, done.rewritten) == (1, 1, 1)
        other = lake.files(base)[1].path
        assert other in {f.path for f in lake.files(merged)}
        found = rows_of(lake, merged)
        assert (found[5], found[6], found[300], len(found)) == ((1.0, "ours"), (2.0, "theirs"), (3.0, "new"), 201)

    def test_columns_that_one_side_changed_go_along(self, lake: Lake, base: Object) -> None:
        theirs = lake.stage_columns(base, rename={"y": "why", "id": "number"}, add=[pa.field("z", pa.int64())])
        theirs = lake.stage_delete(theirs, "number = 6")
        more = pa.table({"number": [6], "x": [1.0], "why": ["theirs"], "z": [7]})
        theirs = lake.stage_append(theirs, more, name="t")
        merged, _ = lake.merge_rows(base, upsert(lake, base, {5: (1.0, "ours")}), theirs)
        assert merged is not None
        assert merged["key"] == ["number"]
        with engine.opened() as connection:
            query = f"SELECT * FROM {lake.scan(merged)} WHERE number IN (5, 6) ORDER BY 1"
            assert connection.sql(query).fetchall() == [(5, 1.0, "ours", None), (6, 1.0, "theirs", 7)]

    def test_columns_that_both_changed_do_not_go_together(self, lake: Lake, base: Object) -> None:
        ours = lake.stage_columns(base, add=[pa.field("p", pa.int64())])
        theirs = lake.stage_columns(base, add=[pa.field("q", pa.int64())])
        with pytest.raises(Unmergeable, match="changed the columns"):
            lake.merge_rows(base, ours, theirs)

    def test_a_key_that_is_there_twice_is_refused_by_name(self, lake: Lake, base: Object) -> None:
        theirs = lake.stage_append(base, table({400: (1.0, "a")}), name="t")
        theirs = lake.stage_append(theirs, table({400: (2.0, "b")}), name="t")
        with pytest.raises(Unmergeable, match="id = 400"):
            lake.merge_rows(base, upsert(lake, base, {5: (1.0, "ours")}), theirs)

    def test_without_a_key(self, lake: Lake) -> None:
        base = lake.stage_append(None, table({1: (0.0, "a")}), name="t")
        assert not lake.row_mergeable(base, base, base)
        with pytest.raises(Unmergeable, match="no key"):
            lake.merge_rows(base, base, base)

    def test_nothing_is_left_of_a_merge_that_is_not_committed(self, lake: Lake, base: Object) -> None:
        ours, theirs = upsert(lake, base, {5: (1.0, "o")}), upsert(lake, base, {6: (2.0, "t")})
        for number, value in enumerate((base, ours, theirs)):
            lake.workspace.history.commit("main", {f"tables/t{number}": value}, message="keep")
        before = set(lake.folder.rglob("*"))
        merged, done = lake.merge_rows(base, ours, theirs)
        assert merged is not None
        lake.discard(merged, done.written)
        assert set(lake.folder.rglob("*")) == before
        assert check(lake.workspace, deep=True).ok

    def test_a_merge_that_fails_leaves_nothing(self, lake: Lake, base: Object, monkeypatch: pytest.MonkeyPatch) -> None:
        ours, theirs = upsert(lake, base, {5: (1.0, "o")}), upsert(lake, base, {6: (2.0, "t")})
        before = set(lake.folder.rglob("*.parquet"))
        monkeypatch.setattr("bascule.lake.rowmerge.merge.snapshots.replace", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            lake.merge_rows(base, ours, theirs)
        assert set(lake.folder.rglob("*.parquet")) == before

    @pytest.mark.slow
    def test_sources_of_both_sides_are_known_afterwards(self, lake: Lake, tmp_path: Path) -> None:
        for name, text in {"a": "1,x\n2,x", "b": "3,x", "c": "4,x"}.items():
            (tmp_path / f"{name}.csv").write_text(f"id,v\n{text}\n")
        ingest(lake, "t", tmp_path / "a.csv", key=["id"])
        history = lake.workspace.history
        history.create_branch("other")
        base = history.get("main", "tables/t")
        for branch, name, number in (("main", "b", 1), ("other", "c", 2)):
            ingest(lake, "t", tmp_path / f"{name}.csv", branch=branch)
            lake.delete("t", f"id = {number}", branch=branch)
        merged, _ = lake.merge_rows(base, history.get("main", "tables/t"), history.get("other", "tables/t"))
        assert merged is not None
        history.commit("main", {"tables/t": merged}, message="merge")
        for name in "abc":
            assert ingest(lake, "t", tmp_path / f"{name}.csv").rows == 0
        with engine.opened() as connection:
            assert connection.sql(f"SELECT id FROM {lake.scan(merged)} ORDER BY 1").fetchall() == [(3,), (4,)]
