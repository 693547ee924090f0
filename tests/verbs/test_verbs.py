"""`import bascule`: the commands as Python, with the same names and results."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bascule as api
from bascule.cli.commands import COMMANDS
from bascule.errors import NotFound
from bascule.project.file import load_project
from bascule.verbs import VERBS
from tests.project.conftest import _finished, bascule, folder, trained

__all__ = ["_finished", "bascule", "folder", "trained"]

Bascule = Callable[..., Any]
# What stands for a command that has commands below it, or that only people need.
INSTEAD = {
    "table": ("table", "tables"),
    "files": ("files", "file_sets"),
    "contract": (
        "suggest_contract",
        "check_contract",
        "explain_contract",
        "contract_history",
        "read_contract",
        "diff_contracts",
        "import_contract",
        "export_contract",
    ),
    "ci": ("ci_init", "ci_run", "ci_ready", "ci_comment", "ci_lint"),
    "features": (
        "feature_views",
        "read_feature_view",
        "feature_services",
        "feature_impact",
        "features_sql",
        "unused_features",
        "duplicate_features",
        "select_features",
        "materialise",
        "get_online_features",
        "feature_skew",
    ),
    "stream": ("run_streams", "streams", "replay_stream"),
    "training-set": ("get_training_set", "training_sets", "read_training_set", "check_training_set"),
    "private": ("set_privacy_budget", "privacy_budgets", "ask_privately"),
    "import": ("import_mlflow", "import_feast"),
    "pii": ("scan_pii", "masks"),
    "audit": ("verify_audit", "audit_log"),
    "runs": ("runs", "read_run", "compare_runs", "diff_runs"),
    "token": ("create_token", "tokens", "revoke_token"),
    "retention": ("retention", "set_retention", "remove_retention"),
    "hold": ("hold", "holds", "release_hold"),
    "model": (
        "show_model",
        "compare_models",
        "model_card",
        "approve_model",
        "reject_model",
        "scan_model",
        "trust_model",
        "distrust_model",
        "retry_models",
        "sign_model",
        "verify_model",
    ),
    "optimize": ("optimize", "undo_optimize"),
    "deployment": ("show_deployment", "set_traffic", "deployment_power"),
    "up": (),
    "serve": (),
}


def test_every_command_is_a_verb() -> None:
    for command in COMMANDS:
        for name in INSTEAD.get(command, (command.replace("-", "_"),)):
            assert callable(getattr(api, name)), name
            assert name in dir(api)


def test_a_type_checker_knows_every_verb() -> None:
    text = Path(api.__file__).read_text()
    assert set(re.findall(r"^    (\w+) = _here\.\1$", text, re.MULTILINE)) == VERBS - {"run"}  # a function of its own


def test_what_is_not_there_is_told() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'mreg'"):
        _ = api.mreg  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_day_in_python(trained: Path, bascule: Bascule) -> None:
    """The tour again, without the command line."""
    with api.open() as project:
        assert project.run().status == "cached"
        assert not any(step.runs for step in project.plan())
        assert project.why("train").reason == "nothing that it reads has changed"
        assert project.deploy().deployments == {"delays": [{"version": 1, "weight": 100}]}
        answer = project.predict("delays", {"weight": 3.5}, example=True)
        chain = project.explain(answer.prediction_id)
        assert chain["version"]["version"] == project.version("delays").version == 1

        project.branch("dev")
        assert {ref.name for ref in project.branches()} == {"main", "dev"}
        dev = api.open(branch="dev")
        text = (trained / "bascule.toml").read_text()
        (trained / "bascule.toml").write_text(text.replace("seed = 7", "seed = 8"))
        ran = [receipt.step for receipt in dev.run().receipts if receipt.status == "ran"]
        assert "train" in ran
        assert "ingest:orders" not in ran
        assert [one.path for one in dev.diff("main") if one.path.startswith("models/")] == ["models/delays"]
        done = dev.merge("dev")
        assert [(one.version, one.share) for one in done.shipped] == [(2, 10)]
        assert project.promote("delays").deployments["delays"] == [{"version": 2, "weight": 100}]
        assert project.rollback("delays").deployments["delays"] == [{"version": 1, "weight": 100}]
        step = next(row["run"] for row in project.runs(100, kind="step", text="train") if row["name"] == "train")
        again = project.reproduce(step)  # by the run of a step: the version that came of it
        assert (again.model, again.verdict) == ("delays", "identical")
        assert project.verify_audit().ok
        assert all(finding.level != "damage" for finding in project.doctor())
    assert project.sql("select count(*) as n from orders@dev") == [{"n": 2400}]


@pytest.mark.slow
def test_a_function_means_the_project_of_this_folder(trained: Path, bascule: Bascule) -> None:
    assert api.status().branch == "main"
    assert api.step("define").status == "cached"
    assert api.tag("v1").head == api.log(limit=1)[0].commit.id
    with pytest.raises(NotFound, match="'mian'"):
        api.diff("mian")


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        (lambda p: p.status().as_dict(), ("status",)),
        (lambda p: [entry.as_dict() for entry in p.log(limit=3)], ("log", "-n", 3)),
        (lambda p: [one.as_dict() for one in p.diff("main~1", "main")], ("diff", "main~1", "main")),
        (lambda p: [row.as_dict() for row in p.plan()], ("plan",)),
        (lambda p: p.why("train").as_dict(), ("why", "train")),
        (lambda p: p.runs(5), ("runs", "-n", 5)),
        (lambda p: p.sql("select count(*) as n from orders"), ("sql", "select count(*) as n from orders")),
        (lambda p: p.explain(p.predict("delays", example=True).prediction_id)["tables"], None),
    ],
    ids=["status", "log", "diff", "plan", "why", "runs", "sql", "explain"],
)
def test_results_are_what_the_command_prints(
    trained: Path, bascule: Bascule, call: Callable[[Any], Any], arguments: tuple[Any, ...] | None
) -> None:
    project = api.open(trained)
    project.deploy()
    found = call(project)
    if arguments is not None:
        assert bascule(*arguments, "--json").json() == _as_json(found)
    else:
        assert found


def _as_json(value: Any) -> Any:
    import json

    from bascule.cli.output import document_text

    return json.loads(document_text(value))


def test_a_project_begins_in_python(folder: Path) -> None:
    (folder / "data").mkdir()
    rows = "".join(f"{n},{n % 7},{n % 3 == 0}\n" for n in range(300))
    (folder / "data" / "t.csv").write_text("n,size,late\n" + rows)
    report = api.init("data", "late", into=folder, git=False)
    assert report.task == "binary"
    assert load_project(folder).training is not None
    assert api.open(folder).status().objects == {}


def test_the_verbs_have_the_arguments_of_their_commands() -> None:
    """What a command takes, its verb takes too, but for what only changes how an answer is printed."""
    from bascule.cli.main import application, plain

    printing = {
        "--json",
        "--project",
        "--workspace",
        "--branch",
        "--quiet",
        "--limit",
        "--write",
        "--junit",
        "--allow-host",
        "--columns",
        "--format",
        "--html",
        "--output",
        "--exit-code",
    }
    other = {("branch", "--delete"), ("branch", "--force"), ("branch", "--protect")}  # delete_branch, protect
    other |= {("optimize", "--undo")}  # undo_optimize
    other |= {("rollback", "--dry-run"), ("rollback", "--yes")}  # foresee_rollback; who calls a function has decided
    other |= {("restore", "--from")}  # a keyword of Python: it is called source
    app = application()
    for name in COMMANDS:
        if (name in INSTEAD and name != "optimize") or name in (
            "step",
            "track",
            "forget",
            "predict",
            "runs",
            "models",
            "init",
        ):
            continue
        taken = {
            f"--{one.replace('_', '-')}" for one in inspect.signature(getattr(api, name.replace("-", "_"))).parameters
        }
        for argument in app[name].assemble_argument_collection(default_parameter=plain()):
            if (
                argument.show
                and argument.field_info.kind is inspect.Parameter.KEYWORD_ONLY
                and argument.name not in printing
            ):
                assert argument.name in taken or (name, argument.name) in other, (name, argument.name)
