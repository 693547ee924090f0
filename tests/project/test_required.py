"""Required checks: they see the state that would land, on protected branches, and their word is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import select

from bascule import verbs
from bascule.catalog.schema import check_results
from bascule.errors import CheckFailed, InputError, NotFound, ProjectFileError
from bascule.history import Workspace
from bascule.lake import Lake
from bascule.project.batches import bring_in
from bascule.project.file import load_project
from bascule.project.place import Place
from bascule.project.publishing import pick, publish
from bascule.project.required import Required, required_of
from bascule.project.reverting import revert
from tests.project.parcels import PROJECT

FEW = "SELECT id, count(*) AS n FROM orders GROUP BY id HAVING n > 1\n"
OWN = """
def small(state):
    rows = state.sql("SELECT count(*) AS n FROM orders").to_pylist()[0]["n"]
    before = state.sql("SELECT count(*) AS n FROM orders@main").to_pylist()[0]["n"]
    return f"{rows - before} rows more" if rows - before > 2 else None

def broken(state):
    return state.nothing

def number(state):
    return 7

def sleeps(state):
    import time
    time.sleep(600)

def asks(state):
    return state.sql("SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE hash(a.range + b.range) = 1")

def looks(state):
    (change,) = state.changes
    try:
        state.sql("SELECT * FROM oders")
    except Exception as error:
        known = type(error).__mro__[1].__name__
    kept = state.read(change.path)["rows"], change.before["rows"], state.read("tables/none")
    return f"{state.into} {change.kind} {change.path} {kept} {known}"
"""


@pytest.fixture
def require(tmp_path: Path) -> Callable[..., Required]:
    (tmp_path / "few.sql").write_text(FEW, encoding="utf-8")
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    return lambda *names: Required(tmp_path, names)


@pytest.fixture
def orders(local_workspace: Workspace) -> Lake:
    lake = Lake(local_workspace)
    lake.append("orders", pa.table({"id": [1]}))
    for name in ("left", "right"):
        local_workspace.history.create_branch(name)
        lake.append("orders", pa.table({"id": [2]}), branch=name)
    return lake


def test_two_branches_that_are_good_alone_are_refused_together(
    local_workspace: Workspace, orders: Lake, require: Callable[..., Required]
) -> None:
    required, history = require("few.sql"), local_workspace.history
    assert publish(local_workspace, "left", "main", required=required).checked == ("few.sql",)
    head = history.resolve("main")
    with pytest.raises(CheckFailed, match="'right' is not merged into 'main': 1 required check failed") as refused:
        publish(local_workspace, "right", "main", required=required)
    assert "few.sql: 1 row must not be" in refused.value.message
    assert refused.value.details == [{"check": "few.sql", "said": "1 row must not be", "rows": 1}]
    assert history.resolve("main") == head
    with local_workspace.catalog.read() as conn:
        kept = conn.execute(select(check_results).where(check_results.c.check_name == "few.sql")).all()
    assert [(row.subject, row.status) for row in kept] == [("refs/main", "passed"), ("refs/main", "failed")]
    assert kept[1].sample_json == '[{"id":2,"n":2}]'


@pytest.mark.slow
@pytest.mark.parametrize("name", ["own:sleeps", "own:asks"])
def test_a_function_has_its_time_and_no_more(
    local_workspace: Workspace, orders: Lake, tmp_path: Path, require: Callable[..., Required], name: str
) -> None:
    require()
    head = local_workspace.history.resolve("main")
    with pytest.raises(InputError, match=f"{name} did not answer within 3 s") as refused:
        publish(local_workspace, "left", "main", required=Required(tmp_path, [name], seconds=3))
    assert "time_limit of [checks]" in refused.value.hint
    assert local_workspace.history.resolve("main") == head
    assert publish(local_workspace, "left", "main", required=require("few.sql")).commit != head


@pytest.mark.slow
def test_a_function_sees_the_state_from_its_process(
    local_workspace: Workspace, orders: Lake, require: Callable[..., Required]
) -> None:
    with pytest.raises(CheckFailed, match=r"main changed tables/orders \(2, 1, None\) NotFound"):
        publish(local_workspace, "left", "main", required=require("own:looks"))


def test_the_time_is_the_projects(tmp_path: Path) -> None:
    (tmp_path / "bascule.toml").write_text(
        '[project]\nname = "p"\n[checks]\ntime_limit = "90s"\n[merge]\nchecks = ["own:looks"]\n', encoding="utf-8"
    )
    found = Required.of(load_project(tmp_path))
    assert found is not None
    assert found.seconds == 90


def test_a_branch_that_is_not_protected_is_not_held(
    local_workspace: Workspace, orders: Lake, require: Callable[..., Required]
) -> None:
    assert publish(local_workspace, "left", "right", required=require("few.sql")).checked == ()
    local_workspace.history.protect("right")
    orders.append("orders", pa.table({"id": [2]}), branch="left")
    with pytest.raises(CheckFailed):
        publish(local_workspace, "left", "right", required=require("few.sql"))


@pytest.mark.slow
def test_a_function_sees_what_would_land_beside_what_is_there(
    local_workspace: Workspace, orders: Lake, require: Callable[..., Required]
) -> None:
    orders.append("orders", pa.table({"id": [3, 4]}), branch="left")
    with pytest.raises(CheckFailed, match="own:small: 3 rows more"):
        publish(local_workspace, "left", "main", required=require("own:small"))
    assert pick(local_workspace, "left~1", "main", required=require("own:small")).checked == ("own:small",)


def test_a_batch_and_a_revert_are_held_too(
    local_workspace: Workspace, orders: Lake, require: Callable[..., Required], tmp_path: Path
) -> None:
    required, history = require("few.sql"), local_workspace.history
    (tmp_path / "again.csv").write_text("id\n1\n", encoding="utf-8")
    with pytest.raises(CheckFailed, match=r"few\.sql"):
        bring_in(local_workspace, "orders", tmp_path / "again.csv", "main", required=required)
    removed = history.commit("main", {"tables/orders": None}, message="remove")
    twice = orders.append("other", pa.table({"id": [1]}))
    (tmp_path / "few.sql").write_text("SELECT id FROM other SEMI JOIN orders USING (id)", encoding="utf-8")
    with pytest.raises(CheckFailed, match="is not reverted on 'main'"):
        revert(local_workspace, removed.id, "main", required=required)
    assert history.resolve("main") == twice
    assert revert(local_workspace, removed.id, "main", required=required, force="a drill").meta["forced"] == "a drill"


@pytest.mark.slow
def test_files_that_are_added_are_held_too(tmp_path: Path) -> None:
    Workspace.create(tmp_path).close()
    (tmp_path / "bascule.toml").write_text('[project]\nname = "p"\n[merge]\nchecks = ["own:few"]\n', encoding="utf-8")
    check = """
