"""One answer without a server, logged as any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Bascule = Callable[..., Any]


@pytest.fixture
def serving(trained: Path, bascule: Bascule) -> Path:
    assert bascule("deploy").code == 0
    return trained


@pytest.mark.slow
def test_an_answer_is_logged_and_explained(serving: Path, bascule: Bascule) -> None:
    said = bascule("predict", "deployments/delays", "--example", "weight=3.5", "--json")
    answer = said.json()
    assert (answer["version"], answer["arm"], answer["branch"]) == (1, "stable", "main")
    assert answer["inputs"]["weight"] == 3.5
    assert 0 <= answer["output"]["probability"] <= 1
    query = f"select score, inputs, caller from predictions where prediction_id = '{answer['prediction_id']}'"
    (row,) = bascule("sql", query, "--json").json()
    assert row["score"] == answer["output"]["probability"]
    assert '"weight":3.5' in row["inputs"].replace(" ", "")
    assert row["caller"] == "ana@example.org"
    assert answer["prediction_id"] in bascule("explain", answer["prediction_id"]).out


@pytest.mark.slow
def test_all_that_is_given_needs_no_example(serving: Path, bascule: Bascule) -> None:
    inputs = bascule("predict", "delays", "--example", "--json").json()["inputs"]
    said = bascule("predict", "delays", *(f"{name}={value}" for name, value in inputs.items()), "--json")
    assert said.json()["inputs"] == inputs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("delays", "wieght=3.5"), "Did you mean 'weight'?"),
        (("delays", "weight"), "'weight' is not COLUMN=VALUE"),
        (("delays", "weight=heavy"), "weight is 'heavy'; it must be a number"),
        (("delays", "weight=3.5"), "has no columns"),
        (("dealys", "--example"), "Did you mean 'delays'?"),
    ],
)
def test_mistakes_are_told(serving: Path, bascule: Bascule, arguments: tuple[str, ...], words: str) -> None:
    said = bascule("predict", *arguments)
    assert (said.code, said.out) == (2, "")
    assert words in said.err
    assert bascule("sql", "select count(*) as n from predictions", "--json").json() == [{"n": 0}]


def test_what_is_not_in_service_does_not_answer(trained: Path, bascule: Bascule) -> None:
    said = bascule("predict", "delays", "--example")
    assert said.code == 2
    assert "bascule deploy delays" in said.err
