"""Searching runs: by what they measured, were told and are, in any order, a page at a time.

A run that lacks what is ordered by comes last, whichever the direction; a metric that is NaN comes before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection

from bascule.errors import InputError
from bascule.tracking.search.candidates import Candidates, beginning, candidates, equal, near, unordered
from bascule.tracking.search.conditions import LISTS, NULLS, NUMBERS, TEXTS, demand, number_sql, text_sql
from bascule.tracking.search.grammar import Comparison, Ordering, parse_filter, parse_order
from bascule.tracking.search.pages import Page, next_token, offset_of
from bascule.tracking.search.pieces import Sql, among, asked, joined, number_of, of_clause
from bascule.tracking.status import FIELDS
from bascule.tracking.tracker import Tracker

ENTITIES = {
    **dict.fromkeys(("metric", "metrics"), "metric"),
    **dict.fromkeys(("param", "params", "parameter", "parameters"), "param"),
    **dict.fromkeys(("tag", "tags"), "tag"),
    **dict.fromkeys(("attribute", "attributes", "attr", "run"), "attribute"),
    **dict.fromkeys(("dataset", "datasets"), "dataset"),
}
ALIASES = {"created": "start_time", "run name": "run_name", "Run name": "run_name", "Run Name": "run_name"}
_CASES = " ".join(f"WHEN '{ours}' THEN '{theirs}'" for ours, theirs in FIELDS.items())
STATUS = f"CASE runs.status {_CASES} ELSE 'RUNNING' END"
#: Attribute to its column, and whether that is a text.
ATTRIBUTES = {
    "run_id": ("runs.id", True),
    "run_name": ("runs.name", True),
    "user_id": ("runs.user_name", True),
    "status": (STATUS, True),
    "artifact_uri": ("coalesce(runs.artifact_uri, '')", True),
    "start_time": ("runs.started_at", False),
    "end_time": ("runs.finished_at", False),
}
DATASET = {"name": "datasets.name", "digest": "datasets.digest", "context": "dataset_uses.context"}
#: Where values by name are, and an index on them.
VALUES = {"metric": "latest_metrics", "param": "run_params", "tag": "run_tags"}
SORTED = 3000  # candidates that are sorted sooner than found among all that are sorted
SOUGHT = 1000  # and runs that no index tells: so many are looked for first
JOINED = 8  # datasets in a filter; PostgreSQL makes joins of them, and weighs the orders of many for half a minute
VIEWS = {"ACTIVE_ONLY": ("active",), "DELETED_ONLY": ("deleted",), "ALL": ("active", "deleted")}


@dataclass(frozen=True)
class _Asked:
    """What is asked for, with the numbers of the names in it; a name that nobody used has none."""

    experiments: Sequence[int] | None
    lifecycles: Sequence[str]
    conditions: list[Comparison]
    order: list[Ordering]
    numbers: dict[str, int]
    also: Sequence[ColumnElement[bool]] = ()


_NOTHING = Sql("")


class Found(NamedTuple):
    """A run as a page tells of it; see the columns of `runs`, times in microseconds."""

    id: str
    number: int | None
    name: str
    kind: str
    status: str
    branch: str | None
    user_name: str
    started_at: int
    finished_at: int | None
    error: str | None
    experiment_id: int
    lifecycle: str
    artifact_uri: str | None


COLUMNS = ", ".join(f"runs.{name}" for name in Found._fields)


@dataclass(frozen=True)
class _Query:
    """Runs, before they are ordered.

    Attributes:
        source: what follows FROM.
        where: conditions; all hold.
        begin: what stands before SELECT.
    """

    source: Sql
    where: Sequence[Sql]
    begin: Sql = _NOTHING

    def selecting(self, columns: str, *end: Sql | str) -> Sql:
        """Return the statement for some columns."""
        return joined([self.begin, f"SELECT {columns} FROM", self.source, "WHERE", joined(self.where, " AND "), *end])


def search_runs(
    tracker: Tracker,
    experiments: Sequence[int] | None,
    *,
    filter: str = "",
    order_by: Sequence[str] = (),
    view: str = "ACTIVE_ONLY",
    limit: int = 1000,
    token: str = "",
    also: Sequence[ColumnElement[bool]] = (),
) -> Page[Found]:
    """Return a page of runs.

    Args:
        experiments: where to look; None is everywhere.
        filter: see `grammar`; on metrics it asks the latest value.
        order_by: then by start, youngest first, and by id.
        view: ACTIVE_ONLY, DELETED_ONLY or ALL.
        token: what the page before gave.
        also: more conditions on columns of `runs`.

    Raises:
        InputError: for a filter, an order or a token that cannot be read.
    """
    conditions = parse_filter(filter, ENTITIES)
    order = parse_order(order_by, ENTITIES)
    offset = offset_of(token)
    keyed: list[Comparison | Ordering] = [*conditions, *order]
    wanted = {one.key for one in keyed if one.entity in VALUES}
    told = _Asked(experiments, VIEWS[view], conditions, order, tracker.names.known(wanted), also)
    with tracker.workspace.catalog.read() as conn:
        found = _found(conn, told, offset, limit + 1)
    return Page(found[:limit], next_token(offset + limit) if len(found) > limit else "")


def count_runs(tracker: Tracker, experiments: Sequence[int], *, filter: str = "", view: str = "ACTIVE_ONLY") -> int:
    """Return how many runs a search would find; arguments and errors as `search_runs`."""
    conditions = parse_filter(filter, ENTITIES)
    wanted = {one.key for one in conditions if one.entity in VALUES}
    told = _Asked(experiments, VIEWS[view], conditions, [], tracker.names.known(wanted))
    with tracker.workspace.catalog.read() as conn:
        few = candidates(conn, told.conditions, told.numbers, None)
        return number_of(conn, _of(few, _where(conn, told, few)).selecting("count(*)"))


def _found(conn: Connection, told: _Asked, offset: int, limit: int) -> list[Found]:
    few = candidates(conn, told.conditions, told.numbers)
    where = _where(conn, told, few)
    first = told.order[0] if told.order else None
    if first is None or first.entity not in VALUES or (few is not None and few.most <= SORTED):
        return _page(conn, _of(few, where), told, offset, limit)
    if len(told.conditions) > (len(few.conditions) if few is not None else 0):
        some = asked(conn, _of(few, where).selecting("runs.number", f"LIMIT {SOUGHT + 1}"))
        if len(some) <= SOUGHT:
            these = [among("runs.number", [number for (number,) in some])]
            return _page(conn, _Query(Sql("runs"), these), told, offset, limit)
    elif few is None and first.entity != "metric":
        same = _of_first_value(conn, told, first, where)
        page = [] if same is None else _page(conn, same, told, offset, limit, [])
        if len(page) == limit:
            return page
    return _by_value(conn, told, first, few, where, offset, limit)


def _by_value(
    conn: Connection,
    told: _Asked,
    first: Ordering,
    few: Candidates | None,
    where: list[Sql],
    offset: int,
    limit: int,
) -> list[Found]:
    """Find a page by the index on a name's values, which gives the first ones without a look at the others."""
    found: list[Found] = []
    by_value = _where(conn, told, few, unordered(conn, "runs.experiment_id"))
    for part in (False, True, None) if first.entity == "metric" else (False, None):  # values, then NaN, then none
        query = _of_value(conn, told, first, part, few, where if part is None else by_value)
        rows = _page(conn, query, told, offset, limit - len(found), [] if part is None else _directed(first))
        found += rows
        if len(found) == limit:
            break
        if rows:
            offset = 0
        elif offset:
            offset = max(offset - number_of(conn, query.selecting("count(*)")), 0)
    return found


