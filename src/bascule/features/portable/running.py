"""Counts, and sums and means of whole numbers, as differences of running ones: they cost the same for any window.

The arithmetic is that of `features/windows.py`. What an event had reached is looked up at a window's end and at its
start: the events and these moments are put into one order, and split into stretches that begin with an event.
"""

from __future__ import annotations

from collections.abc import Sequence

from bascule.features.columns import quoted
from bascule.features.components import Component, components, difference
from bascule.features.definitions import FeatureView
from bascule.features.windows import bucket_length, bucket_sql, with_before


def running_steps(view: FeatureView, keys: Sequence[str], head: str) -> list[str]:
    """The steps from `HEAD_events` and `HEAD_ends` to `HEAD_sums`: the keys, `__at` and an output each."""
    parts, length, listed = components(view), bucket_length(view), ", ".join(keys)
    names = [part.name for part in parts]
    both = [*names, *(f"{name}_2" for name in names)]
    group = f"{listed}, __bucket"
    same = " AND ".join(f"r.{column} = b.{column}" for column in (*keys, "__bucket"))
    own = ", ".join(f"r.{column}" for column in keys)
    nothing = ", ".join(f"CAST(NULL AS BIGINT) AS {name}" for name in both)
    now = bucket_sql("(__end - 1)", length)
    reaches = " UNION ALL ".join(
        f"SELECT {place} AS __place, CAST({width} AS BIGINT) AS __width"
        for place, width in enumerate((0, *view.lengths.values()))
    )
    return [
        # All events of one moment have reached the same, however they are ordered.
        f"""{head}_run AS (
  SELECT {group}, __event, {", ".join(f"max({name}) AS {name}" for name in names)} FROM (
    SELECT {group}, __event, {", ".join(f"{_running(part, group)} AS {part.name}" for part in parts)}
    FROM {head}_events) AS each_event
  GROUP BY {group}, __event)""",
        f"""{head}_before AS (
  SELECT {listed}, __bucket + {length} AS __bucket, {", ".join(names)} FROM (
    SELECT {group}, {", ".join(names)}, row_number() OVER (
      PARTITION BY {group} ORDER BY __event DESC NULLS LAST) AS __place FROM {head}_run) AS placed
  WHERE __place = 1)""",
        f"""{head}_wide AS (
  SELECT {own}, r.__event, r.__bucket, {", ".join(f"r.{name}" for name in names)}, {
            ", ".join(with_before(part) for part in parts)
        }
  FROM {head}_run AS r LEFT JOIN {head}_before AS b ON {same})""",
        f"{head}_reaches AS ({reaches})",
        f"""{head}_line AS (
  SELECT {listed}, __event AS __time, 1 AS __is_event, CAST(NULL AS BIGINT) AS __at, -1 AS __place,
    CAST(NULL AS BIGINT) AS __now, __bucket, {", ".join(both)} FROM {head}_wide
  UNION ALL
  SELECT {listed}, __end - __width AS __time, 0 AS __is_event, __at, __place,
    {now} AS __now, CAST(NULL AS BIGINT) AS __bucket, {nothing} FROM {head}_ends CROSS JOIN {head}_reaches)""",
        # An event of the very moment is not in the window that ends there, and is in the one that starts there.
        f"""{head}_cut AS (
  SELECT {listed}, __time, __is_event, __at, __place, __now, __bucket, {", ".join(both)}, sum(__is_event) OVER (
    PARTITION BY {listed} ORDER BY __time NULLS FIRST, __is_event NULLS FIRST
    ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS __stretch
  FROM {head}_line)""",
        f"""{head}_told AS (
  SELECT {listed}, __is_event, __at, __place, __now, {", ".join(_said(name, listed) for name in ("__bucket", *both))}
  FROM {head}_cut)""",
        f"""{head}_reached AS (
  SELECT {listed}, __at, {", ".join(_reached(part, place, length) for part in parts for place in _places(view))}
  FROM {head}_told WHERE __is_event = 0 GROUP BY {listed}, __at)""",
        f"{head}_sums AS (SELECT {listed}, __at, {', '.join(_outputs(view))} FROM {head}_reached)",
    ]


def _places(view: FeatureView) -> range:
    return range(len(view.windows) + 1)


def _running(part: Component, group: str) -> str:
    over = f"OVER (PARTITION BY {group} ORDER BY __event NULLS FIRST RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    if part.column is None:
        return f"count(*) {over}"
    column = quoted(part.column)
    if part.kind == "n":
        return f"count({column}) {over}"
    # A boolean counts as 1 or 0, whatever an engine casts it to.
    return f"CAST(coalesce(sum(CAST(CAST({column} AS BIGINT) AS HUGEINT)) {over}, 0) AS BIGINT)"


def _said(column: str, listed: str) -> str:
    return (
        f"first_value({column}) OVER (PARTITION BY {listed}, __stretch ORDER BY __time NULLS FIRST, "
        f"__is_event NULLS FIRST ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS {column}"
    )


def _reached(part: Component, place: int, length: int) -> str:
    """What a component had reached at a window's end (place 0) or start, since the bucket before the end's began."""
    return (
        f"max(CASE WHEN __place = {place} THEN CASE WHEN __bucket = __now THEN {part.name}_2 "
        f"WHEN __bucket = __now - {length} THEN {part.name} ELSE 0 END END) AS {part.name}_at{place}"
    )


def _outputs(view: FeatureView) -> list[str]:
    return [
        f"{difference(aggregate, view, place)} AS {quoted(f'{name}_{window}')}"
        for name, aggregate in view.parsed.items()
        if aggregate.subtractable(view.types)
        for place, window in enumerate(view.windows, 1)
    ]
