"""One answer without a server, logged as any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bascule.history import Workspace

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


HIDES = """\
apiVersion: v3.1.0
kind: DataContract
id: orders
version: 1.0.0
status: active
schema:
  - name: orders
    properties:
      - {name: weight, classification: pii}
"""


@pytest.mark.slow
def test_a_role_is_not_told_what_it_reads_masked(
    serving: Path, bascule: Bascule, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = Workspace.open(serving)
    value = {"kind": "contract", "table": "orders", "text": HIDES, "file": "contracts/orders.yaml"}
    ws.history.commit("main", {"contracts/orders": value}, message="The weight is personal")
    ws.close()
    seen = bascule("predict", "delays", "--example", "--json").json()
    rows = "select *, ordered_at as prediction_time from orders"
    made = bascule("training-set", "get", rows, "--name", "all", "--json")
    assert made.code == 0, made
    monkeypatch.setenv("BASCULE_ROLE", "reader")
    hidden = bascule("predict", "delays", "--example", "--json").json()
    assert hidden["output"] == seen["output"]
    assert hidden["inputs"] == seen["inputs"] | {"weight": "(hidden)"}
    told = bascule("predict", "delays", "--example", "weight=3.5", "--json").json()
    assert told["inputs"]["weight"] == 3.5
    for asked in (
        ("predict", "orders", "--model", "delays@1"),
        ("training-set", "show", "all", "--output", "rows.parquet"),
    ):
        refused = bascule(*asked)
        assert refused.code == 2
        assert "the role reader reads" in refused.err
    assert not Path("rows.parquet").exists()
    assert "orders_scored" not in bascule("status", "--json").out
    monkeypatch.setenv("BASCULE_ROLE", "")
    assert bascule("training-set", "show", "all", "--output", "rows.parquet").code == 0
    assert bascule("sql", "select 1 as n", "--json").json() == [{"n": 1}]


LOOK = """\
def look(rows):
    return [look_at(row) for row in rows]


def look_at(row):
    weight = float(len(row["photo"]))
    made = {"depot": "north", "distance": 3.5, "weight": weight, "prediction_time": "2025-04-10T12:00Z"}
    return {**made, "word": 1} if row["word"] == "more" else made
"""


@pytest.mark.slow
def test_a_step_makes_the_inputs_of_bytes_and_what_it_gives_is_told_as_its_own(trained: Path, bascule: Bascule) -> None:
    (trained / "looking.py").write_text(LOOK)
    file = trained / "bascule.toml"
    steps = '[model.steps]\nbefore = "looking:look"\ntakes = { photo = "blob", word = "varchar" }\n'
    file.write_text(file.read_text().replace("[gates]", f"{steps}\n[gates]"))
    assert bascule("run").code == 0
    assert bascule("deploy", "delays", 2).code == 0
    said = bascule("predict", "delays", "photo=AAD//w==", "word=less", "--json")
    assert said.code == 0, said
    assert said.json()["inputs"] == {"photo": "AAD//w==", "word": "less"}
    example = bascule("predict", "delays", "--example")
    assert example.code == 2
    assert "none of the columns that delays is asked by: photo, word" in example.err
    wrong = bascule("predict", "delays", "photo=AAD//w==", "word=more")
    assert wrong.code == 2
    assert "After the step 'looking:look': The model does not know the column 'word'" in wrong.err
