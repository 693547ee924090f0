"""The plan: which rows of each view are the answer to each question, in SQL that every engine has.

The questions of a view are the different (keys, time) of the examples. For rows over time, its timeline and its
questions are put into one order: a running count of the rows splits it into stretches that begin with a row, and the
row is the answer to all questions of its stretch. Examples then join their answers on equal keys and times. So nothing
depends on the order in which an engine reads rows, each example has exactly one row, and no row is numbered twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bascule.errors import InputError
from bascule.features.aggregates import COUNTS
from bascule.features.binding import compile_request, output_types
from bascule.features.columns import FLOATS, INTEGERS, family, feature_type, microseconds, quoted, since
from bascule.features.definitions import SEPARATOR, Entity, FeatureSet, FeatureView
from bascule.features.portable.windows import window_steps

SPINE, EXAMPLES = "__spine", "__examples"
ROW, AT = "__row", "__at"


@dataclass(frozen=True)
class Plan:
    """A query in DuckDB's dialect whose sources stand apart.

    Attributes:
        sql: it reads relations of the names in `sources`.
        sources: name to SQL as its author wrote it: the examples, and each view's.
        outputs: the columns that it gives, in order.
    """

    sql: str
    sources: dict[str, str]
    outputs: tuple[str, ...]


def training_plan(feature_set: FeatureSet, spine_sql: str, columns: Mapping[str, str]) -> Plan:
    """Return the plan of what `training_rows` gives, in any order of rows.

    Args:
        columns: the examples' columns and their DuckDB types, in order.

    Raises:
        InputError: a view's keys cannot be compared alike on all engines.
    """
    at = "CAST(NULL AS BIGINT)"
    if feature_set.prediction_time:
        at = microseconds(quoted(feature_set.prediction_time), columns[feature_set.prediction_time])
    steps = [f"{SPINE} AS (SELECT e.*, {at} AS {AT} FROM {EXAMPLES} AS e)"]
    own = [f"s.{quoted(column)} AS {quoted(column)}" for column in columns]
    joined, sources = _joined(feature_set, columns, steps)
    request = compile_request(feature_set)
    inner = [*own, *(f"{sql} AS {quoted(name)}" for name, sql in joined.items())]
    steps.append(f"__joined AS (SELECT {', '.join(inner)} FROM {_from(feature_set, columns)})")
    outputs = [_cast(column, feature_set, columns[column]) for column in columns]
    for feature in feature_set.features:
        if feature in request:
            outputs.append(f"{request[feature].sql} AS {quoted(feature)}")
        elif feature not in columns:
            outputs.append(f"{quoted(feature)} AS {quoted(feature)}")
    names = (*columns, *(feature for feature in feature_set.features if feature not in columns))
    sql = f"WITH {_lines(steps)}\nSELECT {', '.join(outputs)} FROM __joined"
    return Plan(sql, {EXAMPLES: spine_sql, **sources}, names)


def rows_plan(feature_set: FeatureSet, columns: Mapping[str, str]) -> Plan:
    """Return the plan of the views' answers alone, for examples that are there already.

    It reads the relation `__spine` (`__row`, `__at` in µs, and the keys, of the types in `columns`), and gives `__row`
    and `view__field` for every output of every view, in any order.
    """
    steps: list[str] = []
    joined, sources = _joined(feature_set, columns, steps)
    outputs = [f"s.{ROW} AS {ROW}", *(f"{sql} AS {quoted(name)}" for name, sql in joined.items())]
    head = f"WITH {_lines(steps)}\n" if steps else ""
    sql = f"{head}SELECT {', '.join(outputs)} FROM {_from(feature_set, columns)}"
    return Plan(sql, sources, (ROW, *joined))


def _joined(
    feature_set: FeatureSet, columns: Mapping[str, str], steps: list[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Append each view's steps; return what each gives, by the name of the feature, and the views' SQL."""
    joined: dict[str, str] = {}
    sources: dict[str, str] = {}
    for place, view in enumerate(feature_set.views):
        entity, head = feature_set.entity(view), f"__v{place}"
        keys = key_types(view, entity, columns)
        sources[f"{head}_sql"] = view.sql
        steps += view_steps(view, entity, keys, columns, head)
        counts = _counts(view)
        for field in output_types(view):
            value = f"v{place}.{quoted(field)}"
            joined[f"{view.name}{SEPARATOR}{field}"] = f"coalesce({value}, 0)" if field in counts else value
    return joined, sources


