"""What a model is asked is held to the contract of the version that answers, which is saved with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bascule.contracts import Contract
from bascule.contracts.checks import Unique
from bascule.history import Workspace
from bascule.project.requests import contract_of
from bascule.registry import get_version
from bascule.training import read_signature

Bascule = Callable[..., Any]


def test_a_version_has_a_contract_of_its_inputs(trained: Path, bascule: Bascule) -> None:
    with_model = Workspace.open(trained)
    found = get_version(with_model, "main", "delays", "production")
    text = contract_of(with_model, "main", "delays")
    contract = Contract.parse(text, file="models/delays")
    signature = read_signature(dict(found.signature))
    assert [column.name for column in contract.columns] == list(signature.names())
    assert not any(isinstance(check.rule, Unique) for check in contract.checks)  # requests may be alike
    assert any(check.kind in ("range", "values") for check in contract.checks)
    assert found.contract is not None
    assert with_model.store.has(found.contract)
    with_model.close()


@pytest.mark.slow
def test_what_was_asked_is_held_to_it(trained: Path, bascule: Bascule) -> None:
    none = bascule("contract", "test", "models/delays")
    assert (none.code, "(0 rows)" in none.out) == (0, True), none.out
    assert bascule("deploy").code == 0
    assert bascule("predict", "delays", "--example").code == 0
    assert bascule("contract", "test", "models/delays").code == 0
    assert bascule("predict", "delays", "--example", "distance=-4000", "depot=the moon").code == 0
    said = bascule("contract", "test", "models/delays@1")
    assert said.code == 1
    assert "models/delays@1" in said.out
    assert "-4000" in said.out.replace(",", "")
    assert "the moon" in said.out
    (row,) = bascule(
        "sql", "select distinct subject, looked_at from check_results where subject like 'models/%'", "--json"
    ).json()
    assert row == {"subject": "models/delays", "looked_at": "table"}
    assert bascule("doctor").code == 0


def test_a_version_that_is_not_there_is_told(trained: Path, bascule: Bascule) -> None:
    assert bascule("contract", "test", "models/delays@9").code == 2
    said = bascule("contract", "test", "models/delay")
    assert (said.code, "Did you mean" in said.err) == (2, True), said.err


@pytest.mark.slow
def test_a_deployment_may_refuse_what_breaks_it(trained: Path, bascule: Bascule) -> None:
    project = (trained / "bascule.toml").read_text()
    (trained / "bascule.toml").write_text(
        project.replace('[deployment]\nname = "delays"', '[deployment]\nname = "delays"\nrequests = "refuse"')
    )
    assert bascule("run").code == 0
    assert bascule("deploy").code == 0
    assert bascule("predict", "delays", "--example").code == 0
    said = bascule("predict", "delays", "--example", "distance=-4000")
    assert (said.code, "'distance' breaks the model's contract" in said.err) == (2, True), said.err
    assert bascule("sql", "select count(*) as n from predictions", "--json").json() == [{"n": 1}]
    assert "Nothing to do" in bascule("run").out
    (trained / "bascule.toml").write_text(project)
    assert bascule("run").code == 0
    assert bascule("predict", "delays", "--example", "distance=-4000").code == 0
