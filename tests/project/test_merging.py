"""Merges and reverts as a user types them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bascule.errors import Conflict
from bascule.history import Workspace
from bascule.lake import Lake, engine
from bascule.lake.doctor import check
from bascule.project.publishing import publish
from bascule.project.settling import RowRules
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_choice_where_there_is_no_conflict_is_refused(
    trained: Path, bascule: Bascule, refused: Callable[..., Any]
) -> None:
    bascule("branch", "april")
    bascule("ingest", "orders", batch(trained, "april", "april"), "--branch", "april")
    refused("merge", "april", "--ours", "tables/orders", code=2, words=("no path in conflict", "leave --ours"))


@pytest.mark.slow
def test_an_ingestion_can_be_reverted(trained: Path, workspace: Workspace, bascule: Bascule) -> None:
    said = bascule("ingest", "orders", batch(trained, "april", "april"), "--json").json()
    assert orders(workspace) == 2401
    reverted = bascule("revert", said["commit"])
    assert reverted.code == 0
    assert "Revert" in reverted.out
    assert orders(workspace) == 2400
    again = bascule("ingest", "orders", trained / "april.csv")
    assert "1 row into orders" in again.out
    assert orders(workspace) == 2401


@pytest.mark.slow
def test_a_bad_batch_goes_and_the_good_ones_after_it_stay(
    trained: Path, workspace: Workspace, bascule: Bascule, refused: Callable[..., Any]
) -> None:
    bad = bascule("ingest", "orders", batch(trained, "bad", "bad"), "--json").json()
    for name in ("april", "may"):
        assert bascule("ingest", "orders", batch(trained, name, name)).code == 0
    before = {path for path in workspace.lake_folder.rglob("*") if path.suffix == ".parquet"}
    assert bascule("revert", bad["commit"]).code == 0
    assert orders(workspace) == 2402
    assert "2,403 → 2,402 rows, 1 removed" in bascule("diff", "main~1", "main").out
    # No file was written again; the good batches are known still, and the bad one may come again, repaired or not.
    assert {path for path in workspace.lake_folder.rglob("*") if path.suffix == ".parquet"} == before
    assert "has all of it already" in bascule("ingest", "orders", trained / "april.csv").out
    assert "1 row into orders" in bascule("ingest", "orders", trained / "bad.csv").out
    assert check(workspace, deep=True).ok


@pytest.mark.slow
def test_a_batch_of_which_rows_were_changed_is_not_taken_back(
    trained: Path, workspace: Workspace, bascule: Bascule, refused: Callable[..., Any]
) -> None:
    said = bascule("ingest", "orders", batch(trained, "april", "april"), "--json").json()
    Lake(workspace).delete("orders", "order_id = 'april'")
    refused(
        "revert",
        said["commit"],
        code=1,
        words=("cannot be reverted on 'main': changed again since: tables/orders", "Revert the later commits first"),
    )
    assert orders(workspace) == 2400


@pytest.mark.slow
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


class TestRows:
    """Tables that both sides changed, merged by their key."""

    @pytest.fixture
    def forked(self, trained: Path, workspace: Workspace, bascule: Bascule) -> Lake:
        """Branch `repair`, on which an order was changed; and main, on which another was."""
        lake = Lake(workspace)
        assert bascule("branch", "repair").code == 0
        keys = self.rows(lake, "main")
        self.change(lake, "repair", keys[0], "weight = 77")
        self.change(lake, "main", keys[1], "weight = 88")
        return lake

    @staticmethod
    def rows(lake: Lake, ref: str, column: str = "order_id") -> list[Any]:
        query = (
            f'SELECT "{column}" FROM {lake.scan(lake.workspace.history.get(ref, "tables/orders"))} ORDER BY order_id'
        )
        with engine.opened() as connection:
            return [row[0] for row in connection.sql(query).fetchall()]

    @staticmethod
    def change(lake: Lake, branch: str, key: str, change: str) -> None:
        """Change a row: take it out, and put it in again."""
        column, value = change.split(" = ")
        source = lake.scan(lake.workspace.history.get(branch, "tables/orders"))
        with engine.opened() as connection:
            query = f"SELECT * REPLACE ({value} AS \"{column}\") FROM {source} WHERE order_id = '{key}'"
            row = connection.sql(query).to_arrow_table()
        lake.delete("orders", f"order_id = '{key}'", branch=branch)
        lake.append("orders", row, branch=branch)

    @pytest.mark.slow
    def test_rows_that_each_side_changed(
        self, trained: Path, forked: Lake, bascule: Bascule, refused: Callable[..., Any]
    ) -> None:
        refused("merge", "repair", code=1, words=("both changed tables/orders", "bascule merge repair --rows"))
        said = bascule("merge", "repair", "--rows")
        assert said.code == 0, said.err
        assert "tables/orders: 0 rows added, 1 changed, 0 removed" in said.out
        assert "checked tables/orders" in said.out
        assert self.rows(forked, "main", "weight")[:2] == [77, 88]
        assert check(forked.workspace).ok

    @pytest.mark.slow
    def test_rows_that_both_changed_are_listed(
        self, trained: Path, forked: Lake, bascule: Bascule, refused: Callable[..., Any]
    ) -> None:
        keys = self.rows(forked, "main")
        for key in keys[:5]:
            self.change(forked, "main", key, "weight = 99")
            self.change(forked, "repair", key, "distance = 5")
        self.change(forked, "repair", keys[1], "weight = 66")
        before = set(forked.folder.rglob("*"))
        file = trained / "conflicts.jsonl"
        refused(
            "merge",
            "repair",
            *("--rows", "orders", "--conflicts", file),
            code=1,
            words=("5 rows of tables/orders (order_id = ", "and 2 more)", "--theirs tables/orders", str(file)),
        )
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        assert [line["key"]["order_id"] for line in lines] == keys[:5]
        assert (lines[1]["ours"]["weight"], lines[1]["theirs"]["weight"], lines[1]["columns"]) == (99, 66, ["weight"])
        assert lines[2]["columns"] == []
        found = bascule("merge", "repair", "--rows", "--json").json()
        assert (found["kind"], found["paths"]) == ("RowConflicts", ["tables/orders"])
        assert found["rows"]["tables/orders"]["total"] == 5
        # Each side changed another column of most: only two rows exclude each other by their cells.
        found = bascule("merge", "repair", "--rows", "--cells", "--json").json()
        assert [one["key"]["order_id"] for one in found["rows"]["tables/orders"]["conflicts"]] == keys[:2]
        assert set(forked.folder.rglob("*")) == before
        assert bascule("merge", "repair", "--rows", "--cells", "--theirs", "tables/orders").code == 0
        assert self.rows(forked, "main", "weight")[:5] == [77, 66, 99, 99, 99]
        assert self.rows(forked, "main", "distance")[:5] == [5] * 5

    @pytest.mark.slow
    def test_one_sides_rows_are_kept_and_the_others_come(self, trained: Path, forked: Lake, bascule: Bascule) -> None:
        keys = self.rows(forked, "main")
        self.change(forked, "main", keys[0], "weight = 99")
        assert bascule("merge", "repair", "--rows").code == 1
        assert bascule("merge", "repair", "--rows", "--ours", "tables/orders").code == 0
        assert self.rows(forked, "main", "weight")[:2] == [99, 88]

    @pytest.mark.slow
    def test_what_cannot_be_merged_by_rows(
        self, trained: Path, forked: Lake, bascule: Bascule, refused: Callable[..., Any]
    ) -> None:
        refused("merge", "repair", "--cells", code=2, words=("--rows",))
        refused("merge", "repair", "--rows", "ordres", code=1, words=("both changed tables/orders",))
        refused("merge", "repair", "--rows", "orders", "--conflicts", "/no/where", code=3, words=("Cannot write",))
        self.change(forked, "repair", self.rows(forked, "main")[5], "order_id = 'twice'")
        self.change(forked, "repair", self.rows(forked, "main")[6], "order_id = 'twice'")
        refused("merge", "repair", "--rows", code=1, words=("more than one row: order_id = 'twice'",))


def test_keys_of_rows_in_conflict_are_shown_as_values_are(local_workspace: Workspace) -> None:
    lake, moment = Lake(local_workspace), dt.datetime(2024, 1, 2, 3, tzinfo=dt.UTC)

    def rows(value: int) -> pa.Table:
        return pa.table({"at": pa.array([moment], pa.timestamp("us", "UTC")), "s": ["a\x1b[2J"], "v": [value]})

    lake.append("t", rows(0), key=["at", "s"])
    local_workspace.history.create_branch("dev")
    lake.upsert("t", rows(1))
    lake.upsert("t", rows(2), branch="dev")
    with pytest.raises(Conflict, match="1 row of tables/t") as told:
        publish(local_workspace, "dev", "main", rows=RowRules())
    assert "(at = 2024-01-02 03:00:00Z, s = a\\x1b[2J)" in told.value.message