def _from(feature_set: FeatureSet, columns: Mapping[str, str]) -> str:
    parts = [f"{SPINE} AS s"]
    for place, view in enumerate(feature_set.views):
        entity = feature_set.entity(view)
        keys = key_types(view, entity, columns)
        same = [f"{key_sql(f's.{quoted(k)}', columns[k], keys[k])} = v{place}.{quoted(k)}" for k in entity.keys]
        if view.event_time is not None:
            same.append(f"s.{AT} = v{place}.{AT}")
        parts.append(f"LEFT JOIN __v{place} AS v{place} ON {' AND '.join(same)}")
    return "\n  ".join(parts)


def view_steps(
    view: FeatureView, entity: Entity, keys: Mapping[str, str], columns: Mapping[str, str], head: str
) -> list[str]:
    """Return the steps of one view; the last is named `head` and has the keys, `__at` (if it has times) and fields."""
    listed = ", ".join(map(quoted, entity.keys))
    if view.event_time is None:
        return [
            f"{head}_rows AS ({rows_select(view, keys, view.fields, f'{head}_sql')})",
            f"{head} AS ({_first(view, listed, f'{head}_rows')})",
        ]
    asked = _asked(entity, keys, columns)
    if view.windows:
        return [f"{head}_asked AS ({asked})", *window_steps(view, entity, keys, head, rows_select)]
    fields = "".join(f", {quoted(field)}" for field in view.fields)
    empty = "".join(f", CAST(NULL AS {view.types[field]}) AS {quoted(field)}" for field in view.fields)
    steps = [
        f"{head}_asked AS ({asked})",
        f"{head}_rows AS ({rows_select(view, keys, view.fields, f'{head}_sql')})",
        f"{head}_first AS ({_first(view, listed, f'{head}_rows')})",
    ]
    line = f"{head}_first"
    if view.known_time is not None:
        steps.append(f"{head}_news AS ({_news(listed, fields, line)})")
        line = f"{head}_news"
    steps += [
        f"""{head}_line AS (
  SELECT {listed}, __from AS __time, 0 AS __asks, __event{fields} FROM {line}
  UNION ALL
  SELECT {listed}, {AT} AS __time, 1 AS __asks, CAST(NULL AS BIGINT) AS __event{empty} FROM {head}_asked)""",
        # A row comes before the questions of its own moment, and answers them too.
        f"""{head}_cut AS (
  SELECT {listed}, __time, __asks, __event{fields}, sum(1 - __asks) OVER (
    PARTITION BY {listed} ORDER BY __time NULLS FIRST, __asks NULLS FIRST
    ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS __stretch
  FROM {head}_line)""",
        f"""{head}_told AS (
  SELECT {listed}, __time AS {AT}, __asks, {", ".join(_said(n, listed) for n in ("__event", *map(quoted, view.fields)))}
  FROM {head}_cut)""",
        f"{head} AS (SELECT {listed}, {AT}, {', '.join(_held(view, f) for f in view.fields)} "
        f"FROM {head}_told WHERE __asks = 1)",
    ]
    return steps


def _said(column: str, listed: str) -> str:
    return (
        f"first_value({column}) OVER (PARTITION BY {listed}, __stretch ORDER BY __time NULLS FIRST, "
        f"__asks NULLS FIRST ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS {column}"
    )


def _held(view: FeatureView, field: str) -> str:
    # The time to live masks at the end: an older row never stands in for one that has run out.
    if view.ttl_us is None:
        return f"{quoted(field)} AS {quoted(field)}"
    return f"CASE WHEN __event >= {since(AT, view.ttl_us)} THEN {quoted(field)} END AS {quoted(field)}"


def _asked(entity: Entity, keys: Mapping[str, str], columns: Mapping[str, str]) -> str:
    wanted = ", ".join(f"{key_sql(f's.{quoted(k)}', columns[k], keys[k])} AS {quoted(k)}" for k in entity.keys)
    present = " AND ".join(f"s.{quoted(k)} IS NOT NULL" for k in entity.keys)
    return f"SELECT DISTINCT {wanted}, s.{AT} AS {AT} FROM {SPINE} AS s WHERE {present} AND s.{AT} IS NOT NULL"


