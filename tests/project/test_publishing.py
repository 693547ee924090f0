"""Merging into production: the gates of a changed model, the contracts of changed tables, and the rollout after it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import select

from bascule.catalog.schema import approvals
from bascule.delivery import planned
from bascule.errors import CheckFailed, Conflict, InputError, NotFound
from bascule.history import Workspace
from bascule.lake import Lake, engine
from bascule.lake.doctor import check
from bascule.project import publishing, reverting
from bascule.project.publishing import pick, publish
from bascule.project.reverting import revert
from tests.project.parcels import CONTRACT, HEAD, PROJECT, csv, write

Bascule = Callable[..., Any]
CONTRACTED = {"kind": "contract", "table": "orders", "text": CONTRACT, "file": "contracts/orders.yaml"}


def model(**versions: bool | str) -> dict[str, Any]:
    """Return a model whose last version is in production: `v1=True` passed, `v1="why"` was forced."""
    made = {
        name[1:]: {
            "version": int(name[1:]),
            "passed": passed is True,
            "forced": passed if isinstance(passed, str) else "",
            "metrics": {},
        }
        for name, passed in versions.items()
    }
    last = max(int(number) for number in made)
    return {"kind": "model", "name": "delays", "versions": made, "aliases": {"production": last}}


def test_a_model_that_failed_its_gates_is_not_merged(local_workspace: Workspace) -> None:
    history = local_workspace.history
    history.commit("main", {"models/delays": model(v1=True)}, message="one")
    history.create_branch("dev")
    history.commit("dev", {"models/delays": model(v1=True, v2=False)}, message="two")
    head = history.resolve("main").id
    with pytest.raises(CheckFailed, match="version 2 of models/delays did not pass its gates") as refused:
        publish(local_workspace, "dev", "main")
    assert "bascule models delays 2" in refused.value.hint
    assert history.resolve("main").id == head

    history.commit("dev", {"models/delays": model(v1=True, v2="a drill")}, message="forced")
    done = publish(local_workspace, "dev", "main")
    assert done.checked == ("models/delays",)
    assert [change.path for change in done.changes] == ["models/delays"]
    assert done.shipped == ()
    assert publish(local_workspace, "dev", "main").changes == ()


def test_a_model_that_nobody_judged_is_merged_and_restored_with_its_alias(local_workspace: Workspace) -> None:
    history = local_workspace.history
    found = model(v1=False)
    found["versions"]["1"]["evaluation_id"] = ""  # as what a client of MLflow registers
    history.create_branch("dev")
    made = history.commit("dev", {"models/delays": found}, message="Register, and deploy")
    assert publish(local_workspace, "dev", "main").checked == ("models/delays",)
    history.commit("main", {"models/delays": None}, message="Delete the model delays")
    publishing.restore(local_workspace, ["models/delays"], made.id, "main")
    assert history.read("main", "models/delays") == found


def test_a_deployment_whose_measure_cannot_be_asked_is_not_merged(local_workspace: Workspace) -> None:
    history = local_workspace.history
    history.commit("main", {"models/delays": model(v1=True)}, message="one")
    history.create_branch("dev")

    def put(column: str, table: str) -> None:
        rules = {"sql": f"select prediction_id, {column} as value from {table}", "margin": 1.0}
        value = planned(None, "delays", "delays", guardrails={"measures": {"cost": rules}})
        history.commit("dev", {"deployments/delays": value}, message="Rules")

    put("latency", "predictions")
    head = history.resolve("main").id
    with pytest.raises(CheckFailed, match=r"cost\.sql: This SQL cannot run: there is no column 'latency'") as refused:
        publish(local_workspace, "dev", "main", ship=False)
    assert "'latency_us'" in refused.value.hint
    assert history.resolve("main").id == head
    put("prize", "sold")
    with pytest.raises(CheckFailed, match="no table named 'sold'"):
        publish(local_workspace, "dev", "main", ship=False)
    # A table that comes with it counts as there.
    Lake(local_workspace).append("sold", pa.table({"prediction_id": ["p"], "price": [1.0]}), branch="dev")
    with pytest.raises(CheckFailed, match="no column 'prize'") as refused:
        publish(local_workspace, "dev", "main", ship=False)
    assert "'price'" in refused.value.hint
    put("price", "sold")
    publish(local_workspace, "dev", "main", ship=False)
    assert history.read("main", "deployments/delays") is not None


def test_versions_of_both_sides_are_kept_and_aliases_are_not_guessed(local_workspace: Workspace) -> None:
    history = local_workspace.history
    history.commit("main", {"models/delays": model(v1=True)}, message="one")
    for name, versions in (("left", {"v1": True, "v2": True}), ("right", {"v1": True, "v3": True})):
        history.create_branch(name)
        history.commit(name, {"models/delays": model(**versions)}, message=name)
    publish(local_workspace, "left", "main")
    with pytest.raises(Conflict, match="both changed models/delays") as clash:
        publish(local_workspace, "right", "main")
    assert clash.value.paths == ["models/delays"]
    publish(local_workspace, "right", "main", theirs=["models/delays"])
    assert history.get("main", "models/delays")["aliases"] == {"production": 3}


def test_a_changed_contract_is_held_against_the_table(local_workspace: Workspace, tmp_path: Path) -> None:
    """The data did not change, what is asked of them did."""
    from bascule.project.batches import bring_in

    row = ("p1", "moon", "2025-05-01T08:00:00Z", "2025-05-01T09:00:00Z", 12.5, 3.5, 4)
    bring_in(local_workspace, "orders", write(tmp_path / "1.csv", csv(HEAD, [row])), "main")
    history = local_workspace.history
    history.create_branch("strict")
    history.commit("strict", {"contracts/orders": CONTRACTED}, message="Define contracts/orders")
    head = history.resolve("main").id
    with pytest.raises(CheckFailed, match="'strict' is not merged into 'main'") as refused:
        publish(local_workspace, "strict", "main")
    assert {row["column"] for row in refused.value.details if row["severity"] == "critical"} == {"depot"}
    assert history.resolve("main").id == head

    wider = {**CONTRACTED, "text": CONTRACT.replace("south, east", "south, east, moon")}
    history.commit("strict", {"contracts/orders": wider}, message="The moon is a depot")
    assert publish(local_workspace, "strict", "main").checked == ("tables/orders",)


def moonlit(workspace: Workspace, tmp_path: Path) -> str:
    """Widen the contract, then bring in a row that only the wider one allows; return the commit that widened it."""
    from bascule.project.batches import bring_in

    history = workspace.history
    row = ("p1", "north", "2025-05-01T08:00:00Z", "2025-05-01T09:00:00Z", 12.5, 3.5, 4)
    bring_in(workspace, "orders", write(tmp_path / "1.csv", csv(HEAD, [row])), "main")
    history.commit("main", {"contracts/orders": CONTRACTED}, message="Define contracts/orders")
    wider = {**CONTRACTED, "text": CONTRACT.replace("south, east", "south, east, moon")}
    widened = history.commit("main", {"contracts/orders": wider}, message="The moon is a depot").id
    bring_in(workspace, "orders", write(tmp_path / "2.csv", csv(HEAD, [("p2", "moon", *row[2:])])), "main")
    return widened


@pytest.mark.slow
def test_a_revert_to_a_state_that_never_was_is_checked(workspace: Workspace, tmp_path: Path) -> None:
    widened = moonlit(workspace, tmp_path)
    history = workspace.history
    head = history.resolve("main").id
    with pytest.raises(CheckFailed, match="is not reverted on 'main': 1 critical check failed") as refused:
        revert(workspace, widened, "main")
    assert "moon" in refused.value.message
    assert "--force" in refused.value.hint
    assert history.resolve("main").id == head
    with pytest.raises(InputError, match="needs a reason"):
        revert(workspace, widened, "main", force=" ")
    assert history.resolve("main").id == head

    made = revert(workspace, widened, "main", force="the moon is closed")
    assert made.meta["forced"] == "the moon is closed"
    assert "depot" in made.meta["refused"]
    assert history.get("main", "contracts/orders") == CONTRACTED
    with workspace.catalog.read() as conn:
        (kept,) = conn.execute(select(approvals)).all()
    assert (kept.subject, kept.decision, kept.reason) == (f"commits/{made.id}", "forced", "the moon is closed")


@pytest.mark.slow
def test_the_way_back_to_a_state_that_was_is_not_checked(workspace: Workspace, tmp_path: Path) -> None:
    """Also when that state would be refused now, and when only traffic moved since."""
    widened = moonlit(workspace, tmp_path)
    history = workspace.history
    revert(workspace, widened, "main", force="a drill")  # the state that checks refuse
    bad = history.resolve("main")
    history.commit("main", {"contracts/orders": history.get(widened, "contracts/orders")}, message="Widen it again")
    again = history.resolve("main").id
    history.commit("main", {"deployments/delays": {"kind": "deployment", "name": "delays"}}, message="Serve")
    made = revert(workspace, again, "main")
    assert "forced" not in made.meta
    assert history.digest(made, "contracts/orders") == history.digest(bad, "contracts/orders")


@pytest.mark.slow
def test_a_revert_on_a_branch_of_ones_own_is_not_checked(local_workspace: Workspace, tmp_path: Path) -> None:
    widened = moonlit(local_workspace, tmp_path)
    local_workspace.history.create_branch("dev")
    assert "forced" not in revert(local_workspace, widened, "dev").meta


@pytest.mark.slow
def test_a_revert_is_checked_against_what_it_lands_on(
    local_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row comes in while the revert is being checked: it is checked anew, and refused."""
    from bascule.project.batches import bring_in

    history = local_workspace.history
    widened = moonlit(local_workspace, tmp_path)
    revert(local_workspace, "main", "main")
    looked = reverting._has_been

    def late(*arguments: Any) -> bool:
        found = looked(*arguments)
        monkeypatch.setattr(reverting, "_has_been", looked)
        bring_in(local_workspace, "orders", tmp_path / "2.csv", "main")
        return found

    monkeypatch.setattr(reverting, "_has_been", late)
    with pytest.raises(CheckFailed, match="depot"):
        revert(local_workspace, widened, "main")
    assert history.get("main", "contracts/orders") != CONTRACTED


