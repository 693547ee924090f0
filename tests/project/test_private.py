"""`bascule private`: aggregates near the truth, and what they may not tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bascule.catalog.schema import audit as audit_table
from bascule.errors import BasculeError, InputError
from bascule.history import Workspace
from bascule.lake import Lake
from bascule.project.place import Place
from bascule.project.private import ask_privately, privacy_budgets, set_privacy_budget

Bascule = Callable[..., Any]
PEOPLE = 500


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.chdir(tmp_path)
    workspace = Workspace.create(tmp_path)
    rows = {
        "person": [f"p{n % 100}" for n in range(PEOPLE)],
        "age": [20 + n % 50 for n in range(PEOPLE)],
        "pay": [float(n % 10) if n % 25 else None for n in range(PEOPLE)],
        "town": ["a" if n % 5 else "b" for n in range(PEOPLE)],
        "text": ["x"] * PEOPLE,
    }
    Lake(workspace).append("people", pa.table(rows))
    workspace.close()
    found = Place(tmp_path)
    yield found
    found.close()


@pytest.mark.slow
def test_answers_are_near_the_truth(place: Place) -> None:
    set_privacy_budget(place, "people", 900)
    many: dict[str, Any] = {"epsilon": 50.0}
    (count,) = ask_privately(place, "people", "count", **many).rows
    assert abs(count["value"] - PEOPLE) <= 3
    (total,) = ask_privately(place, "people", "sum", "age", low=0, high=100, **many).rows
    truth = sum(20 + n % 50 for n in range(PEOPLE))
    assert abs(total["value"] - truth) < 60
    (mean,) = ask_privately(place, "people", "mean", "age", low=0, high=100, **many).rows
    assert abs(mean["value"] - truth / PEOPLE) < 0.5
    (clamped,) = ask_privately(place, "people", "mean", "age", low=30, high=40, **many).rows
    assert 30 <= clamped["value"] <= 40
    groups = ask_privately(place, "people", "count", by="town", keys=["a", "b", "nowhere"], **many).rows
    assert [row["town"] for row in groups] == ["a", "b", "nowhere"]
    assert [round(row["value"], -1) for row in groups] == [400, 100, 0]
    (some,) = ask_privately(place, "people", "count", where="age >= 60 and town = 'b'", **many).rows
    truth = sum(1 for n in range(PEOPLE) if 20 + n % 50 >= 60 and n % 5 == 0)
    assert abs(some["value"] - truth) <= 3
    (pay,) = ask_privately(place, "people", "sum", "pay", low=0, high=10, **many).rows
    assert abs(pay["value"] - sum(n % 10 for n in range(PEOPLE) if n % 25)) < 10


def test_a_person_with_many_rows_counts_as_often_as_is_said(place: Place) -> None:
    set_privacy_budget(place, "people", 900, unit="person", rows_each=2)
    (count,) = ask_privately(place, "people", "count", epsilon=100.0).rows
    assert abs(count["value"] - 200) <= 4  # 100 people, of whom 2 of 5 rows take part
    coarse = ask_privately(place, "people", "count", epsilon=1.0).rows[0]["within"]
    assert coarse == pytest.approx(2 * 2.9957, rel=0.01)


def test_the_budget_is_spent_before_anything_is_read(place: Place) -> None:
    set_privacy_budget(place, "people", 1)
    with pytest.raises(InputError, match="an error tells something"):
        ask_privately(place, "people", "count", epsilon=0.4, where="error('row ' || person) is null")
    assert privacy_budgets(place)[0].spent == pytest.approx(0.4)
    with place.workspace.catalog.read() as conn:
        told = conn.execute(audit_table.select().where(audit_table.c.action == "private-query")).all()
    assert len(told) == 1
    assert "row p" not in str(told)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"aggregate": "sum"}, "none is named"),
        ({"aggregate": "sum", "column": "age"}, "--low and --high"),
        ({"aggregate": "sum", "column": "age", "low": 5, "high": 5}, "--low and --high"),
        ({"aggregate": "sum", "column": "text", "low": 0, "high": 5}, "only numbers"),
        ({"aggregate": "count", "column": "age"}, "A count is of rows"),
        ({"by": "town"}, "both --by"),
        ({"by": "town", "keys": ["a", "a"]}, "twice"),
        ({"by": "twon", "keys": ["a"]}, "twon"),
        ({"where": "age > (select avg(age) from people)"}, "subquery"),
        ({"where": "row_number() over () < 3"}, "window"),
        ({"where": "true) or (true"}, "did not open"),
        ({"where": "true --"}, "did not open"),
        ({"where": "aeg > 3"}, "cannot be used"),
        ({"where": "age > 3; select 1"}, "syntax error"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"epsilon": -1.0}, "epsilon"),
    ],
)
def test_what_makes_no_sense_costs_nothing(place: Place, options: dict[str, Any], words: str) -> None:
    set_privacy_budget(place, "people", 1)
    asked = {"aggregate": "count", "epsilon": 0.1, **options}
    with pytest.raises(BasculeError) as refused:
        ask_privately(place, "people", **asked)
    assert words in f"{refused.value.message} {refused.value.hint}"
    assert privacy_budgets(place)[0].spent == 0


@pytest.mark.slow
def test_on_the_command_line(place: Place, bascule: Bascule) -> None:
    place.close()
    said = bascule("private", "ask", "people", "count", "--epsilon", "0.5")
    assert said.code == 2
    assert "bascule private budget people" in said.err
    assert bascule("private", "budget", "people", "--epsilon", "1").code == 0
    assert bascule("private", "ask", "people", "count", "--epsilon", "0.6").code == 0
    said = bascule("private", "ask", "people", "count", "--epsilon", "0.6")
    assert said.code == 1
    assert "0.4 of 1 left" in said.err
    (held,) = bascule("private", "show", "--json").json()
    assert held["left"] == pytest.approx(0.4)
    assert bascule("private", "budget", "poeple", "--epsilon", "1").code == 2
    assert bascule("private", "budget", "people", "--epsilon", "1", "--unit", "perosn").code == 2