def rows_select(view: FeatureView, keys: Mapping[str, str], columns: Sequence[str], source: str) -> str:
    """SQL of a view's rows that can ever match: keys, `columns`, and in µs `__event`, `__known`, `__from`."""
    named = "".join(f", {quoted(name)}" for name in columns)
    values = "".join(f", CAST(q.{quoted(name)} AS {view.types[name]}) AS {quoted(name)}" for name in columns)
    own = ", ".join(f"{key_sql(f'q.{quoted(k)}', view.types[k], kind)} AS {quoted(k)}" for k, kind in keys.items())
    event = "CAST(0 AS BIGINT)"
    if view.event_time is not None:
        event = microseconds(f"q.{quoted(view.event_time)}", view.types[view.event_time])
    known = event
    if view.known_time is not None:
        known = microseconds(f"q.{quoted(view.known_time)}", view.types[view.known_time])
    present = " AND ".join(f"r.{quoted(key)} IS NOT NULL" for key in keys)
    return f"""
  SELECT {", ".join(map(quoted, keys))}{named}, __event, __known,
    CASE WHEN __known > __event THEN __known ELSE __event END AS __from
  FROM (SELECT {own}{values}, {event} AS __event, {known} AS __known FROM {source} AS q) AS r
  WHERE {present} AND __event IS NOT NULL AND __known IS NOT NULL"""


def _first(view: FeatureView, listed: str, rows: str) -> str:
    """One row a key and moment: the greatest by event, when it was known, and the fields in order, nulls lowest."""
    fields = "".join(f", {quoted(field)}" for field in view.fields)
    best = ", ".join(
        [
            "__event DESC NULLS LAST",
            "__known DESC NULLS LAST",
            *(order for field in view.fields for order in _greatest(view, field)),
        ]
    )
    return f"""
  SELECT {listed}, __from, __event{fields} FROM (
    SELECT {listed}, __from, __event{fields},
      row_number() OVER (PARTITION BY {listed}, __from ORDER BY {best}) AS __place
    FROM {rows}) AS ranked
  WHERE __place = 1"""


def _greatest(view: FeatureView, field: str) -> list[str]:
    # An engine that holds NaN for the least is told otherwise; for the others this order goes without saying.
    nan = [f"__nan({quoted(field)}) DESC NULLS LAST"] if view.types[field] in FLOATS else []
    return [*nan, f"{quoted(field)} DESC NULLS LAST"]


def _news(listed: str, fields: str, rows: str) -> str:
    # A row that became known after a newer one is never the answer. One of the same event time that is known later is
    # greater than it, because then it is known after its event: so the events alone are compared.
    return f"""
  SELECT {listed}, __from, __event{fields} FROM (
    SELECT {listed}, __from, __event{fields}, max(__event) OVER (
      PARTITION BY {listed} ORDER BY __from NULLS FIRST ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS __newest
    FROM {rows}) AS told
  WHERE __newest IS NULL OR __event >= __newest"""


def key_types(view: FeatureView, entity: Entity, columns: Mapping[str, str]) -> dict[str, str]:
    """Key to the type in which a view's and the examples' are compared; times are compared in µs.

    Raises:
        InputError: a key is a floating-point number, which engines compare in ways of their own.
    """
    found = {}
    for key in entity.keys:
        theirs = feature_type(columns[key]) or columns[key]
        kinds = (view.types[key], theirs)
        if any(kind in FLOATS for kind in kinds):
            raise InputError(
                f"[features.{view.name}] key {key!r} is {next(k for k in kinds if k in FLOATS)}, and engines compare "
                "such numbers (NaN, -0.0) in different ways.",
                hint=f"CAST({key} AS BIGINT) or AS VARCHAR, in the view and in the rows; or use engine duckdb.",
            )
        if all(kind in INTEGERS for kind in kinds):
            found[key] = "HUGEINT" if "UBIGINT" in kinds else "BIGINT"
        elif family(view.types[key]) == "time":
            found[key] = "TIME"
        else:
            found[key] = view.types[key]
    return found


def key_sql(expression: str, kind: str, compared: str) -> str:
    """SQL of a key of a type, as it is compared."""
    return microseconds(expression, kind) if compared == "TIME" else f"CAST({expression} AS {compared})"


def _cast(column: str, feature_set: FeatureSet, kind: str) -> str:
    wanted = feature_set.types.get(column, kind)
    value = quoted(column) if wanted == kind else f"CAST({quoted(column)} AS {wanted})"
    return f"{value} AS {quoted(column)}"


def _counts(view: FeatureView) -> set[str]:
    return {
        output
        for name, aggregate in view.parsed.items()
        if aggregate.function in COUNTS
        for window in view.windows
        for output in aggregate.outputs(name, window)
    }


def _lines(steps: Sequence[str]) -> str:
    return ",\n".join(steps)
