from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func, select

from bascule.catalog import audit, schema
from bascule.errors import CheckFailed, Conflict, InputError, NotFound
from bascule.history import Workspace
from bascule.registry import (
    compare,
    get_version,
    list_models,
    list_versions,
    merge_models,
    read_evaluation,
    register,
    set_alias,
    split_name,
)

SIGNATURE = {
    "inputs": [{"name": "x", "type": "double"}, {"name": "kind", "type": "varchar"}],
    "output": {"task": "binary", "classes": ["no", "yes"]},
}
PASSED = {"passed": True, "gates": [{"name": "calibration", "passed": True, "reason": "It is."}]}
REFUSED = {
    "passed": False,
    "gates": [
        {"name": "calibration", "passed": True, "reason": "It is."},
        {"name": "better_than_constant", "passed": False, "reason": "It has not learned."},
    ],
}


def add(ws: Workspace, branch: str = "main", model: str = "delays", **changes: Any) -> int:
    values: dict[str, Any] = {
        "artifact": ws.store.put(b"model"),
        "format": "lightgbm",
        "signature": SIGNATURE,
        "training_set": "t" * 64,
        "evaluation": PASSED,
        "metrics": {"test.auc": 0.7},
        "author": "ada",
    }
    return register(ws, branch, model, **{**values, **changes})


def count(ws: Workspace, table: Any) -> int:
    with ws.catalog.read() as conn:
        return int(conn.execute(select(func.count()).select_from(table)).scalar() or 0)


def test_a_metric_that_is_no_number_is_kept_and_told_apart(workspace: Workspace) -> None:
    add(workspace, metrics={"test.auc": float("nan"), "test.gain": float("-inf"), "test.loss": 0.5})
    found = get_version(workspace, "main", "delays", 1).metrics
    assert math.isnan(found.pop("test.auc"))
    assert found == {"test.gain": float("-inf"), "test.loss": 0.5}


def test_a_registered_version_can_be_read_by_number_alias_and_latest(workspace: Workspace) -> None:
    first = add(workspace, run_id="run_1", features="f" * 64, card=lambda number: f"# delays {number}\n")
    second = add(workspace, alias="production", metrics={"test.auc": 0.8})
    assert (first, second) == (1, 2)
    found = get_version(workspace, "main", "delays", 1)
    assert found.name() == "delays@1"
    assert (found.run_id, found.features, found.passed, found.created_by) == ("run_1", "f" * 64, True, "ada")
    assert found.signature == SIGNATURE
    assert found.metrics == {"test.auc": 0.7}
    assert found.card is not None
    assert workspace.store.get(found.card) == b"# delays 1\n"
    assert read_evaluation(workspace, found.evaluation_id) == PASSED
    for which in (2, "2", "production", "latest"):
        assert get_version(workspace, "main", "delays", which).version == 2
    assert get_version(workspace, "main", "delays").aliases == ("production",)
    assert [one.version for one in list_versions(workspace, "main", "delays")] == [2, 1]
    assert [(one.name, one.versions, one.aliases) for one in list_models(workspace, "main")] == [
        ("delays", (2, 1), {"production": 2})
    ]
    with workspace.catalog.read() as conn:
        rows = conn.execute(select(schema.model_versions).order_by(schema.model_versions.c.version)).all()
    assert [(row.model, row.version, row.artifact, row.run_id) for row in rows] == [
        ("delays", 1, found.artifact, "run_1"),
        ("delays", 2, found.artifact, None),
    ]
    assert count(workspace, schema.evaluations) == 2
    assert count(workspace, schema.approvals) == 0
    assert audit.verify(workspace.catalog).ok


def test_a_version_never_changes(workspace: Workspace) -> None:
    add(workspace)
    before = workspace.history.get("main", "models/delays")["versions"]["1"]
    add(workspace, alias="production")
    set_alias(workspace, "main", "delays", "production", 1)
    set_alias(workspace, "main", "delays", "shadow", "latest")
    after = workspace.history.get("main", "models/delays")
    assert after["versions"]["1"] == before
    assert after["aliases"] == {"production": 1, "shadow": 2}
    set_alias(workspace, "main", "delays", "shadow", None)
    assert workspace.history.get("main", "models/delays")["aliases"] == {"production": 1}
    assert workspace.history.get("main~3", "models/delays")["aliases"] == {"production": 2}


