"""Batches: written on a branch of their own, checked there, and merged only when they pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from bascule.catalog.schema import check_results
from bascule.contracts.scanning import Scan
from bascule.errors import CheckFailed, Conflict, InputError
from bascule.history import Workspace
from bascule.lake import Lake
from bascule.lake.engine import opened
from bascule.project import batches
from bascule.project.batches import bring_in
from bascule.project.pasts import past_values
from tests.project.parcels import CONTRACT, HEAD, csv, write

ROW = ("p1", "north", "2025-05-01T08:00:00Z", "2025-05-01T09:00:00Z", 12.5, 3.5, 4)


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., Path]:
    """Write a file with one order for each name that is given."""

    def make(name: str, *keys: str, depot: str = "north") -> Path:
        return write(tmp_path / "files" / name, csv(HEAD, [(key, depot, *ROW[2:]) for key in keys]))

    return make


@pytest.fixture
def held(local_workspace: Workspace) -> Workspace:
    """A workspace with the contract of orders."""
    value = {"kind": "contract", "table": "orders", "text": CONTRACT, "file": "contracts/orders.yaml"}
    local_workspace.history.commit("main", {"contracts/orders": value}, message="Define contracts/orders")
    return local_workspace


def keys_of(workspace: Workspace, ref: str = "main") -> list[str]:
    with opened() as connection:
        scan = Lake(workspace).scan(workspace.history.get(ref, "tables/orders"))
        return [row[0] for row in connection.execute(f"select order_id from {scan} order by 1").fetchall()]


def branches(workspace: Workspace) -> list[str]:
    return [ref.name for ref in workspace.history.branches()]


@pytest.mark.slow
def test_a_batch_is_checked_and_merged(held: Workspace, files: Callable[..., Path]) -> None:
    told: list[str] = []
    first = bring_in(held, "orders", files("1.csv", "a", "b"), "main", key=["order_id"], tell=told.append)
    assert (first.report.rows, first.table) == (2, "orders")
    assert first.checks is not None
    assert first.checks.passed
    assert first.commit is not None
    assert first.commit.message == "Bring 1.csv into orders"
    assert [entry["file"] for entry in first.commit.meta["ingest"]] == ["1.csv"]
    assert told[-1] == "checking 2 rows"
    assert branches(held) == ["main"]
    assert held.history.get("main", "tables/orders")["key"] == ["order_id"]

    bring_in(held, "orders", files("2.csv", "c"), "main")
    assert keys_of(held) == ["a", "b", "c"]


@pytest.mark.slow
def test_a_content_comes_in_once(held: Workspace, files: Callable[..., Path]) -> None:
    bring_in(held, "orders", files("1.csv", "a"), "main")
    head = held.history.resolve("main").id
    again = bring_in(held, "orders", files("copy.csv", "a"), "main")
    assert again.commit is None
    assert not again.report.changed
    assert held.history.resolve("main").id == head


@pytest.mark.slow
def test_a_refused_batch_stays_on_its_branch(held: Workspace, files: Callable[..., Path]) -> None:
    bring_in(held, "orders", files("1.csv", "a"), "main")
    head = held.history.resolve("main").id
    past = past_values(held, "tables/orders", "batch", at="main")
    with pytest.raises(CheckFailed) as refused:
        bring_in(held, "orders", files("2.csv", "b", depot="moon"), "main", run="run_1")
    assert held.history.resolve("main").id == head
    (branch,) = [name for name in branches(held) if name != "main"]
    assert branch.startswith("ingest/orders-")
    assert past_values(held, "tables/orders", "batch", at="main") == past != {}
    assert branch in refused.value.hint
    assert keys_of(held, branch) == ["a", "b"]
    (problem,) = [row for row in refused.value.details if row["severity"] == "critical"]
    assert (problem["column"], problem["failed_rows"]) == ("depot", 1)
    assert problem["sample"][0]["order_id"] == "b"
    with held.catalog.read() as conn:
        kept = conn.execute(select(check_results).where(check_results.c.run_id == "run_1")).all()
    assert {row.status for row in kept} >= {"passed", "failed"}


@pytest.mark.slow
def test_a_key_that_the_table_has_already_is_refused(held: Workspace, files: Callable[..., Path]) -> None:
    bring_in(held, "orders", files("1.csv", "a", "b"), "main", key=["order_id"])
    with pytest.raises(CheckFailed, match="order_id"):
        bring_in(held, "orders", files("2.csv", "b", "c"), "main")
    assert keys_of(held) == ["a", "b"]


@pytest.mark.slow
def test_replacing_puts_files_in_the_place_of_the_table(held: Workspace, files: Callable[..., Path]) -> None:
    bring_in(held, "orders", files("1.csv", "a", "b"), "main", mode="replace")
    bring_in(held, "orders", files("1.csv", "b", "c"), "main", mode="replace")
    assert keys_of(held) == ["b", "c"]
    with pytest.raises(CheckFailed):
        bring_in(held, "orders", files("1.csv", "d", "d"), "main", mode="replace")
    assert keys_of(held) == ["b", "c"]


def test_a_file_that_cannot_be_read_makes_no_branch(held: Workspace, files: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="has a header and no rows"):
        bring_in(held, "orders", files("1.csv"), "main")
    assert branches(held) == ["main"]
    assert held.history.read("main", "tables/orders") is None


@pytest.mark.slow
def test_two_batches_at_once_are_both_kept(held: Workspace, files: Callable[..., Path]) -> None:
    bring_in(held, "orders", files("1.csv", "a"), "main")

    def meanwhile(text: str) -> None:
        if text.startswith("checking"):
            bring_in(held, "orders", files("3.csv", "c"), "main")

    bring_in(held, "orders", files("2.csv", "b"), "main", tell=meanwhile)
    assert keys_of(held) == ["a", "b", "c"]
    assert branches(held) == ["main"]


@pytest.mark.slow
def test_the_same_file_twice_at_once_comes_in_once(held: Workspace, files: Callable[..., Path]) -> None:
    bring_in(held, "orders", files("1.csv", "a"), "main")
    file = files("2.csv", "b")

    def meanwhile(text: str) -> None:
        if text.startswith("checking"):
            bring_in(held, "orders", file, "main")

    last = bring_in(held, "orders", file, "main", tell=meanwhile)
    assert last.commit is None
    assert keys_of(held) == ["a", "b"]
    assert branches(held) == ["main"]


@pytest.mark.slow
def test_a_table_that_never_rests_is_given_up(held: Workspace, files: Callable[..., Path]) -> None:
    bring_in(held, "orders", files("1.csv", "a"), "main")
    tries = 0

    def meanwhile(text: str) -> None:
        nonlocal tries
        if text.startswith("checking"):
            tries += 1
            bring_in(held, "orders", files("others.csv", f"x{tries}"), "main", mode="replace")

    with pytest.raises(Conflict, match="both changed tables/orders"):
        bring_in(held, "orders", files("2.csv", "b"), "main", tell=meanwhile)
    assert tries == batches.TRIES
    assert branches(held) == ["main"]


@pytest.mark.slow
def test_without_a_contract_a_key_names_one_row(local_workspace: Workspace, files: Callable[..., Path]) -> None:
    ws = local_workspace
    with pytest.raises(CheckFailed, match="order_id: key is unique"):
        bring_in(ws, "orders", files("0.csv", "a", "a"), "main", key=["order_id"])
    assert ws.history.read("main", "tables/orders") is None
    done = bring_in(ws, "orders", files("1.csv", "a", "b"), "main", key=["order_id"])
    assert done.checks is None
    for name, keys in (("2.csv", ("c", "c")), ("3.csv", ("b", "c")), ("4.csv", ("c", ""))):
        with pytest.raises(CheckFailed, match="order_id") as refused:
            bring_in(ws, "orders", files(name, *keys), "main")
        assert "bascule contract suggest orders" in refused.value.hint
    assert keys_of(ws) == ["a", "b"]


@pytest.mark.slow
def test_two_batches_at_once_with_one_key_are_not_both_kept(
    local_workspace: Workspace, files: Callable[..., Path]
) -> None:
    bring_in(local_workspace, "orders", files("1.csv", "a"), "main", key=["order_id"])

    def meanwhile(text: str) -> None:
        if text.startswith("checking"):
            bring_in(local_workspace, "orders", files("3.csv", "b", depot="south"), "main")

    with pytest.raises(CheckFailed, match="order_id: key is unique"):
        bring_in(local_workspace, "orders", files("2.csv", "b"), "main", tell=meanwhile)
    assert keys_of(local_workspace) == ["a", "b"]


@pytest.mark.slow
def test_without_a_contract_a_column_keeps_coming(local_workspace: Workspace, tmp_path: Path) -> None:
    ws, names = local_workspace, list(HEAD)
    bring_in(ws, "orders", write(tmp_path / "1.csv", csv(names, [ROW])), "main", key=["order_id"])
    for place, renamed in ((4, []), (4, ["distanze"])):
        left = [n for n in names if n != names[place]] + renamed
        values = dict(zip(names, ("p2", *ROW[1:]), strict=True)) | {"distanze": 12.5}
        batch = write(tmp_path / "2.csv", csv(left, [[values[name] for name in left]]))
        for mode in ("append", "replace"):
            with pytest.raises(CheckFailed, match="distance: column") as refused:
                bring_in(ws, "orders", batch, "main", mode=mode)  # type: ignore[arg-type]
            assert ("distanze is new and looks like it" in refused.value.message) == bool(renamed)
    assert keys_of(ws) == ["p1"]
    more = write(tmp_path / "3.csv", csv([*names, "fragile"], [("p3", *ROW[1:], True)]))
    assert bring_in(ws, "orders", more, "main").commit is not None


@pytest.mark.slow
def test_the_rows_of_a_batch_are_read_as_the_table_has_them(held: Workspace, files: Callable[..., Path]) -> None:
    """Keys that are numbers by chance are texts where the table has texts."""
    bring_in(held, "orders", files("1.csv", "a"), "main", key=["order_id"])
    bring_in(held, "orders", files("2.csv", "17", "18"), "main")
    assert keys_of(held) == ["17", "18", "a"]


@pytest.mark.slow
def test_what_was_measured_of_a_batch_is_not_measured_again_for_the_merge(
    held: Workspace, files: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []
    by_part = Scan._by_part

    def counted(scan: Scan, ids: Sequence[str], columns: Sequence[str]) -> Mapping[str, dict[str, Any]]:
        measured.append(len(columns))
        return by_part(scan, ids, columns)

    monkeypatch.setattr(Scan, "_by_part", counted)
    bring_in(held, "orders", files("1.csv", "a", "b"), "main", key=["order_id"])
    assert len(measured) == 1
    bring_in(held, "orders", files("2.csv", "c"), "main")
    assert len(measured) == 2  # the batch alone: the merge, and the rows that were there, are known already
    with pytest.raises(CheckFailed, match="order_id"):
        bring_in(held, "orders", files("3.csv", "d", "c"), "main")


@pytest.mark.slow
def test_a_python_check_that_runs_over_its_time_refuses_the_batch(
    local_workspace: Workspace, files: Callable[..., Path]
) -> None:
    folder = local_workspace.folder.parent
    write(folder / "bascule.toml", '[project]\nname = "parcels"\n\n[checks]\ntime_limit = "2s"\n')
    write(folder / "own.py", "def endless(rows):\n    while True:\n        pass\n")
    rule = """    quality:
      - {type: custom, engine: bascule, implementation: {check: python, function: "own:endless"}}
"""
    value = {"kind": "contract", "table": "orders", "text": CONTRACT + rule, "file": "contracts/orders.yaml"}
    local_workspace.history.commit("main", {"contracts/orders": value}, message="Define contracts/orders")
    with pytest.raises(CheckFailed, match="own:endless did not answer within 2 s"):
        bring_in(local_workspace, "orders", files("1.csv", "a"), "main")
    assert local_workspace.history.read("main", "tables/orders") is None
