"""Privacy budgets: the noise is what it should be, and nobody spends what is not there, however many ask at once."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bascule.catalog import audit
from bascule.errors import InputError, NotFound
from bascule.history import Workspace
from bascule.lake.privacy.budget import Budget, BudgetSpent, budget_of, budgets, set_budget, spend
from bascule.lake.privacy.noise import with_noise


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace.create(tmp_path / "ws")
    yield workspace
    workspace.close()


@pytest.mark.slow
def test_the_noise_is_of_the_size_that_epsilon_asks_for() -> None:
    errors = [abs(value - 1000) for value in with_noise([1000] * 4000, 1, 0.5).values]
    # The scale of all together is 2, whatever comes out: the sensitivity is that of the whole list.
    assert 1.6 < statistics.mean(errors) < 2.4
    found = with_noise([0], 3, 0.5)
    assert found.scale >= 6
    assert 0.49 < found.epsilon <= 0.5
    assert sum(error <= with_noise([0], 1, 0.5).within for error in errors) / len(errors) > 0.93


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan"), float("inf")])
def test_an_epsilon_that_is_none(epsilon: float) -> None:
    with pytest.raises(InputError, match="epsilon is"):
        with_noise([1], 1, epsilon)


def test_a_budget_is_spent_to_its_end_and_no_further(ws: Workspace) -> None:
    with pytest.raises(NotFound, match="people"):
        spend(ws, "id", "people", 0.1, {})
    set_budget(ws, Budget("people", "id", 1.0))
    for _ in range(10):
        spend(ws, "id", "people", 0.1, {"aggregate": "count"})
    with pytest.raises(BudgetSpent, match="0 of 1 left") as refused:
        spend(ws, "id", "people", 0.01, {})
    assert refused.value.exit_code == 1
    held = set_budget(ws, Budget("people", "id", 1.5))
    assert held.left == pytest.approx(0.5)
    with pytest.raises(InputError, match="spent already"):
        set_budget(ws, Budget("people", "id", 0.5))
    with pytest.raises(InputError, match="cannot change"):
        set_budget(ws, Budget("people", "id", 2.0, unit="person"))
    assert [one.table for one in budgets(ws)] == ["people"]
    assert audit.verify(ws.catalog).ok


@pytest.mark.slow
def test_those_who_ask_at_once_cannot_overspend(workspace: Workspace) -> None:
    ws = workspace  # on SQLite and on PostgreSQL
    set_budget(ws, Budget("people", "id", 1.0))

    def ask(n: int) -> bool:
        own = Workspace.open(ws.folder)
        try:
            spend(own, "id", "people", 0.15, {"n": n})
        except BudgetSpent:
            return False
        finally:
            own.close()
        return True

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(ask, range(24)))
    assert sum(done) == 6
    held = budget_of(ws, "id")
    assert held is not None
    assert held.spent == pytest.approx(0.9)


@pytest.mark.parametrize(
    "budget",
    [
        Budget("p", "i", 0.0),
        Budget("p", "i", 1e6),
        Budget("p", "i", 1.0, 0.0, "u", 0),
        Budget("p", "i", 1.0, 0.0, None, 2),
    ],
)
def test_budgets_that_are_none(ws: Workspace, budget: Budget) -> None:
    with pytest.raises(InputError):
        set_budget(ws, budget)
    assert budgets(ws) == []