def test_numbers_count_over_all_branches_and_are_never_used_again(workspace: Workspace) -> None:
    add(workspace)
    workspace.history.create_branch("try")
    assert add(workspace, "try") == 2
    assert add(workspace) == 3
    workspace.history.revert("main", on="main")
    workspace.history.delete_branch("try", force=True)
    assert [one.version for one in list_versions(workspace, "main", "delays")] == [1]
    assert add(workspace) == 4
    assert add(workspace, model="other") == 1


@pytest.mark.slow
def test_writers_at_the_same_time_get_numbers_of_their_own(workspace: Workspace) -> None:
    workspace.history.create_branch("try")
    with ThreadPoolExecutor(6) as pool:
        numbers = list(pool.map(lambda place: add(workspace, "try" if place % 2 else "main"), range(12)))
    assert sorted(numbers) == list(range(1, 13))
    on = {branch: {one.version for one in list_versions(workspace, branch, "delays")} for branch in ("main", "try")}
    assert on["main"] == {number for place, number in enumerate(numbers) if place % 2 == 0}
    assert on["try"] == {number for place, number in enumerate(numbers) if place % 2}
    assert count(workspace, schema.evaluations) == 12


def test_what_a_gate_refused_is_not_registered_but_remembered(workspace: Workspace) -> None:
    with pytest.raises(CheckFailed, match=r"better_than_constant: .*It has not learned") as error:
        add(workspace, evaluation=REFUSED)
    assert error.value.details == [REFUSED["gates"][1]]
    assert error.value.exit_code == 1
    assert "--force" in error.value.hint
    assert workspace.history.read("main", "models/delays") is None
    assert count(workspace, schema.model_versions) == 0
    with workspace.catalog.read() as conn:
        approval = conn.execute(select(schema.approvals)).one()
        evaluation = conn.execute(select(schema.evaluations)).one()
    assert (approval.subject, approval.decision) == ("models/delays", "refused")
    assert "It has not learned" in approval.reason
    assert (evaluation.passed, evaluation.model_version_id) == (False, "")


