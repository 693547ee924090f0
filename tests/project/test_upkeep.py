"""Compaction, collection, retention and holds on a project whose model serves: what was promised of it still holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from bascule.catalog import Catalog
from bascule.errors import EnvironmentProblem
from bascule.history import Workspace, reserve
from bascule.lake import Lake
from tests.cli.conftest import Said
from tests.project.conftest import _finished, bascule, folder, trained

__all__ = ["_finished", "bascule", "folder", "trained"]

Bascule = Callable[..., Said]


@pytest.mark.slow
def test_after_a_compaction_nothing_is_out_of_date(trained: Path, bascule: Bascule) -> None:
    said = bascule("compact", "orders", "--json").json()
    assert [(one["table"], one["files_before"], one["files_after"]) for one in said] == [("orders", 2, 1)]
    assert not any(step["runs"] for step in bascule("plan", "--json").json())
    assert bascule("run", "--quiet").code == 0
    assert bascule("compact").out.count("as it was") == 3
    assert bascule("reproduce", "delays@1", "--json").json()["verdict"] == "identical"


@pytest.mark.slow
def test_a_registered_version_is_reproduced_although_its_state_is_kept_by_no_rule(
    trained: Path, bascule: Bascule
) -> None:
    ws = Workspace.open(trained)
    trained_on = ws.history.resolve("main")
    assert bascule("compact", "orders").code == 0
    Lake(ws).delete("orders", "order_id = 'o001-01'")
    assert bascule("retention", "set", "main", "--last", "1").code == 0
    assert bascule("retention", "unnamed", "0s").code == 0
    planned = bascule("gc", "--grace", "0s", "--dry-run", "--json").json()
    done = bascule("gc", "--grace", "0s", "--json").json()
    assert done == planned | {"dry_run": False}
    assert done["expired"]["commits"]
    assert (
        bascule("sql", "select count(*) as n from orders@main~1").code == 2
    )  # what was compacted, before the row went
    assert bascule("reproduce", "delays@1", "--json").json()["verdict"] == "identical"
    assert bascule("doctor").code == 0
    assert bascule("sql", "select count(*) as n from orders", "--json").json() == [{"n": 2399}]
    assert bascule("log", "-n", "50").code == 0
    assert ws.history.commit_by_id(trained_on.id) == trained_on
    assert bascule("deploy").code == 0
    assert bascule("predict", "delays", "--example").code == 0


@pytest.mark.slow
def test_rows_under_hold_are_forgotten_only_with_a_reason(trained: Path, bascule: Bascule) -> None:
    assert bascule("hold", "add", "tables/orders", "--reason", "case 7").code == 0
    said = bascule("forget", "orders", "order_id=o001-01", "--json")
    assert (said.code, said.json()["kind"], len(said.json()["holds"])) == (1, "Held", 1)
    assert bascule("sql", "select count(*) as n from orders", "--json").json() == [{"n": 2400}]
    assert bascule("forget", "orders", "order_id=o001-01", "--dry-run").code == 0
    assert bascule("forget", "orders", "order_id=o001-01", "--despite-hold", "the court agreed").code == 0
    assert bascule("sql", "select count(*) as n from orders", "--json").json() == [{"n": 2399}]
    assert "despite-hold" in bascule("audit", "log", "-n", "20").out
    assert bascule("hold", "remove", "tables/orders").code == 0
    assert bascule("hold", "list", "--json").json() == []
    assert bascule("hold", "list", "--all", "--json").json()[0]["reason"] == "case 7"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("compact nope", "no table named 'nope'"),
        ("compact --target-size huge", "'huge'"),
        ("compact --target-size 0MB", "0 bytes"),
        ("gc --grace soon", "'soon'"),
        ("retention set main --keep often", "'often'"),
        ("retention set main --last 0", "0 states"),
        ("retention set main --keep 0d", "no time at all"),
        ("retention set main --idle 0h", "no time at all"),
        ("retention set [ --keep 9d", "is not closed"),
        ("retention set ingest/[ab --keep 9d", "is not closed"),
        ("retention remove nope", "no retention rule named 'nope'"),
        ("hold add nope --reason x", "'nope'"),
        ("hold add tables/ordres --reason x", "tables/orders"),
        ("hold add main", "needs a reason"),
        ("hold remove nope", "no hold named 'nope'"),
    ],
)
def test_bad_input_is_told_and_changes_nothing(trained: Path, bascule: Bascule, arguments: str, words: str) -> None:
    before = bascule("audit", "verify", "--json").json()
    said = bascule(*arguments.split())
    assert (said.code, words in said.err) == (2, True), said.err
    assert bascule("audit", "verify", "--json").json() == before


def test_a_full_disk_is_collected_with_the_reserve(
    folder: Path, bascule: Bascule, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = Workspace.create(folder)
    place = ws.folder / reserve.FILE
    assert place.stat().st_size == reserve.BYTES
    lake = Lake(ws)
    ws.history.create_branch("gone")
    lake.append("t", [{"id": 1}], branch="gone")
    ws.history.delete_branch("gone", force=True)
    ws.close()
    assert bascule("retention", "unnamed", "0s").code == 0
    free = {"bytes": 0}
    monkeypatch.setattr(reserve.shutil, "disk_usage", lambda _: SimpleNamespace(free=free["bytes"]))
    opened = Workspace.open_catalog

    def opening(workspace: Workspace) -> Catalog:
        # What the reserve held is what the database has to work with.
        if place.exists():
            raise EnvironmentProblem("The disk below the catalog is full.")
        free["bytes"] = 700_000
        return opened(workspace)

    monkeypatch.setattr(Workspace, "open_catalog", opening)
    assert bascule("status").code == 3
    said = bascule("gc", "--grace", "0s", "--json")
    assert said.code == 0
    assert said.json()["files"] > 0
    assert reserve.LEAST < place.stat().st_size < 700_000
    free["bytes"] = 10 * reserve.BYTES
    monkeypatch.setattr(Workspace, "open_catalog", opened)
    place.unlink()
    assert bascule("gc").code == 0
    assert place.stat().st_size == reserve.BYTES