def _of_first_value(conn: Connection, told: _Asked, first: Ordering, where: list[Sql]) -> _Query | None:
    """Ask for the runs whose value comes first, when so many have it that the youngest of them are soon found."""
    table, number = VALUES[first.entity], (told.numbers.get(first.key, -1),)
    top = f"SELECT value FROM {table} WHERE name = ? ORDER BY {', '.join(_directed(first))} LIMIT 1"
    best = asked(conn, Sql(top, number))
    if not best:
        return None
    same = equal("v.value", best[0][0])
    some = joined([Sql(f"SELECT 1 FROM {table} AS v WHERE v.name = ? AND", number), same, f"LIMIT {SORTED + 1}"])
    if number_of(conn, joined(["SELECT count(*) FROM (", some, ") AS found"])) <= SORTED:
        return None
    return _Query(Sql("runs"), [*where, _there(first.entity, *number, same)])


def _page(
    conn: Connection, query: _Query, told: _Asked, offset: int, limit: int, first: list[str] | None = None
) -> list[Found]:
    """Return a page of a query, in order; `first` are the terms of the first order, when the query has its values."""
    keys, joins = list(first or ()), [query.source]
    for place, one in enumerate(told.order if first is None else told.order[1:]):
        if one.entity in VALUES and one.key not in told.numbers:  # nobody has it
            continue
        more, table = _order_key(one, f"o{place}", told)
        keys += more
        joins += table
    named = {(one.entity, ALIASES.get(one.key, one.key)) for one in told.order}
    if ("attribute", "start_time") not in named:
        keys.append("runs.started_at DESC")
    end = Sql(f"ORDER BY {', '.join([*keys, 'runs.id'])} LIMIT ? OFFSET ?", (limit, offset))
    rows = asked(conn, _Query(joined(joins), query.where, query.begin).selecting(COLUMNS, end))
    return list(map(Found._make, rows))


