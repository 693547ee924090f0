"""Rows that no link leads to: copies go, values leave the texts of others, and what only sounds alike stays."""

from __future__ import annotations

import io
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bascule.errors import Held
from bascule.history import Workspace, holding
from bascule.lake import Forgotten, Lake, doctor
from bascule.lake.filesets import FileSet
from bascule.lake.filesets.references import check as check_files
from bascule.lake.records import RecordTable
from bascule.project.forgetting import Forgetting, forget_subject
from bascule.project.querying import query
from bascule.project.sections import Forget
from tests.project.erasing.world import traces

WHO = "ann.o'neill+ø@example.org"
SAME = uuid.UUID("5a0c1c5e-7f6e-4c55-9a52-0d7f3c1b2a11")
PEOPLE = [
    {"id": 1, "email": WHO, "note": f"call {WHO}", "friends": [WHO], "seen": {"by": WHO}},
    {"id": 2, "email": "bob@example.org", "note": f"see ({WHO})", "friends": ["x", WHO], "seen": {"by": WHO}},
    {"id": 3, "email": "jo" + WHO, "note": None, "friends": ["jo" + WHO], "seen": {"by": None}},
]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A table with the person, copies on other branches and in older states, and texts of all kinds that tell of it."""
    made = Workspace.create(tmp_path / "ws")
    lake = Lake(made)
    lake.append("people", PEOPLE)
    made.history.create_branch("other")
    lake.append("copies", PEOPLE, branch="other")
    lake.append(
        "mails",
        [{"at": 1.5, "sender": WHO, "raw": f"From: {WHO}".encode()}, {"at": 2.5, "sender": "bob@x.org", "raw": b""}],
    )
    spent = pa.table({"payer": [WHO, "bob@x.org", None], "sum": [3, 4, 5]})
    made.history.commit(
        "main", {"tables/spent": lake.stage_append(None, spent, name="spent", partition_by=["payer"])}, message="Spent"
    )
    lake.append("dropped", PEOPLE[:2])
    made.history.tag("v1")
    made.history.commit("main", {"tables/dropped": None}, message="Drop it")
    lines = pa.table({"at": [1, 2], "text": [f"job of {WHO} failed", "fine"]})
    RecordTable(made, "alerts_log", lines.schema).append(lines)
    return made


def forget(workspace: Workspace, **options: Any) -> Forgetting:
    return forget_subject(workspace, "people", {"email": WHO}, **options)


def rows(workspace: Workspace, table: str, ref: str = "main") -> list[dict[str, Any]]:
    return query(workspace, f"select * from {table}", ref=ref)


@pytest.mark.slow
def test_no_byte_of_the_value_stays_and_no_other_cell_changes(workspace: Workspace, tmp_path: Path) -> None:
    planned, done = forget(workspace, dry_run=True), forget(workspace)
    told = {one.place: one.rows for one in done.report.elsewhere}
    assert told == {one.place: one.rows for one in planned.report.elsewhere}
    assert told == {
        **{"tables/copies": 1, "values in tables/copies": 1, "tables/dropped": 1, "values in tables/dropped": 1},
        **{f"values in tables/{name}": 1 for name in ("people", "mails", "spent", "alerts_log")},
    }
    assert done.kept == ()
    bob = {**PEOPLE[1], "note": "see ((forgotten))", "friends": ["x", "(forgotten)"], "seen": {"by": "(forgotten)"}}
    assert rows(workspace, "people") == rows(workspace, "copies", "other") == [bob, PEOPLE[2]]
    sent = {"at": 1.5, "sender": "(forgotten)", "raw": b"From: " + b"*" * len(WHO.encode())}
    assert rows(workspace, "mails") == [sent, {"at": 2.5, "sender": "bob@x.org", "raw": b""}]
    paid = [{"payer": "(forgotten)", "sum": 3}, {"payer": "bob@x.org", "sum": 4}, {"payer": None, "sum": 5}]
    assert sorted(rows(workspace, "spent"), key=lambda row: row["sum"]) == paid
    assert rows(workspace, "dropped", "v1") == [bob]
    assert query(workspace, "select text from alerts_log order by at")[0] == {"text": "job of (forgotten) failed"}
    assert doctor.check(workspace).ok
    workspace.close()
    found = traces(tmp_path / "ws", WHO)
    assert [name for name in found if not Path(name).name.endswith(".parquet")] == []
    kept = {path: (tmp_path / "ws" / path).read_bytes().replace(b"jo" + WHO.encode(), b"") for path in found}
    assert not any(WHO.encode() in data for data in kept.values())


@pytest.mark.slow
def test_it_is_as_the_project_says(workspace: Workspace) -> None:
    left = forget(workspace, policy=Forget(copies="leave"))
    assert {one.place for one in left.kept} >= {"rows of copies@other", "rows of mails@main", "rows of people@main"}
    assert len(rows(workspace, "spent")) == 3
    done = forget(workspace, policy=Forget(copies="remove"))
    assert {one.place: one.rows for one in done.report.elsewhere}["tables/mails"] == 1
    assert sorted(row["sum"] for row in rows(workspace, "spent")) == [4, 5]
    assert [row["id"] for row in rows(workspace, "people")] == [2, 3]  # in a list it is told of, no cell of its own
    workspace.close()


def test_a_hold_on_a_copy_refuses_before_anything_changes(workspace: Workspace) -> None:
    holding.hold(workspace, "tables/spent", "a law suit")
    before = rows(workspace, "people")
    with pytest.raises(Held):
        forget(workspace)
    assert rows(workspace, "people") == before
    workspace.close()


@pytest.mark.slow
def test_files_of_sets_lose_the_value_and_keep_their_names(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "ws")
    Lake(workspace).append("people", PEOPLE)
    folder, sink = tmp_path / "docs", io.BytesIO()
    pq.write_table(pa.table({"mail": [WHO, "bob@x.org"], "n": [1, 2]}), sink)
    first = {"a.txt": f"letter to {WHO}\n".encode(), "b.txt": b"other\n", "rows.parquet": sink.getvalue()}
    large = b"\xff" + WHO.encode() + bytes(range(256)) * 40_000
    for files in (first, {"c.bin": large}):
        for name, data in files.items():
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
        FileSet(workspace, "docs").add(folder)
        workspace.history.tag("v" + str(len(workspace.history.tags())))
    planned = forget(workspace, dry_run=True)
    done = forget(workspace)
    assert planned.kept == done.kept == ()
    for one in (planned, done):
        assert Forgotten("values in files/docs", 3) in one.report.elsewhere
    assert not check_files(workspace, deep=True).problems
    for ref in ("v0", "v1"):
        docs = FileSet(workspace, "docs", at=ref)
        assert docs.read("a.txt") == b"letter to (forgotten)\n"
        assert docs.read("b.txt") == b"other\n"
        rows = pq.read_table(io.BytesIO(docs.read("rows.parquet"))).to_pylist()
        assert rows == [{"mail": "(forgotten)", "n": 1}, {"mail": "bob@x.org", "n": 2}]
    assert FileSet(workspace, "docs").read("c.bin") == large.replace(WHO.encode(), b"*" * len(WHO.encode()))
    workspace.close()
    assert [name for name in traces(tmp_path / "ws", WHO) if "people" not in name] == []


@pytest.mark.slow
def test_what_others_have_too_names_nobody(tmp_path: Path) -> None:
    """A town beside a name is part of the key; it stands in rows of others, in other tables and in records."""
    workspace = Workspace.create(tmp_path / "ws")
    lake = Lake(workspace)
    people = [
        {"name": n, "town": t} for n, t in (("Ann Smith", "Ludwigsburg"), ("Bob", "Ludwigsburg"), ("Ann Smith", "Kiel"))
    ]
    towns = [{"town": "Ludwigsburg", "mayor": "Ann Smith"}]
    lake.append("people", people)
    lake.append("towns", towns)
    lines = pa.table({"text": ["Ludwigsburg is full", "Ann Smith called"]})
    RecordTable(workspace, "lines", lines.schema).append(lines)
    forget_subject(workspace, "people", {"name": "Ann Smith", "town": "Ludwigsburg"})
    assert rows(workspace, "people") == people[1:]
    assert rows(workspace, "towns") == towns
    assert query(workspace, "select text from lines") == lines.to_pylist()
    workspace.close()


def test_ids_that_are_no_texts(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "ws")
    lake, other = Lake(workspace), uuid.UUID(int=7)
    lake.append("people", pa.table({"id": pa.array([SAME.bytes, other.bytes], pa.uuid())}))
    lake.append("visits", pa.table({"who": pa.array([SAME.bytes, other.bytes], pa.uuid()), "n": [1, 2]}))
    done = forget_subject(workspace, "people", {"id": str(SAME)})
    assert {one.place: one.rows for one in done.report.elsewhere} == {"values in tables/visits": 1}
    assert [(row["who"], row["n"]) for row in rows(workspace, "visits")] == [(None, 1), (other.bytes, 2)]
    assert rows(workspace, "people") == [{"id": other.bytes}]
    workspace.close()
    assert not any(SAME.bytes in path.read_bytes() for path in (tmp_path / "ws").rglob("*") if path.is_file())
