"""Windows over events that become known later, as stays: from when an event counts in a window until it has left it.

An event counts at t from the later of what follows its time and when it became known, and until its time plus the
window's length. So a count is that of the events that have come, less that of those that have gone: two look-ups,
however many events a window has. That is exact of counts and whole numbers alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from bascule.features.aggregates import result_type, value_columns
from bascule.features.columns import quoted
from bascule.features.components import Component, components, difference
from bascule.features.definitions import Entity, FeatureView
from bascule.features.frequent import OTHERS, SHARED
from bascule.features.moments import FARTHEST


def stays_sql(view: FeatureView, entity: Entity, events: str, spine: str, others: str) -> str:
    """SQL of a window view's features: `__row` and the outputs, of aggregates that are all subtractable.

    Args:
        events: a relation with the keys, `__event`, `__known` (µs), `__bucket` and the columns.
        spine: a relation with `__row`, the keys and `__at` (µs).
        others: the same SQL by gathering events, for the relation `OTHERS` in place of the spine.
    """
    keys, parts = ", ".join(map(quoted, entity.keys)), components(view)
    same = " AND ".join(f"s.{quoted(key)} = r.{quoted(key)}" for key in entity.keys)
    looks = f"(FROM __asked SEMI JOIN __busy USING ({keys}))"
    lines = [f"__line0 AS ({_line(parts, keys, '__come')})"]
    for place, (sign, width) in enumerate(
        zip((">=", *">" * len(view.lengths)), (0, *view.lengths.values()), strict=True)
    ):
        if place:  # one that becomes known when it would have left has gone when it comes
            lines.append(f"__line{place} AS ({_line(parts, keys, f'greatest(__event + {width}, __come - 1)')})")
        found = ", ".join(f"coalesce(r.{part.name}, 0) AS {part.name}_at{place}" for part in parts)
        looks = f"""(
  SELECT s.*, {found} FROM {looks} s ASOF LEFT JOIN __line{place} r ON {same} AND s.__at {sign} r.__time
)"""
    outputs = ", ".join(
        f"CAST({difference(a, view, place)} AS {result_type(a, view.types.get(str(a.column)))}) "
        f"AS {quoted(f'{name}_{window}')}"
        for name, a in view.parsed.items()
        for place, window in enumerate(view.windows, 1)
    )
    values = "".join(f", {quoted(column)}" for column in value_columns(view.parsed.values()))
    return f"""(
WITH __asked AS MATERIALIZED (SELECT __row, {keys}, __at FROM {spine}),
__all AS MATERIALIZED (
  SELECT {keys}, __event, __bucket, greatest(__event + 1, __known) AS __come{values} FROM {events}
  WHERE __event BETWEEN -{FARTHEST} AND {FARTHEST} AND __known NOTNULL
),
__busy AS MATERIALIZED (
  SELECT {keys} FROM (SELECT {keys}, count(DISTINCT __bucket) AS __buckets FROM __all GROUP BY {keys})
  JOIN (SELECT {keys}, count(*) AS __asks FROM __asked GROUP BY {keys}) USING ({keys})
  WHERE __asks >= {SHARED} * __buckets
),
{OTHERS} AS (FROM __asked ANTI JOIN __busy USING ({keys})),
__seen AS (FROM __all SEMI JOIN __busy USING ({keys})),
{", ".join(lines)}
SELECT __row, {outputs} FROM {looks}
UNION ALL BY NAME FROM {others}
)"""


def _line(parts: Sequence[Component], keys: str, time: str) -> str:
    """SQL of what had come, or gone, with each event; events of one moment all say the same."""
    sums = ", ".join(f"{_running(part)} AS {part.name}" for part in parts)
    return f"""
  SELECT {keys}, __time, {sums} FROM (SELECT *, {time} AS __time FROM __seen)
  WINDOW __so_far AS (PARTITION BY {keys} ORDER BY __time RANGE UNBOUNDED PRECEDING)
"""


def _running(part: Component) -> str:
    if part.kind == "n":
        return "count(*) OVER __so_far" if part.column is None else f"count({quoted(part.column)}) OVER __so_far"
    return f"coalesce(sum(CAST({quoted(str(part.column))} AS HUGEINT)) OVER __so_far, 0)"