def _of(few: Candidates | None, where: list[Sql]) -> _Query:
    """Ask for runs, or for candidates only, each looked up."""
    if few is None:
        return _Query(Sql("runs"), where)
    begin = joined(["WITH few AS MATERIALIZED (", few.subjects, ")"])
    return _Query(Sql("runs JOIN few ON few.subject = runs.number"), where, begin)


def _of_value(
    conn: Connection, told: _Asked, first: Ordering, nan: bool | None, few: Candidates | None, where: list[Sql]
) -> _Query:
    """Ask for runs by a name's values, or, when `nan` is None, for those that have none."""
    table, number = VALUES[first.entity], (told.numbers.get(first.key, -1),)
    if nan is None:
        there = f"NOT EXISTS (SELECT 1 FROM {table} AS v WHERE v.subject = runs.number AND v.name = ?)"
        return _of(few, [*where, Sql(there, number)])
    mine = [Sql(f"{table}.name = ?", number)]
    if first.entity == "metric":
        mine.append(Sql(f"{table}.is_nan = {str(nan).upper()}"))
    if few is not None:
        mine.append(joined([unordered(conn, f"{table}.subject"), "IN (", few.subjects, ")"]))
    return _Query(Sql(f"{table} JOIN runs ON runs.number = {table}.subject"), [*mine, *where])


def _order_key(one: Ordering, table: str, told: _Asked) -> tuple[list[str], list[Sql]]:
    """Return the terms of an order, and what has to be joined for them under a name."""
    if one.entity == "attribute":
        column, _ = _attribute(one.key)
        return [f"{column} IS NULL", _to(column, one)], []
    if one.entity == "dataset":
        raise InputError(f"Runs cannot be ordered by a dataset's {one.key!r}.", hint="Order by a metric or a tag.")
    mine = f"LEFT JOIN {VALUES[one.entity]} AS {table} ON {table}.subject = runs.number AND {table}.name = ?"
    missing = f"{table}.value IS NULL"
    if one.entity == "metric":
        missing = f"CASE WHEN {missing} THEN 2 WHEN {table}.is_nan THEN 1 ELSE 0 END"
    return [missing, _to(f"{table}.value", one)], [Sql(mine, (told.numbers[one.key],))]


