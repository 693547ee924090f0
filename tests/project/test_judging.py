"""Schema changes, judged for the readers that the history knows; what breaks them needs a reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bascule.history import Workspace
from bascule.lake.foreign import reports
from bascule.lake.foreign.landing import State
from bascule.lake.foreign.names import Identifier
from tests.cli.conftest import Said, bascule, folder
from tests.project.conftest import _finished, trained

__all__ = ["_finished", "bascule", "folder", "trained"]

Bascule = Callable[..., Said]


@pytest.fixture
def served(trained: Path, bascule: Bascule) -> Path:
    """The project with version 1 in service, and a branch dev."""
    assert bascule("deploy").code == 0
    assert bascule("branch", "dev").code == 0
    return trained


def heads() -> str:
    return Workspace.open(Path.cwd()).history.resolve("main").id


@pytest.mark.slow
def test_a_lost_column_names_everyone_who_reads_it(served: Path, bascule: Bascule) -> None:
    assert bascule("table", "columns", "weather", "--drop", "rain", "--branch", "dev").code == 0
    before = heads()
    said = bascule("merge", "dev", "main", "--json")
    assert said.code == 1
    (one,) = [row["breaking"] for row in said.json()["details"]]
    assert (one["table"], one["column"], one["verdict"]) == ("weather", "rain", "breaking")
    named = {(reader["kind"], reader["name"].partition("@")[0]) for reader in one["readers"]}
    assert named == {
        ("feature view", "weather"),
        ("training set", "delays"),
        ("model", "delays"),
        ("deployment", "delays"),
    }
    assert "--allow-breaking REASON" in said.json()["hint"]
    assert heads() == before

    assert bascule("merge", "dev", "main", "--allow-breaking", " ").code == 2
    said = bascule("merge", "dev", "main", "--allow-breaking", "the sensor is gone")
    assert said.code == 0
    assert "breaking  weather.rain: the column is gone; breaks feature view weather" in said.out
    (entry,) = [row for row in bascule("audit", "log", "--json").json() if row["action"] == "allow-breaking"]
    detail = json.loads(entry["detail_json"])
    assert (entry["subject"], detail["reason"]) == ("refs/main", "the sensor is gone")
    assert detail["commit"] in {commit.id for commit in Workspace.open(served).history.log("main")}
    assert detail["breaking"][0]["column"] == "rain"


@pytest.mark.slow
def test_a_renamed_column_breaks_too(served: Path, bascule: Bascule) -> None:
    assert bascule("table", "columns", "depots", "--rename", "opened=since", "--branch", "dev").code == 0
    said = bascule("merge", "dev", "main")
    assert said.code == 1
    assert "depots.opened: the column is called since now; breaks feature view house" in said.err


@pytest.mark.slow
def test_what_nobody_reads_may_go(served: Path, bascule: Bascule) -> None:
    assert bascule("table", "create", "notes", "data/depots.csv", "--branch", "main").code == 0
    assert bascule("branch", "trial", "--branch", "main").code == 0
    assert bascule("table", "columns", "notes", "--drop", "opened", "--branch", "trial").code == 0
    said = bascule("merge", "trial", "main")
    assert said.code == 0
    assert "breaking  notes.opened: the column is gone; nothing here reads it" in said.out


@pytest.mark.slow
def test_an_engine_that_scans_is_a_reader(served: Path, bascule: Bascule) -> None:
    assert bascule("table", "create", "notes", "data/depots.csv", "--branch", "main").code == 0
    workspace = Workspace.open(served)
    commit = workspace.history.resolve("main")
    report = json.dumps({"report-type": "scan-report", "projected-field-names": ["opened"]}).encode()
    state, table = State("main", commit, "main"), Identifier(("default",), "notes")
    reports.keep(workspace, table, state, "spark@bi", "scan-report", 1, report)
    workspace.close()
    assert bascule("branch", "trial", "--branch", "main").code == 0
    assert bascule("table", "columns", "notes", "--drop", "opened", "--branch", "trial").code == 0
    said = bascule("merge", "trial", "main")
    assert said.code == 1
    assert "breaks engine of spark@bi" in said.err


@pytest.mark.slow
def test_a_branch_of_ones_own_is_not_held(served: Path, bascule: Bascule) -> None:
    assert bascule("table", "columns", "weather", "--drop", "rain", "--branch", "dev").code == 0
    assert bascule("branch", "trial").code == 0
    assert bascule("merge", "dev", "trial").code == 0


@pytest.mark.slow
def test_a_picked_commit_is_held_as_a_merge_is(served: Path, bascule: Bascule) -> None:
    assert bascule("table", "columns", "weather", "--drop", "rain", "--branch", "dev").code == 0
    said = bascule("cherry-pick", "dev", "--branch", "main")
    assert said.code == 1
    assert "readers would break" in said.err
    assert bascule("cherry-pick", "dev", "--branch", "main", "--allow-breaking", "known").code == 0
    assert "allow-breaking" in {row["action"] for row in bascule("audit", "log", "--json").json()}


def test_a_new_column_is_compatible(served: Path, bascule: Bascule) -> None:
    assert bascule("table", "columns", "weather", "--order", "wind", "--branch", "dev").code == 0
    found = bascule("merge", "dev", "main", "--json").json()["schema"]
    assert {one["verdict"] for one in found} == {"compatible"}


@pytest.mark.slow
def test_a_reader_that_was_changed_too_is_not_broken(served: Path, bascule: Bascule) -> None:
    """The view goes without the column; the version that serves still asks for it."""
    (served / "features" / "weather.sql").write_text("select depot, observed_at, wind from weather\n")
    assert bascule("step", "run", "define", "--branch", "dev").code == 0
    assert bascule("table", "columns", "weather", "--drop", "rain", "--branch", "dev").code == 0
    said = bascule("merge", "dev", "main", "--json")
    (one,) = [row["breaking"] for row in said.json()["details"]]
    kinds = {reader["kind"] for reader in one["readers"]}
    assert kinds == {"training set", "model", "deployment"}


@pytest.mark.slow
def test_a_table_is_not_changed_past_its_readers(served: Path, bascule: Bascule) -> None:
    before = heads()
    said = bascule("table", "columns", "weather", "--drop", "rain", "--branch", "main")
    assert said.code == 1
    assert "breaks feature view weather" in said.err
    assert "bascule merge BRANCH --allow-breaking REASON" in said.err
    assert heads() == before
