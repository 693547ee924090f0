"""Budgets of differential privacy: how much may be learned of a table's people in all, and how much was.

A query spends before it reads, in one transaction with the entry in the audit log, which is the ledger. Epsilons add up
(sequential composition); whoever asks at the same time waits for the row, so two can never spend the same. Budgets
belong to a table by its identity, on all branches and under any name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select, update

from bascule.catalog import actor, audit
from bascule.catalog.schema import settings
from bascule.errors import CheckFailed, InputError, NotFound
from bascule.history import Workspace

PREFIX = "privacy:"
SPENT = "private-query"
# Sums of decimal fractions such as 0.1 are rounded; a budget of 1 pays ten queries of 0.1.
ROUNDING = 1e-9


class Budget(msgspec.Struct, frozen=True):
    """What may be learned of a table.

    Attributes:
        table: its name when the budget was set.
        identity: the table's, whatever it is called.
        epsilon: all that may be spent.
        spent: what was.
        unit: the column that names a person; None when each row is one.
        rows_each: how many rows of a person take part in a query.
    """

    table: str
    identity: str
    epsilon: float
    spent: float = 0.0
    unit: str | None = None
    rows_each: int = 1

    @property
    def left(self) -> float:
        """What may still be spent."""
        return max(0.0, round(self.epsilon - self.spent, 12))


class BudgetSpent(CheckFailed):
    """A query would cost more than is left."""

    def __init__(self, budget: Budget, asked: float) -> None:
        super().__init__(
            f"The privacy budget of {budget.table} has {budget.left:.4g} of {budget.epsilon:g} left, "
            f"and this costs {asked:g}.",
            hint="Ask with a smaller --epsilon and so with more noise, or have the budget raised.",
        )


def set_budget(workspace: Workspace, budget: Budget, author: str | None = None) -> Budget:
    """Give a table a budget, or another one; what was spent stays spent.

    Raises:
        InputError: epsilon is no positive number or less than what was spent, or what counts as a person would change
            after something was spent.
    """
    if not 0 < budget.epsilon < 1000:
        raise InputError(f"A budget of {budget.epsilon:g} protects nobody, or lets nothing be asked.", hint="Write 1.")
    if budget.rows_each < 1:
        raise InputError(f"{budget.rows_each} rows of a person cannot take part.", hint="Write 1 or more.")
    if budget.unit is None and budget.rows_each != 1:
        raise InputError("Rows of a person are limited by a column that names the person.", hint="Give --unit COLUMN.")
    with workspace.catalog.write() as conn:
        held = _held(conn, budget.identity)
        if held is None:
            value = msgspec.structs.replace(budget, spent=0.0)
            conn.execute(insert(settings).values(key=PREFIX + budget.identity, value=_text(value)))
        else:
            if held.spent > budget.epsilon:
                raise InputError(f"{held.spent:.4g} of it is spent already; a budget cannot be less than that.")
            if held.spent and (held.unit, held.rows_each) != (budget.unit, budget.rows_each):
                raise InputError("What counts as a person cannot change after something was spent.")
            value = msgspec.structs.replace(budget, spent=held.spent)
            _write(conn, value)
        detail = msgspec.to_builtins(value)
        subject = f"tables/{budget.table}"
        audit.append(conn, actor=author or actor(), action="privacy-budget", subject=subject, detail=detail)
    return value


def spend(
    workspace: Workspace, identity: str, table: str, epsilon: float, what: Mapping[str, Any], author: str | None = None
) -> Budget:
    """Take from a table's budget, and enter it in the ledger. It is durable when this returns.

    Args:
        what: the query, for the ledger; it holds no value of a row.

    Raises:
        NotFound: the table has no budget.
        BudgetSpent: less is left. Nothing was spent.
    """
    with workspace.catalog.write() as conn:
        held = _held(conn, identity)
        if held is None:
            raise NotFound(
                "privacy budget",
                table,
                [one.table for one in _every(conn)],
                hint=f"Set one first: bascule private budget {table} --epsilon 1",
            )
        if held.spent + epsilon > held.epsilon + ROUNDING:
            raise BudgetSpent(held, epsilon)
        after = msgspec.structs.replace(held, spent=held.spent + epsilon)
        _write(conn, after)
        detail = {**what, "epsilon": epsilon, "spent": after.spent, "of": after.epsilon}
        audit.append(conn, actor=author or actor(), action=SPENT, subject=f"tables/{table}", detail=detail)
    return after


def budget_of(workspace: Workspace, identity: str) -> Budget | None:
    """Return a table's budget, if it has one."""
    with workspace.catalog.read() as conn:
        value = conn.execute(select(settings.c.value).where(settings.c.key == PREFIX + identity)).scalar()
    return msgspec.json.decode(value, type=Budget) if value else None


def budgets(workspace: Workspace) -> list[Budget]:
    """Return all budgets, by the names of their tables."""
    with workspace.catalog.read() as conn:
        return _every(conn)


def _every(conn: Connection) -> list[Budget]:
    query = select(settings.c.value).where(settings.c.key.startswith(PREFIX))
    found = [msgspec.json.decode(value, type=Budget) for value in conn.execute(query).scalars()]
    return sorted(found, key=lambda one: one.table)


def _held(conn: Connection, identity: str) -> Budget | None:
    query = select(settings.c.value).where(settings.c.key == PREFIX + identity).with_for_update()
    value = conn.execute(query).scalar()
    return msgspec.json.decode(value, type=Budget) if value else None


def _write(conn: Connection, value: Budget) -> None:
    conn.execute(update(settings).where(settings.c.key == PREFIX + value.identity).values(value=_text(value)))


def _text(value: Budget) -> str:
    return msgspec.json.encode(value).decode()
