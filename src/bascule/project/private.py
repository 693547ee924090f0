"""Aggregates of a table under its privacy budget: counts, sums and means with noise, by public groups."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import duckdb
import msgspec

from bascule.errors import BasculeError, InputError, NotFound
from bascule.history import Workspace
from bascule.lake import Lake
from bascule.lake.engine import confine, opened
from bascule.lake.iceberg.types import literal, quoted
from bascule.lake.privacy.budget import Budget, budgets, set_budget, spend
from bascule.lake.privacy.noise import Noisy, demand_library, with_noise
from bascule.lake.sqltext import closes_what_it_opens, parse
from bascule.project.place import Place

Aggregate = Literal["count", "sum", "mean"]
GRID = 10_000  # steps between the bounds of a column: what a value is rounded to
MOST_GROUPS = 10_000


@dataclass(frozen=True, slots=True)
class PrivateAnswer:
    """An answer with noise, and what it cost.

    Attributes:
        rows: one for each group: its key under the column's name, `value`, and `within`: how far off it is at most, in
            95 of 100 cases; None for a mean, which is a ratio of two noisy numbers.
        epsilon: what it cost.
        left: what is left of the budget.
    """

    rows: tuple[dict[str, Any], ...]
    epsilon: float
    left: float

    def as_dict(self) -> dict[str, Any]:
        """The answer as one JSON object."""
        return {"rows": list(self.rows), "epsilon": self.epsilon, "left": self.left}


@dataclass(frozen=True, slots=True)
class _Asked:
    aggregate: Aggregate
    column: str | None
    low: float
    high: float
    by: str | None
    keys: tuple[str, ...]
    where: str | None


def set_privacy_budget(
    place: Place, table: str, epsilon: float, *, unit: str | None = None, rows_each: int = 1
) -> Budget:
    """Give a table of the current branch a privacy budget, or another one.

    Args:
        epsilon: all that may be spent; 1 protects well, 10 hardly.
        unit: the column that names a person; each row is one when None.
        rows_each: how many rows of a person take part in a query, at most.

    Raises:
        NotFound: there is no such table or column.
        InputError: as `bascule.lake.privacy.budget.set_budget`.
    """
    obj = place.workspace.history.get(place.branch, f"tables/{table}")
    if unit is not None:
        _known(place.workspace, obj, table, unit)
    return set_budget(place.workspace, Budget(table, str(obj["uuid"]), epsilon, 0.0, unit, rows_each))


def privacy_budgets(place: Place) -> list[Budget]:
    """Return all privacy budgets, and what is spent of each."""
    return budgets(place.workspace)


def ask_privately(
    place: Place, table: str, aggregate: Aggregate, column: str | None = None, **asked: Any
) -> PrivateAnswer:
    """Ask for a count, a sum or a mean of a table of the current branch: `ask_at` with all that it can be asked."""
    return ask_at(place.workspace, place.branch, table, aggregate, column, **asked)


def ask_at(
    workspace: Workspace,
    ref: str,
    table: str,
    aggregate: Aggregate,
    column: str | None = None,
    *,
    epsilon: float,
    low: float | None = None,
    high: float | None = None,
    by: str | None = None,
    keys: Sequence[str] = (),
    where: str | None = None,
    seconds: float | None = None,
    author: str | None = None,
) -> PrivateAnswer:
    """Ask for a count, a sum or a mean of a table of a state, under its privacy budget.

    The budget is charged before a row is read, and stays charged when the query fails: errors can tell something, too.

    Args:
        column: what is summed; values outside of the bounds are taken for the bounds, and nulls take no part.
        epsilon: what is spent; less means more noise.
        low: the least value that is possible, known without looking.
        high: the greatest one.
        by: a column of groups.
        keys: the groups that are asked for, known without looking.
        where: an SQL condition on a row, without subqueries.
        seconds: the query is ended after this time, and has cost what it costs.
        author: who asks, for the ledger; whoever runs this when None.

    Raises:
        NotFound: there is no such table, column or budget.
        BudgetSpent: less than epsilon is left. Nothing was read.
        InputError: what is asked makes no sense. Nothing was spent.
        MissingExtra: OpenDP is not installed.
    """
    demand_library()
    obj = workspace.history.get(ref, f"tables/{table}")
    asked = _checked(workspace, obj, table, aggregate, column, low, high, by, tuple(keys), where)
    if not (epsilon > 0 and math.isfinite(epsilon)):
        raise InputError(f"epsilon is {epsilon:g}.", hint="Write a number above 0, such as 0.1.")
    _priced(asked, epsilon)  # what cannot be asked at all is told for nothing
    what = {"aggregate": aggregate, "column": column, "by": by, "groups": len(asked.keys) or 1}
    budget = spend(workspace, str(obj["uuid"]), table, epsilon, what, author)
    counts, sums = _exact(workspace, obj, budget, asked, seconds)
    return PrivateAnswer(tuple(_released(asked, budget, counts, sums, epsilon)), epsilon, budget.left)


def _priced(asked: _Asked, epsilon: float) -> None:
    """Make the noise of a query without a row, for what it refuses."""
    with_noise([0], 1 if asked.aggregate == "count" else GRID, epsilon if asked.aggregate == "count" else epsilon / 2)


def _released(
    asked: _Asked, budget: Budget, counts: list[int], sums: list[int], epsilon: float
) -> list[dict[str, Any]]:
    step = (asked.high - asked.low) / GRID if asked.column else 1.0
    # On the grid a value is a whole number of steps above `low`, so that a person adds between 0 and GRID steps a row;
    # what `low` adds is taken in by the noisy count.
    if asked.aggregate == "count":
        noisy = with_noise(counts, budget.rows_each, epsilon)
        return _rows(asked, [float(value) for value in noisy.values], noisy.within)
    half = epsilon / 2
    number = with_noise(counts, budget.rows_each, half)
    total = with_noise(sums, budget.rows_each * GRID, half)
    if asked.aggregate == "sum":
        values = [s * step + n * asked.low for s, n in zip(total.values, number.values, strict=True)]
        return _rows(asked, values, _sum_within(total, number, step, asked.low))
    means = [
        asked.low + min(max(s / max(n, 1), 0), GRID) * step for s, n in zip(total.values, number.values, strict=True)
    ]
    return _rows(asked, means, None)


def _sum_within(total: Noisy, number: Noisy, step: float, low: float) -> float:
    # Each half is off by more in 1 of 40 cases at most, so both together in 1 of 20.
    wider = math.log(40) / math.log(20)
    return wider * (total.within * step + number.within * abs(low))


def _rows(asked: _Asked, values: list[float], within: float | None) -> list[dict[str, Any]]:
    keys: tuple[str | None, ...] = asked.keys or (None,)
    return [
        {**({asked.by: key} if asked.by else {}), "value": value, "within": within}
        for key, value in zip(keys, values, strict=True)
    ]


def _exact(
    workspace: Workspace, obj: dict[str, Any], budget: Budget, asked: _Asked, seconds: float | None
) -> tuple[list[int], list[int]]:
    """Count and sum, exactly, over the rows that take part; what goes wrong is not told, as it can depend on rows."""
    conditions = [f"(\n{asked.where}\n)"] if asked.where else []
    if asked.column:
        conditions += [f"{quoted(asked.column)} IS NOT NULL", f"NOT isnan({quoted(asked.column)}::DOUBLE)"]
    if asked.by:
        conditions.append(f"{quoted(asked.by)}::VARCHAR IN ({', '.join(map(literal, asked.keys))})")
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    group = f"{quoted(asked.by)}::VARCHAR" if asked.by else "NULL::VARCHAR"
    steps = "0"
    if asked.column:
        low, high = asked.low, asked.high
        clamped = f"least(greatest({quoted(asked.column)}::DOUBLE, {low!r}::DOUBLE), {high!r}::DOUBLE)"
        steps = f"CAST(round(({clamped} - {low!r}::DOUBLE) / {(high - low)!r}::DOUBLE * {GRID}) AS BIGINT)"
    few = ""
    if budget.unit is not None:  # which rows of a person are taken depends on that person's rows alone
        person = quoted(budget.unit)
        place_of = f"row_number() OVER (PARTITION BY {person} ORDER BY {group}, {steps})"
        few = f"QUALIFY {person} IS NOT NULL AND {place_of} <= {budget.rows_each:d}"
    source = Lake(workspace).scan(obj)
    rows = f"SELECT {group} AS g, {steps} AS s FROM {source} {where} {few}"
    query = f"SELECT g, count(*), sum(s)::BIGINT FROM ({rows}) GROUP BY g"
    try:
        with opened(workspace.temporary_folder) as connection:
            confine(connection, [workspace.lake_folder])
            with _ended(connection, seconds):
                found = {row[0]: (int(row[1]), int(row[2])) for row in connection.execute(query).fetchall()}
    except Exception as error:
        raise InputError(
            "This cannot be asked of these rows. What it would have cost is spent: an error tells something, too.",
            hint="Try the condition on rows that you may see first; on a server, ask for what takes less time.",
        ) from (error if isinstance(error, BasculeError) else None)
    keys: tuple[str | None, ...] = asked.keys or (None,)
    return [found.get(key, (0, 0))[0] for key in keys], [found.get(key, (0, 0))[1] for key in keys]


@contextmanager
def _ended(connection: duckdb.DuckDBPyConnection, seconds: float | None) -> Iterator[None]:
    """End the query that runs when its time is over."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, connection.interrupt)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _checked(
    workspace: Workspace,
    obj: dict[str, Any],
    table: str,
    aggregate: Aggregate,
    column: str | None,
    low: float | None,
    high: float | None,
    by: str | None,
    keys: tuple[str, ...],
    where: str | None,
) -> _Asked:
    if aggregate not in ("count", "sum", "mean"):
        raise NotFound("aggregate", str(aggregate), ["count", "sum", "mean"])
    if aggregate == "count":
        if column is not None or low is not None or high is not None:
            raise InputError("A count is of rows: it has no column and no bounds.")
        low, high = 0.0, 1.0
    elif column is None:
        raise InputError(f"A {aggregate} is of a column, and none is named.")
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(
            f"The bounds of {column} are {low} and {high}: the noise depends on them.",
            hint="Give --low and --high: the least and the greatest value that are possible, known without looking.",
        )
    if bool(by) != bool(keys):
        raise InputError(
            "Groups are asked for by a column and by their keys: which groups there are is not for free.",
            hint="Give both --by COLUMN and --keys a,b,c.",
        )
    if len(set(keys)) != len(keys) or len(keys) > MOST_GROUPS:
        raise InputError(f"The {len(keys):,} keys name a group twice, or more than {MOST_GROUPS:,}.")
    for name in (column, by):
        if name is not None:
            _known(workspace, obj, table, name)
    if column is not None:
        _number(workspace, obj, column)
    if where is not None:
        _row_condition(workspace, obj, where)
    return _Asked(aggregate, column, float(low), float(high), by, keys, where)


