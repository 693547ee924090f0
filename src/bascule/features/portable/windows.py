"""Windows: the events of each question's window, by keys and bucket, and the aggregates that one pass over them gives.

Time is cut into buckets as long as the longest window, so that a window touches two of them: a question meets the
events of these two only, and an engine need not compare times of different buckets. What needs an order among the
events is in `ranked.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bascule.features.aggregates import SPREADS, Aggregate, value_columns
from bascule.features.columns import FLOATS, quoted
from bascule.features.definitions import Entity, FeatureView
from bascule.features.portable.ranked import plain_sql, ranked_steps
from bascule.features.portable.running import running_steps
from bascule.features.sums import grown, mean_sql, parts, shrunk, spread_sql
from bascule.features.windows import bucket_length, bucket_sql

Rows = Callable[[FeatureView, Mapping[str, str], Sequence[str], str], str]
RANKED = ("first", "last", "top_k", "percentile", "approx_percentile", "approx_distinct")


def window_steps(view: FeatureView, entity: Entity, keys: Mapping[str, str], head: str, rows: Rows) -> list[str]:
    """The steps of a window view after `HEAD_asked`: `HEAD` has the keys, `__at` and an output each.

    Args:
        rows: `plan.rows_select`.
    """
    listed, columns = ", ".join(map(quoted, entity.keys)), value_columns(view.parsed.values())
    length = bucket_length(view)
    values = "".join(f", {_value(column, view)}" for column in columns)
    # A tiled window ends where its last whole tile does.
    end = "__at" if view.hop_us is None else bucket_sql("__at", view.hop_us)
    now = bucket_sql("(__end - 1)", length)
    same = " AND ".join(f"a.{quoted(key)} = e.{quoted(key)}" for key in entity.keys)
    summed = [a for a in view.parsed.values() if view.known_time is None and a.subtractable(view.types)]
    held = len(summed) < len(view.parsed)
    steps = [
        f"""{head}_events AS (
  SELECT {listed}, __event, __known, {bucket_sql("__event", length)} AS __bucket{values}
  FROM ({rows(view, keys, columns, f"{head}_sql")}) AS r)""",
        f"{head}_ends AS (SELECT {listed}, __at, {end} AS __end FROM {head}_asked)",
    ]
    if held:
        steps += [
            f"""{head}_probe AS (
  SELECT {listed}, __at, __end, {now} AS __bucket FROM {head}_ends
  UNION ALL
  SELECT {listed}, __at, __end, {now} - {length} AS __bucket FROM {head}_ends)""",
            f"{head}_windows AS ({_windows(view)})",
            f"""{head}_held AS (
  SELECT {", ".join(f"a.{quoted(key)}" for key in entity.keys)}, a.__at, w.__window, e.__event{
                "".join(f", e.{quoted(column)}" for column in columns)
            }
  FROM {head}_probe AS a
  JOIN {head}_events AS e ON {same} AND a.__bucket = e.__bucket
  JOIN {head}_windows AS w ON e.__event >= a.__end - w.__length
  WHERE e.__event < a.__end AND e.__known <= a.__end)""",
        ]
    parts = []
    passed = {name: a for name, a in view.parsed.items() if a.function not in RANKED}
    if summed:
        steps += running_steps(view, [quoted(key) for key in entity.keys], head)
        parts.append(f"{head}_sums")
        passed = {name: a for name, a in passed.items() if a not in summed}
    if passed:
        steps.append(f"{head}_passed AS ({_passed(view, passed, listed, head)})")
        parts.append(f"{head}_passed")
    for place, (name, aggregate) in enumerate(view.parsed.items()):
        if aggregate.function in RANKED:
            parts.append(f"{head}_r{place}")
            steps += ranked_steps(view, name, aggregate, listed, f"{head}_held", parts[-1])
    outputs = [quoted(output) for output in view.outputs]
    joins = "".join(
        f"\n  LEFT JOIN {part} AS p{place} ON {_matches(entity, f'p{place}')}" for place, part in enumerate(parts)
    )
    own = ", ".join(f"a.{quoted(key)}" for key in entity.keys)
    steps.append(f"{head} AS (SELECT {own}, a.__at, {', '.join(outputs)} FROM {head}_asked AS a{joins})")
    return steps


def _matches(entity: Entity, side: str) -> str:
    return " AND ".join([*(f"a.{quoted(key)} = {side}.{quoted(key)}" for key in entity.keys), f"a.__at = {side}.__at"])


def _windows(view: FeatureView) -> str:
    return " UNION ALL ".join(
        f"SELECT {place} AS __window, CAST({length} AS BIGINT) AS __length"
        for place, length in enumerate(view.lengths.values(), 1)
    )


def _value(column: str, view: FeatureView) -> str:
    # Whatever is not finite is left out: only of finite numbers the difference to themselves is 0.
    name = quoted(column)
    return f"CASE WHEN {name} - {name} = 0 THEN {name} END AS {name}" if view.types[column] in FLOATS else name


def _passed(view: FeatureView, aggregates: Mapping[str, Aggregate], listed: str, head: str) -> str:
    outputs = ", ".join(
        f"{_aggregated(aggregate, view, f'__window = {place}')} AS {quoted(f'{name}_{window}')}"
        for name, aggregate in aggregates.items()
        for place, window in enumerate(view.windows, 1)
    )
    return f"SELECT {listed}, __at, {outputs} FROM {head}_held GROUP BY {listed}, __at"


def _aggregated(aggregate: Aggregate, view: FeatureView, inside: str) -> str:
    if aggregate.column is None:
        return f"count(CASE WHEN {inside} THEN 1 END)"
    column, kind, function = quoted(aggregate.column), view.types[aggregate.column], aggregate.function
    count = f"count(CASE WHEN {inside} THEN {column} END)"
    if function == "count":
        return count
    if function == "distinct":
        return f"count(DISTINCT CASE WHEN {inside} THEN {plain_sql(column, kind)} END)"
    number = f"CASE WHEN {column} THEN 1 WHEN NOT {column} THEN 0 END" if kind == "BOOLEAN" else column
    if function in ("min", "max"):
        found = f"{function}(CASE WHEN {inside} THEN {number} END)"
        return f"({found} = 1)" if kind == "BOOLEAN" else found

    def taken(as_type: str) -> str:
        return f"CASE WHEN {inside} THEN CAST({number} AS {as_type}) END"

    if function in SPREADS:
        return spread_sql(f"{'var_samp' if function == 'variance' else 'stddev_samp'}({taken('DOUBLE')})")
    if kind in FLOATS:
        whole, *others = parts(f"CAST({number} AS DOUBLE)")
        wholes, rests = (f"CASE WHEN {inside} THEN {part} END" for part in (whole, shrunk(" + ".join(others))))
        added = f"CAST(sum({wholes}) AS DOUBLE)", f"sum({rests})"
        if function == "sum":
            return f"{added[0]} + {grown(added[1])}"
        first, second = (f"{one} / nullif({count}, 0)" for one in added)
        return mean_sql(f"({first} + {grown(f'({second})')})")
    total = f"sum({taken('HUGEINT')})"
    if function == "sum":
        return f"CAST({total} AS BIGINT)"
    return f"CAST({total} AS DOUBLE) / nullif({count}, 0)"