@pytest.mark.slow
def test_a_forced_revert_prints_what_was_refused(trained: Path, bascule: Bascule, tmp_path: Path) -> None:
    workspace = Workspace.open(trained)
    widened = moonlit(workspace, tmp_path)
    said = bascule("revert", widened)
    assert (said.code, "moon" in said.err) == (1, True)
    said = bascule("revert", widened, "--force", "the moon is closed")
    assert said.code == 0, said.err
    assert "forced (the moon is closed)" in said.out
    assert "moon" in said.out.partition("forced")[2]


@pytest.mark.slow
def test_one_batch_is_picked_from_a_branch_and_the_rest_merged_later(
    local_workspace: Workspace, tmp_path: Path
) -> None:
    from bascule.project.batches import bring_in

    history, lake = local_workspace.history, Lake(local_workspace)
    rows = [(f"p{n}", "north", "2025-05-01T08:00:00Z", "2025-05-01T09:00:00Z", 12.5, 3.5, n) for n in range(5)]
    bring_in(local_workspace, "orders", write(tmp_path / "0.csv", csv(HEAD, rows[:1])), "main", key=["order_id"])
    history.create_branch("dev")
    for n in (1, 2, 3):
        bring_in(local_workspace, "orders", write(tmp_path / f"{n}.csv", csv(HEAD, rows[n : n + 1])), "dev")
    lake.delete("orders", "order_id = 'p0'")

    def orders() -> list[str]:
        with engine.opened() as connection:
            source = lake.scan(history.get("main", "tables/orders"))
            return sorted(name for (name,) in connection.sql(f"SELECT order_id FROM {source}").fetchall())

    made = pick(local_workspace, "dev~1", "main")
    assert orders() == ["p2"]
    assert pick(local_workspace, "dev~1", "main").commit == made.commit  # it has it
    assert bring_in(local_workspace, "orders", tmp_path / "2.csv", "main").commit is None  # ingested, by the pick
    report = check(local_workspace)
    assert (report.problems, report.orphans) == ((), ())
    with pytest.raises(Conflict):
        publish(local_workspace, "dev", "main")  # rows were deleted here: that is not for a merge to settle
    history.create_branch("other", "main~2")  # as dev began
    pick(local_workspace, "dev~1", "other")
    publish(local_workspace, "dev", "other")
    with engine.opened() as connection:
        source = lake.scan(history.get("other", "tables/orders"))
        assert connection.sql(f"SELECT count(*), count(DISTINCT order_id) FROM {source}").fetchall() == [(4, 4)]


