"""Merges and reverts as a user types them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bascule.history import Workspace
from tests.project.parcels import HEAD, csv, write

Bascule = Callable[..., Any]
ROW = ("p1", "north", "2025-05-01T08:00:00Z", "2025-05-01T09:00:00Z", 12.5, 3.5, 4)


def batch(folder: Path, name: str, key: str, depot: str = "north") -> Path:
    """Write a batch of one order beside the project's sources."""
    return write(folder / f"{name}.csv", csv(HEAD, [(key, depot, *ROW[2:])]))


@pytest.fixture
def workspace(trained: Path) -> Workspace:
    """The workspace of the project, beside the command line."""
    return Workspace.open(trained)


def orders(workspace: Workspace, ref: str = "main") -> int:
    return int(workspace.history.get(ref, "tables/orders")["rows"])


def test_two_branches_that_both_appended_are_both_kept(trained: Path, workspace: Workspace, bascule: Bascule) -> None:
    for name in ("april", "may"):
        assert bascule("branch", name).code == 0
        assert bascule("ingest", "orders", batch(trained, name, name), "--branch", name).code == 0
    assert bascule("merge", "april").code == 0
    said = bascule("merge", "may")
    assert said.code == 0, said.err
    assert "checked tables/orders" in said.out
    assert orders(workspace) == 2402
    # The merge brought the list of files along: none of them is taken in twice.
    assert "has all of it already" in bascule("ingest", "orders", trained / "may.csv").out
    assert "main has everything that may has." in bascule("merge", "may").out
    assert "2,401 → 2,402 rows, 1 added" in bascule("diff", "main~1", "main").out


def test_a_merge_that_doubles_a_key_is_refused(
    trained: Path, workspace: Workspace, bascule: Bascule, refused: Callable[..., Any]
) -> None:
    """Each batch is right by itself; together they are not."""
    for name, depot in (("april", "north"), ("may", "south")):
        assert bascule("branch", name).code == 0
        assert bascule("ingest", "orders", batch(trained, name, "same", depot), "--branch", name).code == 0
    assert bascule("merge", "april").code == 0
    refused("merge", "may", code=1, words=("'may' is not merged into 'main'", "'main' is unchanged", "same"))
    assert orders(workspace) == 2401


def test_a_conflict_names_the_path_and_the_ways_out(
    trained: Path, workspace: Workspace, bascule: Bascule, refused: Callable[..., Any]
) -> None:
    path = "monitors/delays"
    before = workspace.history.get("main", path)
    bascule("branch", "hourly")
    workspace.history.commit("hourly", {path: {**before, "by": "hour"}}, message="By the hour")
    workspace.history.commit("main", {path: {**before, "by": "week"}}, message="By the week")
    refused(
        "merge",
        "hourly",
        code=1,
        words=(
            "'hourly' and 'main' both changed monitors/delays",
            "bascule diff main hourly",
            "--theirs PATH",
            "--ours PATH",
        ),
    )
    assert bascule("merge", "hourly", "--json").json()["paths"] == [path]
    refused("merge", "hourly", "--ours", path, "--theirs", path, code=2, words=("cannot keep both sides",))
    refused("merge", "hourly", "--ours", "monitors/delay", code=1, words=("both changed monitors/delays",))
    refused(
        "merge",
        "hourly",
        "--ours",
        path,
        "--theirs",
        "monitors/delay",
        code=2,
        words=("There is no path in conflict named 'monitors/delay'", "Did you mean 'monitors/delays'?"),
    )
    assert bascule("merge", "hourly", "--theirs", path).code == 0
    assert workspace.history.get("main", path)["by"] == "hour"


@pytest.mark.parametrize(("side", "by"), [("--ours", "week"), ("--theirs", None)])
def test_a_side_that_removed_a_path_can_be_kept(
    trained: Path, workspace: Workspace, bascule: Bascule, side: str, by: str | None
) -> None:
    path = "monitors/delays"
    before = workspace.history.get("main", path)
    bascule("branch", "unwatched")
    workspace.history.commit("unwatched", {path: None}, message="Watch no more")
    workspace.history.commit("main", {path: {**before, "by": "week"}}, message="By the week")
    assert bascule("merge", "unwatched").code == 1
    assert bascule("merge", "unwatched", side, path).code == 0
    found = workspace.history.read("main", path)
    assert (found["by"] if found else None) == by


def test_a_choice_where_there_is_no_conflict_is_refused(
    trained: Path, bascule: Bascule, refused: Callable[..., Any]
) -> None:
    bascule("branch", "april")
    bascule("ingest", "orders", batch(trained, "april", "april"), "--branch", "april")
    refused("merge", "april", "--ours", "tables/orders", code=2, words=("no path in conflict", "leave --ours"))


def test_an_ingestion_can_be_reverted(
    trained: Path, workspace: Workspace, bascule: Bascule, refused: Callable[..., Any]
) -> None:
    said = bascule("ingest", "orders", batch(trained, "april", "april"), "--json").json()
    assert orders(workspace) == 2401
    bascule("ingest", "orders", batch(trained, "may", "may"))
    refused(
        "revert",
        said["commit"],
        code=1,
        words=("cannot be reverted on 'main': changed again since: tables/orders", "Revert the later commits first"),
    )
    assert bascule("revert", "main").code == 0
    reverted = bascule("revert", said["commit"])
    assert reverted.code == 0
    assert "Revert" in reverted.out
    assert orders(workspace) == 2400
    again = bascule("ingest", "orders", trained / "april.csv")
    assert "1 row into orders" in again.out
    assert orders(workspace) == 2401


def test_a_branch_that_refuses_its_data_is_not_merged(
    trained: Path, workspace: Workspace, bascule: Bascule, refused: Callable[..., Any]
) -> None:
    """A batch that was refused stays on its branch; merging that branch by hand asks the same contract."""
    said = refused(
        "ingest", "orders", batch(trained, "moon", "p1", "moon"), code=1, words=("depot: values", "'moon' × 1")
    )
    name = said.err.partition("The batch is on branch '")[2].partition("'")[0]
    assert orders(workspace, name) == 2401
    refused("merge", name, code=1, words=(f"{name!r} is not merged into 'main'", "moon"))
    assert bascule("branch", "--delete", name, "--force").code == 0
