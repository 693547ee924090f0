"""The lake against a naive model: whatever is appended, deleted, changed and merged, the rows are the same."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.lake.samples import read

from bascule.history import Workspace
from bascule.lake import Lake
from bascule.lake.doctor import check
from bascule.lake.iceberg import snapshots
from bascule.lake.objects import Object

Row = dict[str, Any]
NUMBERS = st.none() | st.integers(-3, 3)


class LakeModel(RuleBasedStateMachine):
    """A table's states as lists of dicts. Every state that there ever was must stay as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.workspace = Workspace.create(Path(self.folder.name) / "w")
        self.lake = Lake(self.workspace)
        self.states: list[tuple[Object, list[str], list[Row]]] = []
        self.fresh = 0

    @initialize()
    def begin(self) -> None:
        value = self.lake.stage_create("t", pa.schema([("a", pa.int32()), ("b", pa.string())]))
        self.states.append((value, ["a", "b"], []))

    @property
    def now(self) -> tuple[Object, list[str], list[Row]]:
        return self.states[-1]

    def push(self, value: Object, columns: list[str], rows: list[Row]) -> None:
        self.states.append((value, columns, rows))

    def table(self, value: Object, columns: list[str], rows: list[Row]) -> pa.Table:
        kinds = {f.name: f.type for f in self.lake.schema(value)}
        return pa.table({c: pa.array([row.get(c) for row in rows], kinds[c]) for c in columns})

    @rule(values=st.lists(st.tuples(NUMBERS, st.text("xyz", max_size=2)), max_size=5))
    def append(self, values: list[tuple[int | None, str]]) -> None:
        value, columns, rows = self.now
        numbers = [c for c in columns if not c.startswith("b")]
        new = [{c: (n if c in numbers else s) for c in columns} for n, s in values]
        self.push(self.lake.stage_append(value, self.table(value, columns, new), name="t"), columns, rows + new)

    @rule(number=st.integers(-3, 3))
    def delete(self, number: int) -> None:
        value, columns, rows = self.now
        column = next(c for c in columns if not c.startswith("b"))
        after = self.lake.stage_delete(value, f'"{column}" >= {number}')
        self.push(after, columns, [r for r in rows if r[column] is None or r[column] < number])

    @rule(values=st.lists(NUMBERS, max_size=3))
    def overwrite(self, values: list[int | None]) -> None:
        value, columns, _ = self.now
        column = next(c for c in columns if not c.startswith("b"))
        new = [{c: (n if c == column else None) for c in columns} for n in values]
        self.push(self.lake.stage_overwrite(value, self.table(value, [column], new), name="t"), columns, new)

    @rule(data=st.data())
    def rename(self, data: st.DataObject) -> None:
        value, columns, rows = self.now
        old = data.draw(st.sampled_from(columns))
        self.fresh += 1
        new = f"{old[0]}{self.fresh}"
        columns = [new if c == old else c for c in columns]
        rows = [{(new if c == old else c): v for c, v in row.items()} for row in rows]
        self.push(self.lake.stage_columns(value, rename={old: new}), columns, rows)

    @rule()
    def add_column(self) -> None:
        value, columns, rows = self.now
        self.fresh += 1
        name = f"c{self.fresh}"
        after = self.lake.stage_columns(value, add=[pa.field(name, pa.int64())])
        self.push(after, [*columns, name], [{**row, name: None} for row in rows])

    @precondition(lambda self: len([c for c in self.now[1] if not c.startswith("b")]) > 1)
    @rule(data=st.data())
    def drop_column(self, data: st.DataObject) -> None:
        value, columns, rows = self.now
        gone = data.draw(st.sampled_from([c for c in columns if not c.startswith("b")]))
        rows = [{c: v for c, v in row.items() if c != gone} for row in rows]
        self.push(self.lake.stage_columns(value, drop=[gone]), [c for c in columns if c != gone], rows)

    @rule(data=st.data())
    def go_back(self, data: st.DataObject) -> None:
        self.states.append(data.draw(st.sampled_from(self.states)))

    @rule(ours=st.lists(NUMBERS, max_size=3), theirs=st.lists(NUMBERS, max_size=3))
    def merge(self, ours: list[int | None], theirs: list[int | None]) -> None:
        value, columns, rows = self.now
        column = next(c for c in columns if not c.startswith("b"))
        sides, added = [], []
        for numbers in (ours, theirs):
            new = [{c: (n if c == column else None) for c in columns} for n in numbers]
            sides.append(self.lake.stage_append(value, self.table(value, columns, new), name="t"))
            added += new
        merged = self.lake.merge_appends(value, *sides)
        assert merged is not None
        self.push(merged, columns, rows + added)

    @invariant()
    def the_newest_state_is_as_the_model_says(self) -> None:
        if self.states:
            self.compare(*self.now)

    def compare(self, value: Object, columns: list[str], rows: list[Row]) -> None:
        found = read(f"SELECT * FROM {self.lake.scan(value)}")
        assert found.column_names == columns
        assert sorted(map(repr, found.to_pylist())) == sorted(repr({c: r[c] for c in columns}) for r in rows)
        assert value["rows"] == len(rows)

    def teardown(self) -> None:
        for number, (value, columns, rows) in enumerate(self.states):
            self.compare(value, columns, rows)
            self.workspace.history.commit("main", {f"tables/t{number}": value}, message="keep")
        for (a, _, before), (b, _, after) in zip(self.states, self.states[1:], strict=False):
            diff = self.lake.diff(a, b)
            assert diff.rows_after - diff.rows_before == diff.added - diff.removed == len(after) - len(before)
        report = check(self.workspace, deep=True)
        assert report.ok, report.problems
        self.workspace.close()
        self.folder.cleanup()


@pytest.mark.slow
def test_the_lake_does_what_the_model_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "RUNG", 3)  # so that ladders of manifests grow high in a few steps
    LakeModel.TestCase.settings = settings(
        max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
    )
    LakeModel.TestCase("runTest").runTest()
