"""Going back to a release: everything of it, in one commit, and nothing of what came since is lost."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from bascule import delivery, verbs
from bascule.catalog import acting_as
from bascule.catalog.schema import rollouts
from bascule.errors import Conflict
from bascule.history import Workspace
from bascule.project.releasing import go_back, is_release
from tests.cli.conftest import Said, bascule, folder
from tests.project.conftest import _finished, trained
from tests.project.test_delivering import second

__all__ = ["_finished", "bascule", "folder", "trained"]

Bascule = Callable[..., Said]


@pytest.fixture
def later(trained: Path, bascule: Bascule) -> Path:
    """Version 1 in service and tagged; since then rows, a new version in service, and a deployment of its own."""
    assert bascule("deploy").code == 0
    assert bascule("tag", "v1").code == 0
    rows = trained / "more.csv"
    head, row, *_ = next((trained / "data" / "orders").glob("*.csv")).read_text("utf-8").splitlines()
    rows.write_text("\n".join([head, *(",".join([f"n{n}", *row.split(",")[1:]]) for n in range(20))]) + "\n", "utf-8")
    assert bascule("ingest", "orders", rows).code == 0
    with closing(Workspace.open(trained)) as ws:
        from bascule.registry import get_version, register

        one = get_version(ws, "main", "delays")
        told = {"artifact": one.artifact, "format": one.format, "signature": one.signature}
        register(ws, "main", "delays", **told, training_set=one.training_set, evaluation={"passed": True, "gates": []})
    assert bascule("deploy", "delays", 2, "--strategy", "all_at_once").code == 0
    with closing(Workspace.open(trained)) as ws:
        held = ws.history.get("main", "deployments/delays")
        ws.history.commit("main", {"deployments/delays": {**held, "strategy": "shadow"}}, message="Shadow from now on")
    assert bascule("deploy", "young", 2, "--model", "delays").code == 0
    return trained


def test_a_release_is_a_tag_or_a_commit_however_it_is_called(local_workspace: Workspace) -> None:
    history = local_workspace.history
    for number in (1, 2):
        found = history.commit("main", {"contracts/a": {"n": number}}, message="A")
    history.tag("v1", "main")
    for ref in ("v1", "main~1", "v1~1", "main@2200-01-01", found.id, found.short):
        assert is_release(local_workspace, ref), ref
    for ref in ("main", "delays", "main~99", "delays~1", "main@soon", found.id[:6], "~", "@"):
        assert not is_release(local_workspace, ref), ref


@pytest.mark.slow
def test_a_first_model_is_told_with_the_command_that_brings_it_into_service(trained: Path, bascule: Bascule) -> None:
    said = bascule("run", "--quiet")
    assert said.code == 0, said.err
    command = said.out.partition("delays is not in service on this branch; bring it there with: ")[2].splitlines()[0]
    assert command == "bascule deploy delays 1"
    assert command in bascule("status").out
    assert bascule(*command.split()[1:]).code == 0
    assert "version 1 (100 %)" in bascule("status").out
    assert "not in service" not in bascule("run", "--quiet").out


def rows(bascule: Bascule) -> int:
    return bascule("sql", "select count(*) as n from orders", "--json").json()[0]["n"]


@pytest.mark.slow
def test_a_release_takes_data_model_and_deployments_back_together(later: Path, bascule: Bascule) -> None:
    before = rows(bascule)
    with closing(Workspace.open(later)) as ws:
        head = ws.history.resolve("main").id
    dry = bascule("rollback", "v1", "--dry-run").out
    assert "Back to v1 on main go" in dry
    assert "tables/orders" in dry
    assert "delays on main: version 2 at 100 % now, version 1 at 100 % then\n" in dry
    assert "later rules go back too: strategy" in dry
    assert "young on main: version 2 at 100 % now, not in service then" in dry
    refused = bascule("rollback", "v1", "--json")
    assert refused.code == 2
    assert "This takes young on main out of service" in refused.json()["error"]
    assert "bascule rollback v1 --yes" in refused.json()["hint"]
    with closing(Workspace.open(later)) as ws:
        assert ws.history.resolve("main").id == head
    said = bascule("rollback", "v1", "-m", "wrong fares", "--yes")
    assert said.code == 0, said.err
    assert "later rules go back too: strategy" in said.err
    assert "Roll back to v1" in said.out
    assert "1 model" in said.out
    assert "1 table" in said.out
    assert "delays: version 1 at 100 %" in said.out
    assert "young: not in service" in said.out
    assert "no checks were run" in said.out
    assert rows(bascule) == before - 20
    with closing(Workspace.open(later)) as ws:
        assert set(ws.history.get("main", "models/delays")["versions"]) == {"1"}
        deployment = ws.history.get("main", "deployments/delays")
        assert deployment["revision"] > ws.history.get("main~1", "deployments/delays")["revision"]
        same = {
            path: digest for path, digest in ws.history.digests("v1").items() if not path.startswith("deployments/")
        }
        now = ws.history.digests("main")
        assert {path: now.get(path) for path in same} == same
        with ws.catalog.read() as conn:
            kept = conn.execute(select(rollouts).where(rollouts.c.action == "revert")).all()
        assert {row.deployment for row in kept} == {"delays", "young"}
    assert {e["subject"] for e in bascule("audit", "log", "--json").json() if e["action"] == "revert"} == {
        "deployments/delays",
        "deployments/young",
    }
    again = bascule("rollback", "v1", "--json").json()
    assert again["changed"] is False
    # what was rolled back is still there, and the way forward is the same way
    assert bascule("rollback", bascule("log", "--json").json()[1]["id"]).code == 0
    assert rows(bascule) == before


@pytest.mark.slow
def test_a_first_version_is_taken_out_of_service_only_when_somebody_says_so(
    trained: Path, bascule: Bascule, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bascule("deploy").code == 0
    seen = bascule("rollback", "delays", "--dry-run", "--json").json()
    assert (seen["ends"], seen["deployments"]["delays"]["after"]) == (["delays"], [])
    refused = bascule("rollback", "delays")
    assert refused.code == 2
    assert "bascule rollback delays --yes. Another version instead: bascule deploy delays VERSION" in refused.err
    elsewhere = bascule("rollback", "delays", "--branch", "main")  # what it offers means the same branch
    assert "bascule rollback delays --yes --branch main. Another" in elsewhere.err
    assert "bascule deploy delays VERSION --branch main" in elsewhere.err
    monkeypatch.setattr("bascule.cli.progress.is_interactive", lambda: True)
    for answer, code in (("n\n", 2), ("", 2), ("y\n", 0)):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        assert "version 1 (100 %)" in bascule("status").out
        assert bascule("rollback", "delays").code == code
    assert "version 1 (100 %)" not in bascule("status").out
    assert bascule("deploy", "delays", 1).code == 0
    assert bascule("rollback", "delays", "--yes").code == 0


@pytest.mark.slow
def test_what_cannot_be_gone_back_to_is_refused(later: Path, bascule: Bascule) -> None:
    said = bascule("rollback", "v2", "--json")
    assert said.code == 2
    assert "no deployment or release named 'v2'" in said.json()["error"]
    assert "v1" in said.json()["hint"]
    assert bascule("branch", "side").code == 0
    with closing(Workspace.open(later)) as ws:
        commit = ws.history.commit("side", {"files/x": {"kind": "files"}}, message="Beside")
        with pytest.raises(Conflict, match="not where it was looked at"):
            go_back(ws, "v1", "main", expect=commit.id)
        before = ws.history.resolve("main").id
    said = bascule("rollback", commit.id)
    assert said.code == 2
    assert "not in the past of 'main'" in said.err
    with closing(Workspace.open(later)) as ws:
        assert ws.history.resolve("main").id == before


@pytest.mark.slow
def test_a_revert_says_that_no_checks_were_run(later: Path, bascule: Bascule) -> None:
    head = bascule("log", "--json").json()[0]["id"]
    assert "no checks were run" in bascule("revert", head).out


@pytest.mark.slow
def test_who_is_second_to_roll_back_is_told_before_it_goes_further(
    trained: Path, bascule: Bascule, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bascule("deploy").code == 0
    for version in (2, 3):
        second(trained)
        assert bascule("deploy", "delays", version, "--strategy", "all_at_once").code == 0

    def serves() -> list[int]:
        return [one["version"] for one in bascule("deployment", "show", "delays", "--json").json()["traffic"]]

    with acting_as("bo@example.org"):
        assert bascule("rollback", "delays").code == 0
    late = bascule("rollback", "delays")
    assert late.code == 2
    assert "bo@example.org rolled it back" in late.err
    assert "version 3 at 100 % then, version 2 at 100 % now. Nothing was changed." in late.err
    assert "to version 1 at 100 %: bascule rollback delays --yes" in late.err
    assert "bo@example.org rolled it back" in bascule("rollback", "delays", "--dry-run").out
    assert serves() == [2]
    assert bascule("rollback", "delays", "--yes").code == 0
    assert serves() == [1]

    # Both looked before either did it: the second one is told, also when it is the same person; any other change goes.
    def meanwhile(change: Callable[[], object]) -> Any:
        once = iter([change])
        plain = verbs.OpenProject.rollback

        def rollback(self: Any, *args: Any, **options: Any) -> Any:
            for one in once:
                one()
            return plain(self, *args, **options)

        with monkeypatch.context() as patched:
            patched.setattr(verbs.OpenProject, "rollback", rollback)
            return bascule("rollback", "delays")

    for version in (2, 3):
        assert bascule("deploy", "delays", version, "--strategy", "all_at_once").code == 0
    with closing(Workspace.open(trained)) as ws:
        told = meanwhile(lambda: delivery.rollback(ws, "main", "delays", by="ana@example.org"))
        assert (told.code, "ana@example.org rolled it back 0 s ago" in told.err) == (2, True)
        assert serves() == [2]
        assert bascule("deploy", "delays", 3, "--strategy", "all_at_once").code == 0
        assert meanwhile(lambda: delivery.set_traffic(ws, "main", "delays", {2: 50, 3: 50})).code == 0
    assert serves() == [3]