def test_a_forced_version_says_who_and_why(workspace: Workspace) -> None:
    number = add(workspace, evaluation=REFUSED, force="the canary will judge", author="grace")
    found = get_version(workspace, "main", "delays", number)
    assert (found.passed, found.forced) == (False, "the canary will judge")
    with workspace.catalog.read() as conn:
        approval = conn.execute(select(schema.approvals)).one()
    assert (approval.subject, approval.decision, approval.actor, approval.reason) == (
        "models/delays@1",
        "forced",
        "grace",
        "the canary will judge",
    )


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"force": " "}, InputError, "needs a reason"),
        ({"branch": "mian"}, NotFound, "mian"),
        ({"model": "a/b"}, InputError, "cannot be used as a model name"),
        ({"model": ""}, InputError, "cannot be used as a model name"),
        ({"alias": "latest"}, InputError, "youngest"),
        ({"alias": "3"}, InputError, "cannot be used as an alias"),
        ({"artifact": "0" * 64}, NotFound, "artifact in the store"),
    ],
)
def test_a_registration_that_cannot_be_leaves_nothing(
    local_workspace: Workspace, changes: dict[str, Any], kind: type[InputError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        add(local_workspace, **changes)
    for table in (schema.model_versions, schema.evaluations, schema.approvals):
        assert count(local_workspace, table) == 0
    assert len(local_workspace.history.log("main")) == 1


def test_unknown_names_are_answered_with_the_nearest(local_workspace: Workspace) -> None:
    add(local_workspace, alias="production")
    cases = [("delay", "latest", "'delays'"), ("delays", "prodution", "'production'"), ("delays", 7, "1")]
    for model, which, hint in cases:
        with pytest.raises(NotFound) as error:
            get_version(local_workspace, "main", model, which)
        assert hint in error.value.hint
    with pytest.raises(NotFound, match="alias of 'delays'"):
        set_alias(local_workspace, "main", "delays", "shadow", None)
    with pytest.raises(NotFound, match="version of 'delays'"):
        set_alias(local_workspace, "main", "delays", "shadow", 9)
    with pytest.raises(NotFound, match="evaluation"):
        read_evaluation(local_workspace, "ev_none")


def test_a_merge_keeps_the_versions_of_both_sides(workspace: Workspace) -> None:
    history = workspace.history
    add(workspace, alias="production")
    history.create_branch("try")
    add(workspace, "try", alias="shadow")
    add(workspace, alias="production")
    history.merge("try", "main", resolve=merge_models)
    merged = history.get("main", "models/delays")
    assert set(merged["versions"]) == {"1", "2", "3"}
    assert merged["aliases"] == {"production": 3, "shadow": 2}


def test_two_sides_that_move_one_alias_are_in_conflict(local_workspace: Workspace) -> None:
    history = local_workspace.history
    add(local_workspace, alias="production")
    history.create_branch("try")
    add(local_workspace, "try", alias="production")
    add(local_workspace, alias="production")
    with pytest.raises(Conflict) as error:
        history.merge("try", "main", resolve=merge_models)
    assert error.value.paths == ["models/delays"]


def model(versions: dict[str, Any], **aliases: int) -> dict[str, Any]:
    return {"kind": "model", "name": "m", "versions": versions, "aliases": aliases}


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "aliases"),
    [
        ({"p": 1}, {"p": 1}, {}, {}),
        ({"p": 1}, {}, {}, {}),
        ({"p": 1}, {"p": 2}, {"p": 2}, {"p": 2}),
        ({}, {"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({}, {"a": 2}, {"a": 3}, None),
        ({"p": 1}, {"p": 2}, {"p": 3}, None),
        ({"p": 1}, {"p": 0}, {"p": 3}, {"p": 3}),  # a rollback to a version that both knew, and a new version
        ({"p": 1}, {"p": 3}, {"p": 0}, {"p": 3}),
        ({"p": 1}, {"p": 2}, {}, None),
    ],
)
def test_aliases_merge_three_way(
    base: dict[str, int], ours: dict[str, int], theirs: dict[str, int], aliases: dict[str, int] | None
) -> None:
    merged = merge_models("models/m", *(model({"0": {}, "1": {}}, **one) for one in (base, ours, theirs)))
    assert (merged["aliases"] if merged else None) == aliases


def test_a_side_that_is_chosen_gives_its_alias_and_both_keep_their_versions() -> None:
    base, ours, theirs = (model({"1": {}, str(n): {}}, p=n) for n in (1, 2, 3))
    for side, alias in (("ours", 2), ("theirs", 3)):
        merged = merge_models("models/m", base, ours, theirs, prefer=side)  # type: ignore[arg-type]
        assert merged == model({"1": {}, "2": {}, "3": {}}, p=alias)


def test_what_cannot_be_merged_is_left_as_a_conflict() -> None:
    one, other = model({"1": {"id": "a"}}), model({"1": {"id": "b"}})
    assert merge_models("models/m", None, one, other) is None
    assert merge_models("models/m", one, None, other) is None
    assert merge_models("tables/t", None, {"kind": "table"}, {"kind": "table"}) is None
    assert merge_models("models/m", None, one, model({"2": {}})) == model({"1": {"id": "a"}, "2": {}})


def test_two_versions_are_compared(local_workspace: Workspace) -> None:
    add(local_workspace)
    wider = {
        "inputs": [{"name": "x", "type": "bigint"}, {"name": "wind", "type": "double"}],
        "output": SIGNATURE["output"],
    }
    add(
        local_workspace,
        signature=wider,
        artifact=local_workspace.store.put(b"another"),
        metrics={"test.auc": 0.75, "test.ece": 0.1},
    )
    before, after = (get_version(local_workspace, "main", "delays", one) for one in (1, 2))
    found = compare(before, after)
    assert (found.before, found.after) == ("delays@1", "delays@2")
    assert found.metrics["test.auc"].difference == pytest.approx(0.05)
    assert (found.metrics["test.ece"].before, found.metrics["test.ece"].difference) == (None, None)
    assert (found.inputs_added, found.inputs_removed) == (("wind",), ("kind",))
    assert found.inputs_changed == {"x": ("double", "bigint")}
    assert (found.same_artifact, found.same_training_set, found.same_features) == (False, True, True)
    assert not found.output_changed


@pytest.mark.parametrize(
    ("text", "parts"),
    [("delays@3", ("delays", "3")), ("delays@production", ("delays", "production")), ("delays", ("delays", "latest"))],
)
def test_names_with_a_version(text: str, parts: tuple[str, str]) -> None:
    assert split_name(text) == parts