@pytest.mark.slow
def test_a_refused_merge_of_appends_leaves_no_file(local_workspace: Workspace, tmp_path: Path) -> None:
    from bascule.project.batches import bring_in

    history = local_workspace.history
    history.commit("main", {"contracts/orders": CONTRACTED}, message="Define contracts/orders")
    row = ("p1", "north", "2025-05-01T08:00:00Z", "2025-05-01T09:00:00Z", 12.5, 3.5, 4)
    bring_in(local_workspace, "orders", write(tmp_path / "1.csv", csv(HEAD, [row])), "main", key=["order_id"])
    for name in ("left", "right"):
        history.create_branch(name)
        rows = [("same", "north", *row[2:6], len(name))]
        bring_in(local_workspace, "orders", write(tmp_path / f"{name}.csv", csv(HEAD, rows)), name)
    publish(local_workspace, "left", "main")
    with pytest.raises(CheckFailed, match="same"):
        publish(local_workspace, "right", "main")
    report = check(local_workspace)
    assert (report.problems, report.orphans) == ((), ())
    assert Lake(local_workspace).files(history.get("main", "tables/orders"))

    with pytest.raises(NotFound, match="There is no path in conflict named 'tables/depots'"):
        publish(local_workspace, "right", "main", ours=["tables/depots"])
    assert check(local_workspace).orphans == ()


