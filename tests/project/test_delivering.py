"""How a version is brought into service, as the project file and the command line say it: strategies, environments."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bascule.history import Workspace
from bascule.history.workspace import SERVED
from bascule.store.locking import FileLock
from tests.cli.conftest import Said, bascule, folder
from tests.project.conftest import _finished, trained

__all__ = ["_finished", "bascule", "folder", "trained"]

Bascule = Callable[..., Said]


def say(folder: Path, *lines: str) -> int:
    """Write lines under [deployment]; return the number of the first."""
    file = folder / "bascule.toml"
    text = [one for one in file.read_text().splitlines() if not one.startswith(("strategy", "steps"))]
    at = text.index("[deployment]") + 2
    file.write_text("\n".join([*text[:at], *lines, *text[at:]]) + "\n")
    return at + 1


def second(folder: Path) -> None:
    """Register a second version, which passed its gates."""
    from bascule.registry import get_version, register

    with closing(Workspace.open(folder)) as ws:
        one = get_version(ws, "main", "delays")
        told = {"artifact": one.artifact, "format": one.format, "signature": one.signature}
        register(ws, "main", "delays", **told, training_set=one.training_set, evaluation={"passed": True, "gates": []})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lines", "line", "words", "hint"),
    [
        (['strategy = "ab"'], 0, "'ab' needs a goal", "outcome"),
        (['strategy = "canery"'], 0, "canery", "canary"),
        (['strategy = "bandit"', 'goal = { measure = "outcom" }'], 1, "no measure 'outcom'", "outcome"),
        (['strategy = "ab"', 'goal = { measure = "select 1" }'], 1, "does not give prediction_id and value", "Such as"),
        (['strategy = "canary"', "share = 20"], 1, "'ab' and 'bandit' only", ""),
        (['strategy = "shadow"', 'keep = "2h"'], 1, "'blue_green' only", ""),
        (['strategy = "ab"', 'goal = { measure = "outcome" }', "share = 100"], 2, "100", ""),
        (['guardrails.measures.cost = { sql = "delete from x", margin = 1.0 }'], 0, "is no query", "Such as"),
        (
            ['environments.staging = { branch = "main" }', 'environments.production = { branch = "main" }'],
            1,
            "is the branch of 'staging' already",
            "",
        ),
    ],
)
def test_what_a_strategy_lacks_is_told_with_file_and_line(
    trained: Path, bascule: Bascule, lines: list[str], line: int, words: str, hint: str
) -> None:
    first = say(trained, *lines)
    said = bascule("plan")
    assert said.code == 2, said
    assert f"bascule.toml:{first + line}" in said.err, said.err
    assert words in said.err
    assert hint in said.err


@pytest.mark.slow
def test_a_strategy_of_the_file_and_one_of_the_command(trained: Path, bascule: Bascule) -> None:
    assert bascule("deploy").code == 0
    second(trained)
    say(trained, 'strategy = "ab"', "share = 30", 'goal = { measure = "score", better = "lower" }')
    assert bascule("deploy", "delays", 2).code == 0
    shown = bascule("deployment", "show", "delays", "--json").json()
    assert [one["weight"] for one in shown["traffic"]] == [70, 30]
    assert (
        "runs in     the server itself, but for steps and pickles: a crash takes"
        in bascule("deployment", "show", "delays").out
    )
    assert shown["rollout"]["plan"] == {"goal": {"measure": "score", "better": "lower"}, "share": 30}
    assert shown["decision"]["action"] == "hold"
    told = bascule("deployment", "show", "delays").out
    assert "A/B test of version 2 against 1: hold." in told
    assert "judged" in told
    assert "an A/B test of version 2 against 1 is under way: bascule deployment show delays" in bascule("status").out
    tried = {"strategy": "ab", "versions": [2], "against": 1}
    assert bascule("status", "--json").json()["rollouts"] == {"delays": tried}
    assert bascule("rollback", "delays").code == 0
    assert bascule("status", "--json").json()["rollouts"] == {}
    for words, told in (
        (["--strategy", "blue_green", "--share", "20"], "--share means something to ab and bandit only"),
        (["--strategy", "bandit", "--goal", "lower: outcom"], "no measure 'outcom'"),
        (["--strategy", "canary", "--keep", "2h"], "--keep means something to blue_green only"),
        (["--strategy", "blu_green"], "blue_green"),
    ):
        for version in (2, 1):  # 1 serves alone, so nothing is to do: it is told all the same
            said = bascule("deploy", "delays", version, *words)
            assert said.code == 2, words
            assert told in said.err
    assert bascule("deploy", "delays", 2, "--strategy", "bandit", "--goal", "lower: outcome", "--share", 40).code == 0
    held = bascule("deployment", "show", "delays", "--json").json()
    rollout = held["rollout"]
    assert (rollout["strategy"], held["strategy"]) == ("bandit", "ab")  # later versions come as the file says
    assert (rollout["plan"]["goal"], rollout["steps"]) == ({"measure": "outcome", "better": "lower"}, [40, 100])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sql", "words", "hint"),
    [
        ("select prediction_id, latency as value from predictions", "no column 'latency'", "'latency_us'"),
        ("select p.prediction_id, p.scor as value from predictions p", "no column 'scor'", "'score'"),
        ("select prediction_id, lower(1, 2) as value from predictions", "No function matches", ""),
        ("select prediction_id as p, 1 as value from predictions", "gives no prediction_id", "Such as"),
    ],
)
def test_sql_that_a_rollout_would_be_judged_by_is_tried_before(
    trained: Path, bascule: Bascule, sql: str, words: str, hint: str
) -> None:
    assert bascule("deploy").code == 0
    line = say(trained, f'guardrails.measures.cost = {{ sql = "{sql}", margin = 1.0 }}')
    second(trained)
    for command in (["deploy", "delays", 2], ["run"]):
        said = bascule(*command)
        assert said.code in (1, 2), said
        assert f"bascule.toml:{line}" in said.err, said.err
        assert words in said.err
        assert hint in said.err
    file = trained / "bascule.toml"
    lines = [one for one in file.read_text().splitlines() if not one.startswith("guardrails.measures")]
    file.write_text("\n".join(lines) + "\n")
    say(trained, 'strategy = "ab"', f'goal = {{ measure = "{sql}" }}')
    assert f"bascule.toml:{line + 1}" in bascule("deploy", "delays", 2).err
    said = bascule("deploy", "delays", 2, "--strategy", "ab", "--goal", sql)
    assert said.code == 2
    assert "goal.measure: " in said.err
    assert words in said.err


@pytest.mark.slow
def test_a_table_that_is_not_there_is_told_when_it_is_needed(trained: Path, bascule: Bascule) -> None:
    assert bascule("deploy").code == 0
    line = say(trained, 'guardrails.measures.cost = { sql = "select prediction_id, value from sold", margin = 1.0 }')
    assert bascule("run").code == 0  # it may come
    second(trained)
    said = bascule("deploy", "delays", 2)
    assert (said.code, f"bascule.toml:{line}" in said.err, "no table named 'sold'" in said.err) == (2, True, True)


@pytest.mark.slow
def test_a_version_may_say_its_model(trained: Path, bascule: Bascule) -> None:
    assert bascule("deploy", "late", "delays@1").code == 0
    assert bascule("deployment", "show", "late", "--json").json()["model"] == "delays"
    said = bascule("deploy", "late", "delays@1", "--model", "rain")
    assert said.code == 2
    assert "of model 'delays', and --model says 'rain'" in said.err


@pytest.mark.slow
def test_a_deployment_of_another_name_leaves_out_of_its_log_what_the_file_says(trained: Path, bascule: Bascule) -> None:
    say(trained, 'log.fields = { carrier = "drop" }', 'requests = "refuse"', "service.cache = 10")
    assert bascule("deploy", "trial", "delays@1").code == 0
    made = bascule("deployment", "show", "trial", "--json").json()
    assert made["log"]["fields"] == {"carrier": "drop"}
    assert (made["requests"], made["service"], made["revision"]) == ("refuse", {"cache": 10}, 1)
    second(trained)
    assert bascule("deploy", "trial", "delays@2", "--strategy", "shadow").code == 0
    assert bascule("deployment", "show", "trial", "--json").json()["log"] == made["log"]


@pytest.mark.slow
def test_traffic_by_hand_and_power(trained: Path, bascule: Bascule) -> None:
    assert bascule("deploy").code == 0
    second(trained)
    said = bascule("deployment", "traffic", "delays", "1=60", "2=40", "-m", "a trial")
    assert said.code == 0, said.err
    assert "version 1 at 60 %, version 2 at 40 % (a trial)" in said.out
    for shares, told in (
        (["1=60", "2=30"], "sums to 90"),
        (["1=60", "12=40"], "version"),
        (["half"], "VERSION=PERCENT"),
        (["1=60", "1=40"], "named twice"),
    ):
        said = bascule("deployment", "traffic", "delays", *shares)
        assert said.code == 2, shares
        assert told in said.err
    assert "is not known" in bascule("deployment", "power", "delays", "--effect", 0.01).err
    assert "more than 0" in bascule("deployment", "power", "delays", "--effect", -1, "--base", 0.1).err
    found = bascule("deployment", "power", "delays", "--rule", "goal", "--effect", 0.05, "--base", 0.3, "--share", 50)
    assert found.code == 0
    assert "is seen with a chance of 80% after" in found.out


@pytest.mark.slow
def test_an_environment_asks_for_approvals_over_every_way(
    trained: Path, bascule: Bascule, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(trained, 'environments.production = { branch = "main", approvals = 1, role = "admin" }')
    assert bascule("run", "--quiet").code == 0  # the rules are in the history from here on
    refused = bascule("deploy")
    assert refused.code == 1
    assert "it has 0 of 1 approvals" in refused.err
    assert bascule("branch", "trial").code == 0
    assert bascule("deploy", "--branch", "trial").code == 0, "what no environment names is for trying"
    monkeypatch.setenv("BASCULE_USER", "bo@example.org")
    assert bascule("model", "approve", "delays", "1", "--reason", "looked at it").code == 0
    assert bascule("deploy").code == 0
    second(trained)
    with closing(Workspace.open(trained)) as ws:
        from bascule import delivery
        from bascule.errors import CheckFailed
        from bascule.server.access import Principal
        from bascule.server.environments import may_change

        for act in (
            lambda: delivery.deploy(ws, "main", "delays", "delays", 2),
            lambda: delivery.set_traffic(ws, "main", "delays", {1: 50, 2: 50}),
        ):
            with pytest.raises(CheckFailed, match="no traffic in production: it is not approved"):
                act()
        waits = delivery.ship(ws, "main", "delays", 2)
        assert isinstance(waits, delivery.Waiting)
        assert "it is approved: it has 0 of 1 approvals" in waits.until
        assert not may_change(ws, Principal("dee", "deployer", "token"), "main", "delays")
        assert may_change(ws, Principal("dee", "deployer", "token"), "trial", "delays")
        assert may_change(ws, Principal("ada", "admin", "token"), "main", "delays")
        assert ws.history.get("main", "deployments/delays")["traffic"] == [{"version": 1, "weight": 100}]


@pytest.mark.slow
def test_a_branch_is_tried_before_it_merges(trained: Path, bascule: Bascule) -> None:
    assert bascule("deploy").code == 0
    second(trained)
    assert bascule("branch", "fares/new").code == 0
    assert bascule("model", "approve", "delays", "2", "--reason", "x").code == 0
    told = bascule("preview", "fares/new", "--url", "https://ml.example.org/", "--json").json()
    assert told["http"] == "https://ml.example.org/branch/fares%2Fnew/v2"
    assert told["metadata"] == {"x-bascule-branch": "fares/new"}
    assert told["deployments"] == ["delays"]
    assert bascule("preview", "--json").json()["http"].endswith(":7401/v2")
    assert bascule("preview", "fares").code == 2
    say(trained, 'url = "https://ml.example.org"')
    said = bascule("ci", "run", "--into", "main", "--output", "report", "--branch", "fares/new")
    comment = (trained / "report" / "comment.md").read_text("utf-8")
    assert "https://ml.example.org/branch/fares%2Fnew/v2" in comment, said
    assert "x-bascule-branch: fares/new" in comment


@pytest.mark.slow
def test_a_preview_asks_what_the_branch_changed(trained: Path, bascule: Bascule) -> None:
    assert bascule("deploy").code == 0
    assert bascule("deploy", "another", "1", "--model", "delays").code == 0
    second(trained)
    assert bascule("branch", "trial").code == 0
    preview = ("preview", "trial", "--json")
    assert "/models/another/predict" in bascule(*preview).json()["curl"]
    all_at_once = ("--strategy", "all_at_once")
    assert bascule("deploy", "delays", "2", *all_at_once, "--branch", "trial").code == 0
    assert "/branch/trial/v2/models/delays/" in bascule(*preview).json()["curl"]


@pytest.mark.slow
def test_a_goal_may_read_tables_and_other_records(trained: Path, bascule: Bascule) -> None:
    assert bascule("deploy").code == 0
    second(trained)
    goal = "select p.prediction_id, o.weight as value from predictions p, orders o, runs r where false"
    assert bascule("deploy", "delays", 2, "--strategy", "ab", "--goal", goal).code == 0
    decision = bascule("deployment", "show", "delays", "--json").json()["decision"]
    assert "0 units on stable and 0 on the canary" in decision["reason"]
    from bascule.project.watching import judge_rollouts

    with closing(Workspace.open(trained)) as ws:
        ((_, action, reason),) = judge_rollouts(ws, "main")
    assert (action, reason) == ("hold", decision["reason"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "host"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("[::1]", "[::1]"), ("", "127.0.0.1")]
)
def test_the_address_is_that_of_the_server_that_runs(trained: Path, bascule: Bascule, page: str, host: str) -> None:
    file = Workspace.open(trained).folder / SERVED
    with FileLock(file, f"process 1 at http://{page}:8500" if page else "process 1"):
        here = bascule("preview", "--json").json()
    ports = (8501, 8502) if page else (7401, 7402)
    assert (here["http"], here["grpc"]) == (f"http://{host}:{ports[0]}/v2", f"{host}:{ports[1]}")
    file.write_text("process 1 at http://127.0.0.1:8500")  # what a server that was killed leaves
    assert ":7401/" in bascule("preview", "--json").json()["http"]
