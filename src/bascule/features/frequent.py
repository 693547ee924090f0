"""The most frequent values of windows over busy keys: each value's events are counted by a frame of its own.

Gathered, an example costs as much as its two buckets hold. Counted so, it costs one frame for each different value of
its key, and each event of the key one: less where many examples look at many events of few values.
"""

from __future__ import annotations

from bascule.features.aggregates import Aggregate
from bascule.features.columns import quoted
from bascule.features.definitions import Entity, FeatureView
from bascule.features.frames import framed_sql
from bascule.features.taking import taken_sql

OTHERS = "__others"
REPEATED = 8  # events of a bucket for each different value of the key
SHARED = 16  # examples for each bucket of the key's
_COUNT = Aggregate("count", None)


def frequent_sql(view: FeatureView, entity: Entity, events: str, spine: str, name: str, others: str) -> str:
    """SQL of `__row` and what one `top_k` gives over all windows.

    Args:
        events: a relation with the keys, `__event` (µs), `__bucket` and the column.
        spine: a relation with `__row`, the keys and `__at` (µs).
        others: the same SQL by gathering events, for the relation `OTHERS` in place of the spine.
    """
    keys, aggregate = ", ".join(map(quoted, entity.keys)), view.parsed[name]
    column = quoted(str(aggregate.column))
    each = Entity(entity.name, (*entity.keys, "__value"))
    counts = framed_sql(view, each, f"(FROM __seen SEMI JOIN __busy USING ({keys}))", "__each", {"__n": _COUNT})
    ranked, outputs = [], []
    for window in view.lengths:
        count, best = quoted(f"__n_{window}"), quoted(f"__best_{window}")
        ranked.append(f"min({{'n': -{count}, 'v': __row.v}}, {aggregate.several}) FILTER ({count} > 0) AS {best}")
        outputs += [
            f"{best}[{place}].v AS {quoted(output)}" for place, output in enumerate(aggregate.outputs(name, window), 1)
        ]
    return f"""(
WITH __asked AS MATERIALIZED (SELECT __row, {keys}, __at FROM {spine}),
__seen AS MATERIALIZED (
  SELECT {keys}, __event, __bucket, {taken_sql(aggregate, view)} AS __value FROM {events} WHERE {column} NOTNULL
),
__busy AS MATERIALIZED (
  SELECT {keys} FROM (
    SELECT {keys}, count(DISTINCT __value) AS __values, count(*) AS __events, count(DISTINCT __bucket) AS __buckets
    FROM __seen GROUP BY {keys}
  ) JOIN (SELECT {keys}, count(*) AS __asks FROM __asked GROUP BY {keys}) USING ({keys})
  WHERE __values * {REPEATED} <= __events / __buckets AND __asks >= {SHARED} * __buckets
),
{OTHERS} AS (FROM __asked ANTI JOIN __busy USING ({keys})),
__each AS (
  SELECT {{'r': __row, 'v': __value}} AS __row, {keys}, __value, __at
  FROM __asked JOIN (SELECT DISTINCT {keys}, __value FROM __seen SEMI JOIN __busy USING ({keys})) USING ({keys})
)
SELECT __asker AS __row, {", ".join(outputs)} FROM (
  SELECT __row.r AS __asker, {", ".join(ranked)} FROM {counts} GROUP BY __asker
)
UNION ALL BY NAME FROM {others}
)"""