def few(state):
    found = state.read("files/photos")
    return None if found is None or found["files"] < 3 else f"{found['files']} files"
"""
    (tmp_path / "own.py").write_text(check, encoding="utf-8")
    folder = tmp_path / "photos"
    folder.mkdir()
    with verbs.open(tmp_path) as project:
        for name in "ab":
            (folder / name).write_text(name)
        head = project.files("photos").add(folder).commit
        (folder / "c").write_text("c")
        with pytest.raises(CheckFailed, match="Nothing is written to 'main': 1 required check failed"):
            project.files("photos").add(folder)
        assert project.workspace.history.resolve("main") == head
        project.workspace.history.create_branch("dev")
    with verbs.open(tmp_path, branch="dev") as project:
        assert project.files("photos").add(folder).changed
        with pytest.raises(CheckFailed, match="own:few: 3 files"):
            publish(project.workspace, "dev", "main", required=required_of(Place(tmp_path)))
    with verbs.open(tmp_path) as project:
        assert project.files("photos").remove("a")[1] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("own:broken", "The check 'own:broken' failed: AttributeError"),
        ("own:number", "The check 'own:number' returned int '7'"),
        ("own:smal", "There is no function in own.py named 'smal'"),
        ("nowhere:small", "The module 'nowhere' cannot be imported"),
    ],
)
def test_a_broken_check_lets_nothing_land(
    local_workspace: Workspace, orders: Lake, require: Callable[..., Required], name: str, problem: str
) -> None:
    head = local_workspace.history.resolve("main")
    with pytest.raises((InputError, NotFound)) as error:
        publish(local_workspace, "left", "main", required=require(name))
    assert problem in error.value.message
    assert local_workspace.history.resolve("main") == head


def test_a_check_of_a_table_that_has_another_name_is_named(
    local_workspace: Workspace, orders: Lake, require: Callable[..., Required]
) -> None:
    history = local_workspace.history
    history.commit("left", {"tables/parcels": history.get("left", "tables/orders"), "tables/orders": None}, message="R")
    with pytest.raises(InputError, match=r"The check 'few\.sql' cannot be asked .*: There is no table named 'orders'"):
        publish(local_workspace, "left", "main", required=require("few.sql"))
    assert history.read("main", "tables/orders")


def test_the_project_file_names_them(tmp_path: Path) -> None:
    file = tmp_path / "bascule.toml"
    for checks, problem in (
        ('["sums.sql"]', "there is no file sums.sql"),
        ('["sums"]', "a check: FILE.sql"),
    ):
        file.write_text(f'[project]\nname = "p"\n\n[merge]\nchecks = {checks}\n', encoding="utf-8")
        with pytest.raises(ProjectFileError, match=problem) as error:
            load_project(file)
        assert "bascule.toml:5" in str(error.value)


@pytest.mark.slow
def test_commands_merge_pick_and_protect(trained: Path, bascule: Callable[..., Any]) -> None:
    assert "[merge]" not in PROJECT
    file = trained / "bascule.toml"
    file.write_text(file.read_text("utf-8") + '\n[merge]\nchecks = ["never.sql"]\n', encoding="utf-8")
    (trained / "never.sql").write_text("SELECT depot FROM depots WHERE depot = 'moon'", encoding="utf-8")
    lake = Lake(Workspace.open(trained))
    lake.workspace.history.create_branch("dev")
    lake.append("depots", pa.table({"depot": ["west"], "opened": [2020]}), branch="dev")
    lake.append("depots", pa.table({"depot": ["moon"], "opened": [2040]}), branch="dev")
    said = bascule("merge", "dev", "main")
    assert (said.code, "moon" in said.err) == (1, True)
    said = bascule("cherry-pick", "dev~1", "--json")
    assert (said.code, said.json()["checked"][-1]) == (0, "never.sql")
    assert bascule("branch", "main", "--no-protect").out == "Branch main is not protected any more.\n"
    said = bascule("merge", "dev", "main", "--squash", "--json")
    assert said.code == 0, said.err
    assert len(said.json()["commit"]["parents"]) == 1
    assert bascule("branch", "main", "--protect").code == 0
    assert "protected" in bascule("branch").out
    actions = [entry["action"] for entry in bascule("audit", "log", "--json").json()]
    assert {"protect", "unprotect", "squash", "cherry-pick"} <= set(actions)
