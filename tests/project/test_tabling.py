"""Tables changed from Python and from the command line: checked first, seen when they pass."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bascule as api
from bascule.errors import AlreadyExists, CheckFailed, InputError, NotFound
from bascule.history import Workspace
from bascule.lake.doctor import check
from bascule.verbs import OpenProject
from tests.kills.forked import Commands

PEOPLE = [{"id": 1, "name": "ann", "score": 1.5}, {"id": 2, "name": "bob", "score": 2.5}]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[OpenProject]:
    Workspace.create(tmp_path).close()
    with api.open(tmp_path) as opened:
        yield opened


@pytest.mark.slow
def test_a_table_from_its_making_to_its_end(project: OpenProject) -> None:
    people = project.table("people")
    made = people.create(PEOPLE, key=["id"], partition_by=["bucket(2, id)"], sort_by=["name desc"])
    assert (made.rows_before, made.rows) == (0, 2)
    assert "tables/people" in made.checked
    assert people.append([{"id": 3, "name": "cyd", "score": 0.0}]).rows == 3
    done = people.upsert([{"id": 3, "name": "cyd", "score": 9.0}, {"id": 4, "name": "dot", "score": 1.0}])
    assert done.counts == {"added": 1, "replaced": 1, "unchanged": 0}
    assert people.upsert(sql="select * from people").commit is None
    people.columns(rename={"name": "called"}, drop=["score"], add={"born": "DATE"}, order=["called"])
    people.delete("id = 1")
    people.layout(partition_by=["called"], sort_by=[])
    found = people.describe()
    assert list(found.columns.items()) == [("called", "VARCHAR"), ("id", "BIGINT"), ("born", "DATE")]
    assert (found.key, found.partition_by, found.sort_by, found.rows) == (("id",), ("called",), (), 3)
    rows = people.read(["called"], "id > 2").read_all()["called"].to_pylist()
    assert sorted(rows) == ["cyd", "dot"]
    people.rename("folk")
    assert [one.name for one in project.tables()] == ["folk"]
    with pytest.raises(NotFound, match="people"):
        people.describe()
    assert project.table("people", at="main~2").describe().rows == 3
    project.table("folk").overwrite(sql="select 'x' as called, 7 as id, null::date as born")
    assert project.sql("select id from folk") == [{"id": 7}]
    project.table("folk").drop()
    assert project.tables() == []
    assert [ref.name for ref in project.branches()] == ["main"]
    assert check(project.workspace).ok


def test_what_a_check_refuses_does_not_land(project: OpenProject) -> None:
    project.table("people").create(PEOPLE, key=["id"])
    head = project.workspace.history.resolve("main").id
    with pytest.raises(CheckFailed):
        project.table("people").append(PEOPLE)  # the key would be there twice
    with pytest.raises(AlreadyExists, match="people"):
        project.table("people").create(PEOPLE)
    project.table("other").create(columns={"id": "BIGINT"})
    with pytest.raises(AlreadyExists, match="people"):
        project.table("other").rename("people")
    assert project.table("people").describe().rows == 2
    assert project.workspace.history.resolve("main~1").id == head
    assert [ref.name for ref in project.branches()] == ["main"]


@pytest.mark.parametrize(
    ("call", "what"),
    [
        ({"columns": {"id": "NOTHING"}}, "cannot be 'NOTHING'"),
        ({"columns": {}}, "needs a column"),
        ({"columns": {"id": "INT"}, "rows": PEOPLE}, "bring their own"),
        ({"columns": {"id": "INT); drop table x; --"}}, "cannot be|no type"),
        ({}, "come from one place"),
        ({"rows": PEOPLE, "sql": "select 1 as x"}, "come from one place"),
        ({"sql": "select * from nobody"}, "nobody"),
        ({"source": "nowhere.csv"}, "nowhere"),
        ({"rows": PEOPLE, "partition_by": ["day(name)"]}, "Invalid source type"),
    ],
)
def test_bad_calls_leave_nothing(project: OpenProject, call: dict[str, Any], what: str) -> None:
    head = project.workspace.history.resolve("main").id
    with pytest.raises(InputError, match=what):
        project.table("people").create(**call)
    assert project.workspace.history.resolve("main").id == head
    assert not check(project.workspace).orphans


@pytest.mark.slow
def test_two_who_upsert_at_once_both_land(project: OpenProject) -> None:
    project.table("people").create(PEOPLE, key=["id"])
    failed: list[BaseException] = []

    def write(start: int) -> None:
        try:
            with api.open(project.folder) as mine:
                for number in range(start, start + 3):
                    rows = [{"id": number, "name": "new", "score": 0.0}, {"id": 1, "name": f"n{number}", "score": 0.0}]
                    mine.table("people").upsert(rows)
        except BaseException as error:
            failed.append(error)

    writers = [threading.Thread(target=write, args=(start,)) for start in (10, 20)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert not failed
    ids = [row["id"] for row in project.sql("select id from people order by id")]
    assert ids == [1, 2, 10, 11, 12, 20, 21, 22]


@pytest.mark.slow
def test_the_command_line_says_the_same(project: OpenProject, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("id,name\n1,ann\n2,bob\n", encoding="utf-8")
    (tmp_path / "more.csv").write_text("id,name\n2,bea\n3,cyd\n", encoding="utf-8")

    commands = Commands(tmp_path)

    def run(*words: str, code: int = 0) -> tuple[Any, str]:
        done = commands.run("table", *words)
        assert done.code == code, done
        assert "Traceback" not in done.err
        return (done.json() if "--json" in words and not code else done.out), done.err

    run("create", "people", "people.csv", "--key", "id", "--partition", "truncate(1, name)")
    said, _ = run("upsert", "people", "more.csv", "--json")
    assert {name: said[name] for name in ("rows_before", "rows", "added", "replaced", "unchanged")} == {
        "rows_before": 2, "rows": 3, "added": 1, "replaced": 1, "unchanged": 0,
    }  # fmt: skip
    shown, _ = run("show", "people")
    assert "people: 3 rows in" in shown
    assert "partitioned by truncate(1, name)" in shown
    assert "nothing was changed" in run("layout", "people", "--partition", "truncate(1, name)")[0]
    run("layout", "people", "--partition", "none")
    assert run("show", "people", "--json")[0]["partition_by"] == []
    run("columns", "people", "--rename", "name=called", "--add", "note VARCHAR")
    assert list(run("show", "people", "--json")[0]["columns"]) == ["id", "called", "note"]
    assert "half of it" in run("columns", "people", "--rename", "name", code=2)[1]
    assert "Did you mean 'people'?" in run("delete", "peple", "--where", "id = 1", code=2)[1]
    assert "more than once" in run("upsert", "people", "--sql", "from people union all from people", code=2)[1]
    commands.close()