def stepping(*steps: int) -> str:
    """Return the project with other steps of its canary, and another model."""
    text = PROJECT.replace("seed = 7", "seed = 8")
    return text.replace("[deployment]", f"[deployment]\nsteps = {list(steps)}")


def traffic(bascule: Bascule, branch: str = "main") -> list[dict[str, int]]:
    return bascule("status", "--branch", branch, "--json").json()["deployments"]["delays"]


@pytest.mark.slow
def test_the_first_model_that_is_merged_serves_at_once(parcels: Path, bascule: Bascule) -> None:
    """No command but init, run and merge is needed to get from files to answers."""
    assert bascule("switch", "-c", "first").code == 0
    assert bascule("run").code == 0
    assert traffic(bascule, "first") == []
    assert "deployments/delays serves version 1" in bascule("merge", "first").out
    assert traffic(bascule) == [{"version": 1, "weight": 100}]
    # Still on the branch, which serves nothing: main is what is meant.
    said = bascule("rollback", "deployments/delays", "--yes")
    assert "Roll back delays: not in service, on main" in said.out
    assert traffic(bascule) == []
    for words in ("version 1 at 100 %", "It has all traffic already"):
        said = bascule("deploy", "delays", "--branch", "main")
        assert (said.code, words in said.out) == (0, True)
        assert traffic(bascule) == [{"version": 1, "weight": 100}]


@pytest.mark.slow
def test_a_refused_model_ships_nothing(parcels: Path, bascule: Bascule) -> None:
    """A branch whose model the gates refuse brings tables and rules to main, and no traffic."""
    text = (parcels / "bascule.toml").read_text()
    write(parcels / "bascule.toml", text.replace("[gates]", "[gates]\ncalibration = 0.0"))
    assert bascule("switch", "-c", "first").code == 0
    assert bascule("run").code == 1
    assert bascule("merge", "first", "--json").json()["shipped"] == []
    assert traffic(bascule) == []


@pytest.mark.slow
def test_rules_of_the_file_reach_the_deployment_and_leave_its_traffic(trained: Path, bascule: Bascule) -> None:
    assert bascule("deploy").code == 0
    assert bascule("switch", "-c", "dev").code == 0
    write(trained / "bascule.toml", stepping(25, 100))
    assert bascule("run").code == 0
    assert bascule("merge", "dev").code == 0
    assert traffic(bascule) == [{"version": 1, "weight": 75}, {"version": 2, "weight": 25}]


@pytest.mark.slow
def test_the_current_branch_is_meant_once_it_deployed_something(trained: Path, bascule: Bascule) -> None:
    assert bascule("deploy").code == 0
    assert bascule("switch", "-c", "dev").code == 0
    write(trained / "bascule.toml", PROJECT.replace("seed = 7", "seed = 8"))
    assert bascule("run").code == 0
    assert bascule("deploy").code == 0  # a canary on dev alone
    assert bascule("promote", "delays", "--json").json()["branch"] == "dev"
    assert traffic(bascule, "dev") == [{"version": 2, "weight": 100}]
    assert bascule("rollback", "delays", "--yes", "--json").json()["branch"] == "dev"
    assert bascule("rollback", "delays", "--branch", "main", "--yes", "--json").json()["branch"] == "main"
    assert traffic(bascule) == []


