"""Checks of a lake's table: what was measured of a data file is kept, merged, and let go of when it must be."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import func, insert, select, update

from bascule.catalog.schema import check_results, check_states
from bascule.contracts import Contract, Report, run_checks
from bascule.errors import CheckFailed
from bascule.history import Workspace
from bascule.lake import Lake
from bascule.lake.engine import opened
from bascule.lake.parts import FileParts
from bascule.project.checking import check_table
from bascule.project.forgetting import forget_subject
from bascule.project.pasts import measurements, past_values, usual_at
from bascule.project.publishing import pick, publish
from bascule.project.remembering import UNUSED, States, let_go_unused
from tests.contracts.writing import HEAD, column, ours
from tests.lake.iceberg.deleting import delete_file, with_deletes

COLUMNS = [
    column("id", ours("unique"), ours("max", maximum=10**9), logicalType="integer"),
    column("x", ours("mean", minimum=0), ours("median", minimum=0), ours("std", minimum=0), ours("not_null")),
    column("code", ours("distinct", maximum=5), ours("values", values=["a", "b", "c"])),
]
TEXT = (
    f"{HEAD}schema: {json.dumps([{'name': 't', 'properties': COLUMNS, 'quality': [ours('row_count', minimum=1)]}])}\n"
)


def rows(first: int, count: int, **other: Any) -> pa.Table:
    numbers = range(first, first + count)
    return pa.table({
        "id": pa.array(numbers, pa.int64()),
        "x": pa.array([None if n % 10 == 0 else n / 7 for n in numbers], pa.float64()),
        "code": [other.get("code", "abc"[n % 3]) for n in numbers],
    })  # fmt: skip


@pytest.fixture
def held(local_workspace: Workspace) -> Workspace:
    value = {"kind": "contract", "table": "t", "text": TEXT, "file": "contracts/t.yaml"}
    local_workspace.history.commit("main", {"contracts/t": value}, message="Define contracts/t")
    Lake(local_workspace).append("t", rows(0, 1000), key=["id"])
    return local_workspace


def checked(workspace: Workspace, ref: str = "main") -> Report:
    report = check_table(workspace, "t", lambda path: workspace.history.read(ref, path))
    assert report is not None
    return report


def plain(workspace: Workspace, ref: str = "main") -> Report:
    """The same without any memory."""
    lake, value = Lake(workspace), workspace.history.get(ref, "tables/t")
    with opened() as connection:
        return run_checks(connection, lake.scan(value), Contract.parse(TEXT, "t.yaml"))


def told(report: Report) -> list[tuple[str, str, str]]:
    return [(result.name, result.status, result.observed) for result in report.results]


def states(workspace: Workspace) -> int:
    with workspace.catalog.read() as conn:
        return int(conn.execute(select(func.count()).select_from(check_states)).scalar_one())


def fake(workspace: Workspace, part: str) -> None:
    """Put a thousand rows more into every count that is kept of a part, so that it shows when it is used."""
    with workspace.catalog.write() as conn:
        for row in conn.execute(select(check_states).where(check_states.c.part == part)).all():
            state = json.loads(row.state_json)
            if state == [1000]:
                where = (check_states.c.part == part) & (check_states.c.measure == row.measure)
                conn.execute(update(check_states).where(where).values(state_json="[2000]"))


def test_after_an_append_the_old_file_is_not_read(held: Workspace) -> None:
    lake = Lake(held)
    assert told(checked(held)) == told(plain(held))
    [part] = lake.parts(held.history.get("main", "tables/t")).ids
    lake.append("t", rows(1000, 50))
    fake(held, part)
    report = checked(held)
    assert report.rows == 2050
    assert len(lake.parts(held.history.get("main", "tables/t")).ids) == 2


@pytest.mark.slow
def test_appends_deletes_upserts_and_renames_stay_right(held: Workspace) -> None:
    lake = Lake(held)
    for change in (
        lambda: lake.append("t", rows(1000, 200, code="b")),
        lambda: lake.append("t", rows(100, 5)),  # keys that are there
        lambda: lake.delete("t", "id < 20"),
        lambda: lake.upsert("t", rows(300, 10, code="z")),
        lambda: lake.append("t", rows(5000, 3, code="q")),
    ):
        change()
        for _ in range(2):
            assert told(checked(held)) == told(plain(held))
    before = held.history.get("main", "tables/t")
    swapped = lake.stage_columns(before, rename={"x": "y"})
    held.history.commit("main", {"tables/t": swapped}, message="Rename x")
    assert told(checked(held)) == told(plain(held))
    found = {result.name: result.status for result in checked(held).results}
    assert found["x: mean"] == "error"


def test_branches_share_what_was_measured(held: Workspace) -> None:
    checked(held)
    kept = states(held)
    held.history.create_branch("other", "main")
    assert told(checked(held, "other")) == told(plain(held))
    assert states(held) == kept


@pytest.mark.slow
def test_files_that_deletes_touch_are_no_parts(held: Workspace) -> None:
    lake = Lake(held)
    lake.append("t", rows(1000, 10))
    checked(held)
    table = lake.table(held.history.get("main", "tables/t"))
    first, second = table.data_files()
    parts = FileParts(table)
    assert (len(parts.ids), parts.rest, parts.rows(parts.ids)) == (2, None, 1010)
    source, labels = parts.labelled(parts.ids)
    with opened() as connection:
        counted = dict(connection.execute(f"SELECT __file, count(*) FROM {source} AS t GROUP BY 1").fetchall())
    assert {labels[file]: count for file, count in counted.items()} == {parts.ids[0]: 1000, parts.ids[1]: 10}

    bounds = [{"key": 2147483546, "value": str(first.path).encode()}]
    record = delete_file(table, [(str(first.path), 3), (str(first.path), 5)])
    changed = with_deletes(table, {**record, "lower_bounds": bounds, "upper_bounds": bounds})
    held.history.commit("main", {"tables/t": lake.adopt(changed.path, "t")}, message="Delete two rows elsewhere")
    touched = FileParts(changed)
    assert touched.rest is not None
    assert (touched.ids, str(second.path) in touched.rest) == ([parts.ids[1]], False)
    for _ in range(2):
        assert told(checked(held)) == told(plain(held))
    assert checked(held).rows == 1008


@pytest.mark.slow
def test_forgetting_lets_go_of_states(held: Workspace) -> None:
    checked(held)
    assert states(held) > 0
    forget_subject(held, "t", {"id": "7"}, dry_run=True)
    assert states(held) > 0
    forget_subject(held, "t", {"id": "7"})
    assert states(held) == 0
    assert told(checked(held)) == told(plain(held))


def test_what_nobody_uses_goes_in_time(held: Workspace) -> None:
    checked(held)
    kept = states(held)
    with held.catalog.write() as conn:
        assert let_go_unused(conn) == 0
        conn.execute(update(check_states).values(at=check_states.c.at - UNUSED + 86_400_000_000))
    checked(held)  # notes that they are used
    with held.catalog.write() as conn:
        assert let_go_unused(conn) == 0
        conn.execute(update(check_states).values(at=check_states.c.at - UNUSED - 1))
    with held.catalog.write() as conn:
        assert let_go_unused(conn) == kept


@pytest.mark.slow
def test_states_are_kept_in_any_number(workspace: Workspace) -> None:
    memory = States(workspace.catalog)
    many = {(f"part {i}", f"measure {i % 7}"): [i, None, 0.5] for i in range(1200)}
    memory.keep("table", many)
    memory.keep("table", {("part 3", "measure 3"): [9]})
    found = memory.load({part for part, _ in many}, {f"measure {i}" for i in range(7)})
    assert found == {**many, ("part 3", "measure 3"): [9]}
    assert memory.load({"part 1"}, {"measure 2"}) == {}
    memory.keep("table", {("long", "m"): ["x" * 3_000_000]})
    assert memory.load({"long"}, {"m"}) == {}


@pytest.mark.slow
def test_the_past_of_a_check(held: Workspace) -> None:
    lake = Lake(held)
    for day in range(12):
        lake.append("t", rows(1000 + 100 * day, 100))
        checked(held)
        again = checked(held)  # looks at the same rows again
        assert "table: row count" not in {result.name for result in again.unusual}
        with held.catalog.read() as conn:
            at = conn.execute(select(func.max(check_results.c.at))).scalar_one()
        low, high = usual_at(held, "tables/t", at).get("table: row count", (0, 9999))
        assert low <= 1100 + 100 * day <= high
    values = past_values(held, "tables/t")["table: row count"]
    assert values == [1100.0 + 100 * day for day in range(12)]
    lake.delete("t", "id > 500")
    [unusual] = [result.name for result in checked(held).unusual if result.name == "table: row count"]
    last = measurements(held, "tables/t", check=unusual)[-1]
    assert (last.value, last.unusual, last.status) == (501.0, True, "passed")
    assert past_values(held, "tables/t", "batch") == {}


def test_a_past_is_read_from_every_database(workspace: Workspace) -> None:
    told = {
        "subject": "tables/t",
        "check_name": "x: mean",
        "severity": "info",
        "status": "passed",
        "looked_at": "table",
    }
    rows = [{**told, "id": f"c{n}", "at": n, "value": n // 2 / 4, "total_rows": 5} for n in range(600)]
    with workspace.catalog.write() as conn:
        conn.execute(insert(check_results), [*rows, {**rows[0], "id": "d", "looked_at": "batch", "value": 9.0}])
    values = past_values(workspace, "tables/t")["x: mean"]
    assert values == [n / 4 for n in range(180, 300)]
    assert past_values(workspace, "tables/t", "batch") == {"x: mean": [9.0]}


@pytest.mark.slow
def test_tables_in_object_storage_are_checked_too(tmp_path: Path, s3: str) -> None:
    workspace = Workspace.create(tmp_path / "project", storage=s3)
    value = {"kind": "contract", "table": "t", "text": TEXT, "file": "contracts/t.yaml"}
    workspace.history.commit("main", {"contracts/t": value}, message="Define contracts/t")
    Lake(workspace).append("t", rows(0, 100), key=["id"])
    assert {result.name for result in checked(workspace).problems} == {"x: not null"}
    Lake(workspace).append("t", rows(90, 20))
    again = checked(workspace)
    assert (again.rows, {result.name for result in again.problems}) == (120, {"x: not null", "id: unique"})
    assert not any(result.status == "error" for result in again.results)
    workspace.close()


def test_results_of_before_have_no_value(held: Workspace) -> None:
    old = {
        "id": "c1",
        "subject": "tables/t",
        "check_name": "x: mean",
        "severity": "critical",
        "status": "passed",
        "at": 1,
    }
    with held.catalog.write() as conn:
        conn.execute(insert(check_results), [old])
    assert past_values(held, "tables/t") == {}


def test_drift_against_a_tag(held: Workspace) -> None:
    held.history.tag("v1", "main")
    drift = [column("x", ours("drift", reference="v1"))]
    text = f"{HEAD}schema: {json.dumps([{'name': 't', 'properties': drift}])}\n"
    value = {"kind": "contract", "table": "t", "text": text, "file": "contracts/t.yaml"}
    held.history.commit("main", {"contracts/t": value}, message="Ask for drift")
    assert checked(held).passed
    Lake(held).append("t", rows(100_000, 3000))
    report = checked(held)
    assert [result.status for result in report.results if result.kind == "drift"] == ["failed"]


@pytest.mark.slow
def test_python_checks_are_those_of_the_project(held: Workspace) -> None:
    folder = held.folder.parent
    python = [column("x", ours("python", function="mychecks:no_row_over_100"), ours("python", function="os:getcwd"))]
    text = f"{HEAD}schema: {json.dumps([{'name': 't', 'properties': python}])}\n"
    value = {"kind": "contract", "table": "t", "text": text, "file": "contracts/t.yaml"}
    held.history.commit("main", {"contracts/t": value}, message="Ask Python")
    (folder / "mychecks.py").write_text(
        "def no_row_over_100(rows):\n    return rows.sql('select id from rows where id > 998')\n"
    )
    assert [r.status for r in checked(held).results if r.kind == "python"] == ["error", "error"]  # no project here
    (folder / "bascule.toml").write_text("[project]\nname = 'x'\n")
    first, second = (result for result in checked(held).results if result.kind == "python")
    assert (first.status, first.failed_rows, first.sample) == ("failed", 1, ({"id": 999},))
    assert (second.status, "There is no os.py" in second.observed) == ("error", True)


@pytest.mark.slow
def test_what_never_landed_is_no_past(local_workspace: Workspace) -> None:
    promised = [
        {"name": "t", "properties": [column("x", ours("mean", maximum=10))], "quality": [ours("row_count", minimum=1)]}
    ]
    text = f"{HEAD}schema: {json.dumps(promised)}\n"
    history, lake = local_workspace.history, Lake(local_workspace)
    history.commit("main", {"contracts/t": {"kind": "contract", "table": "t", "text": text}}, message="Promise")
    lake.append("t", pa.table({"x": [1.0, 2.0]}))
    for n, how in enumerate(["merge", "refused", "elsewhere", "squash", "pick", "repaired"]):
        history.create_branch(how, "main")
        lake.append("t", pa.table({"x": [500.0 if how in ("refused", "repaired") else n / 8]}), branch=how)
        if how == "elsewhere":
            check_table(local_workspace, "t", partial(history.read, how), commit=history.resolve(how).id)
        elif how == "pick":
            pick(local_workspace, how, "main")
        elif how in ("merge", "squash"):
            publish(local_workspace, how, "main", squash=how == "squash")
        else:
            with pytest.raises(CheckFailed):
                publish(local_workspace, how, "main")
    lake.delete("t", "x > 10", branch="repaired")
    lake.append("t", pa.table({"x": [1.5, 2.5]}), branch="repaired")
    publish(local_workspace, "repaired", "main")

    def counts(at: str) -> list[float]:
        return past_values(local_workspace, "tables/t", at=at)["table: row count"]

    assert counts("main") == [3.0, 4.0, 5.0, 7.0]
    assert counts("elsewhere") == [3.0, 4.0]
    shown = measurements(local_workspace, "tables/t", check="x: mean", at="main")
    assert [one.value > 10 for one in shown] == [False, True, False, False, False, True, False]
