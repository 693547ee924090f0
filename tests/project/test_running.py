"""What a run does, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from bascule.history import Workspace
from bascule.project.steps import checking
from tests.project.parcels import CONTRACT, HEAD, PROJECT, SQL, csv, write

Bascule = Callable[..., Any]
BATCH = csv(HEAD, [("p1", "north", "2025-04-30T08:00:00Z", "2025-04-30T09:00:00Z", 12.5, 3.5, 4)])
ALL = {
    "define",
    "ingest:orders",
    "check:orders",
    "ingest:weather",
    "ingest:depots",
    "training-set",
    "train",
    "evaluate",
    "register",
    "monitor",
    "materialise",
}
DEPOT = "      - name: depot\n        logicalType: string\n        required: true\n"
RELATED = "        relationships:\n          - to: depots.depot\n"
LEARNING = {"training-set", "train", "evaluate", "register", "monitor"}


def ran(bascule: Bascule, *arguments: object) -> set[str]:
    """Run, and return the names of the steps that worked."""
    said = bascule("run", "--json", *arguments)
    assert said.code == 0, said.err
    return {receipt["step"] for receipt in said.json()["steps"] if receipt["status"] == "ran"}


def versions(bascule: Bascule) -> tuple[list[int], int]:
    """Return the versions of the model on main, youngest first, and the one in production."""
    (found,) = bascule("models", "--json").json()
    return list(found["versions"]), found["aliases"]["production"]


def test_a_second_run_does_nothing_and_says_why(trained: Path, bascule: Bascule) -> None:
    said = bascule("run")
    assert said.code == 0
    assert "Nothing to do on branch main: no step of 11 has a changed input" in said.out
    assert "= train           nothing that it reads has changed" in said.err
    assert "= ingest:orders   every file is in it (2,400 rows)" in said.err
    assert "= define          7 definitions are as the files say" in said.err
    why = bascule("why")
    assert "train has nothing to do: nothing that it reads has changed." in why.out
    assert ran(bascule) == set()


@pytest.mark.slow
def test_a_second_run_of_a_project_without_views_does_nothing(folder: Path, bascule: Bascule) -> None:
    (folder / "data").mkdir()
    rows = "".join(f"{n},{n % 7},{n % 5},{int(n % 7 > 3)}\n" for n in range(300))
    (folder / "data" / "cells.csv").write_text(f"id,width,height,big\n{rows}")
    assert bascule("init", "data", "--label", "big", "--no-git").code == 0
    assert bascule("run", "--force", "as it is").code == 0
    assert ran(bascule) == set()


def test_a_changed_view_runs_only_what_reads_it(trained: Path, bascule: Bascule) -> None:
    write(trained / "features/weather.sql", SQL["weather"].replace("rain,", "rain * 10 as rain,"))
    why = bascule("why", "define")
    assert why.out.startswith("define would run: definition:features/weather changed.")
    row = bascule("why", "training-set", "--json").json()
    assert (row["runs"], row["reason"]) == (True, "definition:features/weather changed")
    train = bascule("why", "train", "--json").json()
    assert train["reason"] == "what it reads may change (training-set: definition:features/weather changed)"
    assert {row["step"] for row in bascule("plan", "--json").json() if row["runs"]} == {
        "define",
        *LEARNING,
        "materialise",
    }
    assert ran(bascule) == {"define", *LEARNING, "materialise"}
    # What was foreseen is what came: its key is known.
    assert not any(row["runs"] for row in bascule("plan", "--json").json())


@pytest.mark.slow
def test_a_definition_that_no_step_reads_runs_nothing_else(trained: Path, bascule: Bascule) -> None:
    more = '\n[features.spare]\nsql = "features/house.sql"\nentity = "depot"\n'
    write(trained / "bascule.toml", PROJECT + more)
    planned = {row["step"]: row for row in bascule("plan", "--json").json()}
    assert [name for name, row in planned.items() if row["runs"]] == ["define"]
    assert planned["train"]["reason"] == "nothing that it reads has changed"
    assert "train has nothing to do" in bascule("why", "train").out
    assert ran(bascule) == {"define"}


@pytest.mark.slow
def test_a_changed_contract_is_planned_to_be_checked_alone(trained: Path, bascule: Bascule) -> None:
    contract = trained / "contracts" / "orders.yaml"
    write(contract, contract.read_text("utf-8") + "\n# reviewed\n")
    planned = {row["step"]: row for row in bascule("plan", "--json").json()}
    assert planned["check:orders"]["reason"] == "input:contracts/orders changed"
    assert {name for name, row in planned.items() if row["runs"]} == {"define", "check:orders"}
    assert ran(bascule) == {"define", "check:orders"}


@pytest.mark.slow
def test_a_changed_setting_of_the_model_only_trains(trained: Path, bascule: Bascule) -> None:
    write(trained / "bascule.toml", PROJECT.replace("seed = 7", "seed = 8"))
    said = bascule("why", "train", "--json").json()
    assert said["runs"]
    assert {"term": "model:seed", "before": "7", "after": "8"} in said["differs"]
    assert ran(bascule) == LEARNING - {"training-set"}


@pytest.mark.slow
def test_traffic_is_no_term_of_the_definitions(trained: Path, bascule: Bascule) -> None:
    assert bascule("deploy").code == 0
    write(trained / "features/weather.sql", "-- reviewed\n" + SQL["weather"])
    assert bascule("why", "define").out.startswith("define would run: definition:features/weather changed.")
    assert [one["term"] for one in bascule("why", "define", "--json").json()["differs"]] == [
        "definition:features/weather"
    ]


@pytest.mark.slow
def test_a_step_names_its_own_terms_beside_those_before_it(trained: Path, bascule: Bascule) -> None:
    write(trained / "bascule.toml", PROJECT.replace("trials = 1", "trials = 2").replace('ttl = "6h"', 'ttl = "7h"'))
    train = bascule("why", "train", "--json").json()
    terms = {one["term"] for one in train["differs"]}
    assert terms == {"model:search", "definition:features/weather"}
    assert train["reason"].startswith("model:search changed")
    assert "what it reads may change (training-set: definition:features/weather changed)" in train["reason"]
    evaluate = bascule("why", "evaluate", "--json").json()
    assert {one["term"] for one in evaluate["differs"]} == terms
    assert ran(bascule) == {"define", *LEARNING, "materialise"}
    assert not any(row["runs"] for row in bascule("plan", "--json").json())


@pytest.mark.slow
def test_changed_gates_do_not_train(trained: Path, bascule: Bascule) -> None:
    write(trained / "bascule.toml", PROJECT.replace("[gates]", "[gates]\ncalibration = 0.5"))
    assert bascule("why", "train", "--json").json()["runs"] is False
    said = bascule("why", "evaluate")
    assert "evaluate would run: gates changed." in said.out
    assert "0.5" in said.out
    assert ran(bascule) == {"evaluate"}


@pytest.mark.slow
def test_why_names_the_file_that_is_new(trained: Path, bascule: Bascule) -> None:
    write(trained / "data/orders/3.csv", BATCH)
    said = bascule("why", "ingest:orders")
    assert said.code == 0
    assert said.out.startswith("ingest:orders would run: file:3.csv is new.\n    file:3.csv\n      was  (not there)\n")
    assert "train would run: what it reads may change (ingest:orders: file:3.csv is new)." in bascule("why").out
    assert "file:3.csv" in bascule("why", "train").out
    assert "▸  ingest:orders   file:3.csv is new" in bascule("plan").out

    assert ran(bascule) == {"ingest:orders", "check:orders", *LEARNING, "materialise"}
    assert "file:3.csv" not in bascule("why", "ingest:orders").out


@pytest.mark.slow
def test_switching_a_change_back_does_not_train_again(trained: Path, bascule: Bascule) -> None:
    wetter = PROJECT.replace("seed = 7", "seed = 9")
    write(trained / "bascule.toml", wetter)
    assert "train" in ran(bascule)
    write(trained / "bascule.toml", PROJECT)
    said = bascule("why", "train", "--json").json()
    assert (said["runs"], said["reason"]) == (False, "nothing that it reads has changed")
    assert "train" not in ran(bascule)
    # The same content is the same version: it is in production again, under its number.
    assert versions(bascule) == ([2, 1], 1)
    assert ran(bascule) == set()
    write(trained / "bascule.toml", wetter)
    assert "register" in ran(bascule)
    assert versions(bascule) == ([2, 1], 2)


@pytest.mark.slow
def test_a_run_does_not_overrule_who_brought_an_older_version_back(trained: Path, bascule: Bascule) -> None:
    assert bascule("deploy").code == 0
    write(trained / "bascule.toml", PROJECT.replace("seed = 7", "seed = 9"))
    ran(bascule)
    assert bascule("deploy", "delays", 2).code == 0
    assert bascule("promote", "delays").code == 0
    assert bascule("deploy", "delays", 1).code == 0
    assert bascule("promote", "delays").code == 0
    assert versions(bascule) == ([2, 1], 1)
    assert "register" not in ran(bascule)
    assert versions(bascule) == ([2, 1], 1)
    told = {row["step"]: row["reason"] for row in bascule("plan", "--json").json()}
    assert told["register"] == "delays version 2 is this model; version 1 was brought into its place"
    write(trained / "bascule.toml", PROJECT.replace("seed = 7", "seed = 11"))
    assert "register" in ran(bascule)
    assert versions(bascule) == ([3, 2, 1], 3)


@pytest.mark.slow
def test_another_branch_takes_in_what_this_one_has(trained: Path, bascule: Bascule) -> None:
    """A batch that one branch has taken in is new to every other one."""
    assert bascule("branch", "other").code == 0
    write(trained / "data/orders/3.csv", BATCH)
    assert "ingest:orders" in ran(bascule)
    said = bascule("why", "ingest:orders", "--branch", "other")
    assert "would run: branch 'other' does not have what its last run made." in said.out
    again = ran(bascule, "--branch", "other")
    assert {"ingest:orders", "register", "monitor", "materialise"} <= again
    assert "train" not in again

    workspace = Workspace.open(trained)
    rows = {b: workspace.history.get(b, "tables/orders")["rows"] for b in ("main", "other")}
    workspace.close()
    assert rows == {"main": 2401, "other": 2401}


@pytest.mark.slow
def test_what_was_reverted_comes_in_again(trained: Path, bascule: Bascule) -> None:
    write(trained / "data/orders/3.csv", BATCH)
    ran(bascule)
    ingested = next(c for c in bascule("log", "--json", "--path", "tables/orders").json() if "3.csv" in c["message"])
    reverted = bascule("revert", ingested["id"])
    assert reverted.code == 0, reverted.err
    assert rows_of(trained) == 2400

    (trained / "data/orders/3.csv").rename(trained / "3.csv")
    done = ran(bascule)
    assert "train" not in done
    assert "materialise" in done  # the online store must forget the order too
    (trained / "3.csv").rename(trained / "data/orders/3.csv")
    assert "ingest:orders" in ran(bascule)
    assert rows_of(trained) == 2401


def test_an_unknown_step_is_named(trained: Path, refused: Callable[..., Any]) -> None:
    refused("why", "trian", code=2, words=("There is no step named 'trian'", "Did you mean 'train'?"))
    refused("step", "run", "trian", code=2, words=("There is no step named 'trian'", "Did you mean 'train'?"))


def test_a_step_needs_those_before_it(trained: Path, refused: Callable[..., Any], bascule: Bascule) -> None:
    receipt = bascule("step", "run", "train", "--json").json()
    assert (receipt["step"], receipt["status"]) == ("train", "cached")
    write(trained / "data/orders/3.csv", BATCH)
    refused(
        "step",
        "run",
        "train",
        code=3,
        words=("train reads what ingest:orders makes", "file:3.csv is new", "bascule step run ingest:orders"),
    )


@pytest.mark.slow
def test_a_step_that_fails_has_a_receipt_too(trained: Path, bascule: Bascule) -> None:
    write(trained / "data/orders/3.csv", BATCH.replace("north", "[/moon]"))
    said = bascule("step", "run", "ingest:orders", "--json")
    assert said.code == 1
    receipt = said.json()
    assert (receipt["step"], receipt["status"], receipt["outputs"]) == ("ingest:orders", "failed", [])
    assert [check["sample"] for check in receipt["checks"] if check["column"] == "depot"]
    assert bascule("runs", receipt["run_id"], "--json").json()["run"]["status"] == "failed"
    assert "is not merged into 'main'" in receipt["summary"]
    assert said.err.startswith(f"bascule: {receipt['summary']}")

    write(trained / "bascule.toml", PROJECT.replace("data/orders/*.csv", "data/[/order]/*.csv"))
    said = bascule("run")
    assert said.code == 2
    assert "✗ ingest:orders" in said.err
    assert said.err.count("data/[/order]/*.csv") == 2


@pytest.mark.slow
def test_a_check_that_reads_another_table_runs_when_that_one_changes(trained: Path, bascule: Bascule) -> None:
    write(trained / "contracts/orders.yaml", CONTRACT.replace(DEPOT, DEPOT + RELATED))
    assert ran(bascule) == {"define", "check:orders"}
    depots = trained / "data/depots.csv"
    write(depots, depots.read_text() + "west,2020\n")
    said = bascule("why", "check:orders").out
    assert "check:orders would run: what it reads may change (ingest:depots: file:depots.csv changed" in said
    assert "check:orders" in ran(bascule)

    write(depots, "depot,opened\nnorth,1987\nsouth,2004\n")
    said = bascule("run")
    assert said.code == 1
    assert "is not merged into 'main'" in said.err
    assert "orders: 1 of " in said.err
    assert "depots" in said.err
    assert rows_of(trained, "depots") == 4


@pytest.mark.slow
def test_a_table_comes_after_those_that_its_contract_looks_at(parcels: Path, bascule: Bascule) -> None:
    write(parcels / "contracts/orders.yaml", CONTRACT.replace(DEPOT, DEPOT + RELATED))
    said = bascule("run", "--json")
    assert said.code == 0, said.err
    steps = [receipt["step"] for receipt in said.json()["steps"]]
    assert steps.index("ingest:depots") < steps.index("ingest:orders") < steps.index("check:orders")


@pytest.mark.slow
def test_a_check_of_the_age_runs_again_as_time_goes_by(
    trained: Path, bascule: Bascule, monkeypatch: pytest.MonkeyPatch
) -> None:
    age = "slaProperties:\n  - {property: latency, value: 100000, unit: d, element: orders.ordered_at}\n"
    write(trained / "contracts/orders.yaml", CONTRACT + age)
    assert "check:orders" in ran(bascule)

    class Later(datetime):
        @classmethod
        def now(cls, zone: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(zone) + timedelta(hours=2)

    monkeypatch.setattr(checking, "datetime", Later)
    assert "check:orders would run: clock:hour changed from " in bascule("why", "check:orders").out
    assert ran(bascule) == {"check:orders"}


def rows_of(folder: Path, table: str = "orders") -> int:
    workspace = Workspace.open(folder)
    rows = workspace.history.get("main", f"tables/{table}")["rows"]
    workspace.close()
    return int(rows)