@pytest.mark.slow
def test_a_canary_goes_on_by_hand(trained: Path, bascule: Bascule) -> None:
    assert bascule("deploy").code == 0
    write(trained / "bascule.toml", stepping(10, 40, 100))
    assert bascule("run").code == 0
    assert bascule("deploy").code == 0
    assert "version 1 at 60 %, version 2 at 40 %" in bascule("advance", "deployments/delays").out
    assert "version 2 at 100 %" in bascule("promote", "delays", "-m", "it is good").out
    assert bascule("promote", "delays").code == 2


@pytest.mark.slow
def test_a_merge_ships_the_new_version_by_canary(trained: Path, bascule: Bascule) -> None:
    assert bascule("deploy", "delays").code == 0
    assert bascule("switch", "-c", "dev").code == 0
    write(trained / "bascule.toml", PROJECT.replace("seed = 7", "seed = 8"))
    assert bascule("run").code == 0
    said = bascule("merge", "dev", "main")
    assert said.code == 0, said.err
    assert "checked models/delays" in said.out
    assert "deployments/delays rolls out version 2" in said.out
    status = bascule("status", "--branch", "main", "--json").json()
    assert status["deployments"]["delays"] == [{"version": 1, "weight": 90}, {"version": 2, "weight": 10}]


@pytest.mark.slow
def test_a_merge_during_a_rollout_says_what_waits_and_ships_it_at_its_end(trained: Path, bascule: Bascule) -> None:
    assert bascule("deploy", "delays").code == 0
    for seed, name in ((8, "second"), (9, "third")):
        assert bascule("switch", "-c", name).code == 0
        write(trained / "bascule.toml", PROJECT.replace("seed = 7", f"seed = {seed}"))
        assert bascule("run", "--force", "a drill").code == 0
        said = bascule("merge", name, "main", "--json").json()
    assert (said["shipped"], said["waiting"]) == (
        [],
        [{"deployment": "delays", "version": 3, "until": "the rollout of version 2 ends"}],
    )
    told = "version 3 waits until the rollout of version 2 ends"
    assert told in bascule("status", "--branch", "main").out
    assert bascule("status", "--branch", "main", "--json").json()["waiting"] == said["waiting"]
    assert "version 3 waits" in bascule("diff", "main~1", "main").out
    promoted = bascule("promote", "delays")
    assert "version 3, which waited for it, rolls out: 10 % now" in promoted.out
    assert traffic(bascule) == [{"version": 2, "weight": 90}, {"version": 3, "weight": 10}]
    assert told not in bascule("status", "--branch", "main").out


@pytest.mark.slow
def test_a_merge_may_leave_traffic_alone(trained: Path, bascule: Bascule) -> None:
    assert bascule("deploy", "delays").code == 0
    assert bascule("switch", "-c", "dev").code == 0
    write(trained / "bascule.toml", PROJECT.replace("seed = 7", "seed = 8"))
    assert bascule("run").code == 0
    assert bascule("merge", "dev", "main", "--no-ship", "--json").json()["shipped"] == []
    status = bascule("status", "--branch", "main", "--json").json()
    assert status["deployments"]["delays"] == [{"version": 1, "weight": 100}]