def _known(workspace: Workspace, obj: dict[str, Any], table: str, column: str) -> None:
    names = [field.name for field in Lake(workspace).schema(obj)]
    if column not in names:
        raise NotFound("column", column, names, where=table)


def _number(workspace: Workspace, obj: dict[str, Any], column: str) -> None:
    kind = str(Lake(workspace).schema(obj).field(column).type)
    if not kind.startswith(("int", "uint", "float", "double", "halffloat", "decimal")):
        raise InputError(f"{column} is {kind}: only numbers have a sum.")


def _row_condition(workspace: Workspace, obj: dict[str, Any], where: str) -> None:
    """Refuse what is no condition on one row: other tables, subqueries, windows, aggregates, several statements.

    The rows that are kept must not depend on other people's rows, or one person could change more than their own.
    """
    if not closes_what_it_opens(where):
        raise InputError("The condition closes a parenthesis that it did not open.", hint="Write one condition.")
    with opened(workspace.temporary_folder) as connection:
        text = f"SELECT 1 FROM rows_of_it WHERE (\n{where}\n)"
        parse(connection, text)
        tree = connection.execute("SELECT json_serialize_sql(?)", [text]).fetchone()
        document = msgspec.json.decode(tree[0]) if tree else {}
        confine(connection, [workspace.lake_folder])
        statements = document.get("statements", [])
        plain = len(statements) == 1 and statements[0]["node"].get("type") == "SELECT_NODE"
        if not plain or not statements[0]["node"].get("where_clause") or _classes(statements[0]["node"]) & _NOT_A_ROWS:
            raise InputError(
                "The condition is not one on a single row: it has a subquery or a window.",
                hint="Write a condition on columns, such as: age >= 18",
            )
        try:  # columns and types are public: binding says what is wrong, without reading a row
            connection.sql(f"SELECT 1 FROM {Lake(workspace).scan(obj)} WHERE (\n{where}\n) LIMIT 0").fetchall()
        except Exception as error:
            raise InputError(f"The condition cannot be used: {str(error).splitlines()[0]}") from error


_NOT_A_ROWS = {"SUBQUERY", "WINDOW"}


def _classes(node: Any) -> set[str]:
    if isinstance(node, dict):
        found = {str(node["class"])} if "class" in node else set()
        return found.union(*(_classes(value) for value in node.values()))
    return set().union(*(_classes(value) for value in node)) if isinstance(node, list) else set()