def _directed(one: Ordering) -> list[str]:
    """Return the terms of an order by values as their index has them."""
    value = f"{VALUES[one.entity]}.value"
    return [_to(value, one)] if one.entity == "metric" else [_to(near(value), one), _to(value, one)]


def _to(column: str, one: Ordering) -> str:
    return f"{column} {'ASC' if one.ascending else 'DESC'}"


def _attribute(key: str) -> tuple[str, bool]:
    found = ATTRIBUTES.get(ALIASES.get(key, key))
    if found is None:
        raise InputError(f"Invalid attribute key {key!r} specified.", hint=f"Valid keys are {', '.join(ATTRIBUTES)}.")
    return found


def _where(conn: Connection, told: _Asked, few: Candidates | None, experiment: str = "runs.experiment_id") -> list[Sql]:
    where = [among(experiment, told.experiments)] if told.experiments is not None else []
    where += [among("runs.lifecycle", told.lifecycles), *(of_clause(conn, one) for one in told.also)]
    known = few.conditions if few is not None else frozenset()
    asked = [one for at, one in enumerate(told.conditions) if at not in known]
    apart = sum(one.entity == "dataset" for one in asked) > JOINED
    return where + [_condition(conn, one, told.numbers, apart) for one in asked]


def _condition(conn: Connection, one: Comparison, numbers: dict[str, int], apart: bool) -> Sql:
    if one.entity == "attribute":
        return _of_attribute(conn, one)
    if one.entity == "dataset":
        return _of_dataset(conn, one, apart)
    number = numbers.get(one.key, -1)
    if one.entity == "metric":
        demand(one, NUMBERS, text=False)
        held = number_sql("v.value", one)
        return _there(
            "metric", number, joined(["(v.is_nan OR" if one.operator == "!=" else "(NOT v.is_nan AND", held, ")"])
        )
    demand(one, TEXTS + NULLS, text=True)
    if one.operator in NULLS:
        there = _there(one.entity, number)
        return there if one.operator == "IS NOT NULL" else joined(["NOT", there])
    if one.operator == "LIKE" and (begins := beginning(conn, "value", str(one.value))):
        few = Sql(f"runs.number IN (SELECT subject FROM {VALUES[one.entity]} WHERE name = ? AND", (number,))
        return joined([few, begins, "AND", text_sql(conn, "value", one), ")"])
    if one.operator == "=":
        return _there(one.entity, number, equal("v.value", str(one.value)))
    return _there(one.entity, number, text_sql(conn, "v.value", one))


def _there(entity: str, number: int, *held: Sql) -> Sql:
    """Return the condition that a run has a value `v` by a name, for which more may hold."""
    mine = Sql(f"EXISTS (SELECT 1 FROM {VALUES[entity]} AS v WHERE v.subject = runs.number AND v.name = ?", (number,))
    return joined([joined([mine, *held], " AND "), ")"])


def _of_attribute(conn: Connection, one: Comparison) -> Sql:
    column, is_text = _attribute(one.key)
    if is_text:
        demand(one, TEXTS + LISTS if one.key == "run_id" else TEXTS, text=True)
        return text_sql(conn, column, one)
    demand(one, NUMBERS, text=False)
    return number_sql(column, one, 1000)


def _of_dataset(conn: Connection, one: Comparison, apart: bool) -> Sql:
    column = DATASET.get(one.key)
    if column is None:
        raise InputError(f"Invalid dataset key {one.key!r}.", hint=f"Valid keys are {', '.join(DATASET)}.")
    demand(one, TEXTS + LISTS, text=True)
    uses = "SELECT dataset_uses.subject FROM dataset_uses JOIN datasets ON datasets.id = dataset_uses.dataset"
    held = joined([f"runs.number IN ({uses} WHERE", text_sql(conn, column, one), ")"])
    return joined(["(", held, ") IS TRUE"]) if apart else held
