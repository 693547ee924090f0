"""Asking about people over HTTP without being told of any: counts, sums and means under a privacy budget."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from bascule.lake.privacy.budget import budgets
from bascule.project.private import ask_at
from bascule.server.routes import Call, Route

BASE = "/api/bascule/v1"


class PrivateQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked of a table, as `bascule private ask` says it, and what is spent on it."""

    aggregate: Literal["count", "sum", "mean"]
    epsilon: float
    column: str | None = None
    low: float | None = None
    high: float | None = None
    by: str | None = None
    keys: tuple[str, ...] = ()
    where: str | None = None
    ref: str = "main"


class PrivateRows(msgspec.Struct, frozen=True):
    """One row for each group, what they cost, and what is left of the budget."""

    rows: list[dict[str, Any]]
    epsilon: float
    left: float


class PrivacyBudget(msgspec.Struct, frozen=True):
    """What may be learned of a table in all, what was, and what counts as a person."""

    table: str
    epsilon: float
    spent: float
    left: float
    unit: str | None
    rows_each: int


def ask(call: Call[None, PrivateQuery]) -> PrivateRows:
    """Count, add or average with noise. The table's privacy budget pays before a row is read, also for what fails."""
    asked = msgspec.structs.asdict(call.body)
    found = ask_at(
        call.workspace,
        asked.pop("ref"),
        call.path["table"],
        **asked,
        seconds=call.settings.sql_seconds,
        author=call.principal.name,
    )
    return PrivateRows(list(found.rows), found.epsilon, found.left)


def list_budgets(call: Call[None, None]) -> list[PrivacyBudget]:
    """The privacy budgets of all tables, and what is left of each."""
    return [
        PrivacyBudget(one.table, one.epsilon, one.spent, one.left, one.unit, one.rows_each)
        for one in budgets(call.workspace)
    ]


ROUTES = [
    Route("POST", f"{BASE}/tables/{{table}}/private", ask, "read"),
    Route("GET", f"{BASE}/privacy-budgets", list_budgets, "read"),
]