@pytest.mark.slow
def test_a_merge_that_was_cut_off_before_it_shipped_ships_when_it_is_repeated(
    trained: Path, bascule: Bascule, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bascule("deploy").code == 0
    assert bascule("branch", "next").code == 0
    write(trained / "bascule.toml", stepping(10, 100))
    assert bascule("run", "--branch", "next", "--force", "a drill").code == 0

    def cut(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "_ship", cut)
        assert bascule("merge", "next", "main").code == 130
    assert bascule("log", "--json").json()[0]["message"] == "Merge next into main"
    assert traffic(bascule) == [{"version": 1, "weight": 100}]
    assert "version 2" in bascule("merge", "next", "main").out
    assert traffic(bascule) == [{"version": 1, "weight": 90}, {"version": 2, "weight": 10}]

    # Taken out of service by a person, it stays out.
    assert bascule("rollback", "delays").code == 0
    assert bascule("merge", "next", "main").code == 0
    assert traffic(bascule) == [{"version": 1, "weight": 100}]


@pytest.mark.slow
def test_reverting_what_serves_is_recorded_and_takes_no_old_revision(trained: Path, bascule: Bascule) -> None:
    """A canary that begins after a revert is not judged on the requests of the one before."""
    assert bascule("deploy").code == 0
    write(trained / "bascule.toml", stepping(10, 100))
    assert bascule("run").code == 0
    assert bascule("deploy").code == 0
    history = Workspace.open(trained).history
    canary = history.get("main", "deployments/delays")
    assert bascule("revert", "main").code == 0
    back = Workspace.open(trained).history.get("main", "deployments/delays")
    assert (back["traffic"], back["rollout"]) == ([{"version": 1, "weight": 100}], None)
    assert back["revision"] > canary["revision"]
    assert bascule("deploy").code == 0
    again = Workspace.open(trained).history.get("main", "deployments/delays")
    assert again["rollout"]["revision"] > back["revision"] > canary["rollout"]["revision"]
    actions = bascule("sql", "select action from rollouts order by at", "--json").json()
    assert [row["action"] for row in actions] == ["deploy", "start", "revert", "start"]
    assert bascule("audit", "verify").code == 0
    # A rollout that is brought back begins anew, too.
    assert bascule("rollback", "delays").code == 0
    assert bascule("revert", "main").code == 0
    once_more = Workspace.open(trained).history.get("main", "deployments/delays")
    assert once_more["rollout"]["revision"] == once_more["revision"] > again["revision"]


@pytest.mark.slow
def test_a_person_who_rolls_back_is_told_what_is_not_rolled_out(trained: Path, bascule: Bascule) -> None:
    assert bascule("deploy", "delays").code == 0
    for seed, name in ((8, "second"), (9, "third")):
        assert bascule("switch", "-c", name).code == 0
        write(trained / "bascule.toml", PROJECT.replace("seed = 7", f"seed = {seed}"))
        assert bascule("run", "--force", "a drill").code == 0
        assert bascule("merge", name, "main").code == 0
    said = bascule("rollback", "delays")
    assert "version 3, which waited, is not rolled out; that does: bascule deploy delays 3" in said.out
    assert traffic(bascule) == [{"version": 1, "weight": 100}]
    assert "waits" not in bascule("status", "--branch", "main").out


@pytest.mark.slow
def test_a_merge_that_was_not_to_ship_does_not_when_it_is_repeated(trained: Path, bascule: Bascule) -> None:
    assert bascule("deploy", "delays").code == 0
    assert bascule("switch", "-c", "dev").code == 0
    write(trained / "bascule.toml", PROJECT.replace("seed = 7", "seed = 8"))
    assert bascule("run").code == 0
    assert bascule("merge", "dev", "main", "--no-ship").code == 0
    assert bascule("merge", "dev", "main", "--json").json()["shipped"] == []
    assert traffic(bascule) == [{"version": 1, "weight": 100}]


@pytest.mark.slow
def test_a_restore_keeps_the_traffic_and_what_it_needs(trained: Path, bascule: Bascule) -> None:
    assert bascule("deploy", "delays").code == 0
    history = Workspace.open(trained).history
    first, rules = history.resolve("main").id, history.get("main", "deployments/delays")["rules"]
    write(trained / "bascule.toml", stepping(25, 100))
    assert bascule("run").code == 0
    assert bascule("deploy").code == 0
    assert traffic(bascule) == [{"version": 1, "weight": 75}, {"version": 2, "weight": 25}]
    before = history.log("main", path="models/delays")[1].id
    refused = bascule("restore", "models/delays", "--from", before)
    assert (refused.code, "deployments/delays serves version 2 of models/delays" in refused.err) == (1, True)
    assert bascule("restore", "deployments/delays", "--from", first).code == 0
    found = history.get("main", "deployments/delays")
    assert (found["rules"]["steps"], found["rollout"]["steps"]) == (rules["steps"], [25, 100])
    assert traffic(bascule) == [{"version": 1, "weight": 75}, {"version": 2, "weight": 25}]
