"""Aggregates that need an order among the events of a window: first, last, most frequent, percentiles, hashes.

Each is a numbering of a window's events in one order, and a choice of numbers: what every engine does in the same way.
"""

from __future__ import annotations

from bascule.features.aggregates import GROWTH, HASHES, PERCENTILES, Aggregate
from bascule.features.columns import FLOATS, family, microseconds, quoted
from bascule.features.definitions import FeatureView


def plain_sql(value: str, kind: str) -> str:
    """SQL of a value, where 0.0 and -0.0 are one."""
    return f"CASE WHEN {value} = 0 THEN CAST(0 AS {kind}) ELSE {value} END" if kind in FLOATS else value


def ranked_steps(view: FeatureView, name: str, aggregate: Aggregate, listed: str, held: str, step: str) -> list[str]:
    """The steps of one aggregate; the last is named `step` and has the keys, `__at` and an output each.

    Args:
        held: the relation of the events of each question, with `__window`.
    """
    kind = view.types[str(aggregate.column)]
    value = quoted(str(aggregate.column))
    group = f"{listed}, __at, __window"
    if aggregate.function in PERCENTILES:
        taken = f"CAST({value} AS DOUBLE)" if aggregate.function == "percentile" else _rounded(value)
        rows = f"""SELECT {group}, {taken} AS __v, count(*) OVER (PARTITION BY {group}) AS __n, row_number() OVER (
    PARTITION BY {group} ORDER BY {taken} NULLS FIRST) AS __place FROM {held} WHERE {value} IS NOT NULL"""
        choose = _between if aggregate.function == "percentile" else _nearest
        outputs = [choose(f"__window = {place}", aggregate.share) for place in _places(view)]
    elif aggregate.function == "approx_distinct":
        rows = f"""SELECT {group}, __v, count(*) OVER (PARTITION BY {group}) AS __n, row_number() OVER (
    PARTITION BY {group} ORDER BY __v NULLS FIRST) AS __place FROM (
    SELECT DISTINCT {group}, {_hash(value, kind)} AS __v FROM {held} WHERE {value} IS NOT NULL) AS hashes"""
        outputs = [_estimate(f"__window = {place}") for place in _places(view)]
    else:
        rows = _top(value, kind, group, held) if aggregate.function == "top_k" else _end(aggregate, value, group, held)
        outputs = [
            _chosen(f"__window = {place} AND __place = {number}", kind)
            for place in _places(view)
            for number in range(1, max(aggregate.several, 1) + 1)
        ]
    names = [output for window in view.windows for output in aggregate.outputs(name, window)]
    said = ", ".join(f"{sql} AS {quoted(output)}" for sql, output in zip(outputs, names, strict=True))
    return [
        f"{step}_order AS ({rows})",
        f"{step} AS (SELECT {listed}, __at, {said} FROM {step}_order GROUP BY {listed}, __at)",
    ]


def _places(view: FeatureView) -> range:
    return range(1, len(view.windows) + 1)


def _end(aggregate: Aggregate, value: str, group: str, held: str) -> str:
    way = "DESC NULLS LAST" if aggregate.function == "last" else "NULLS FIRST"
    return f"""SELECT {group}, {value} AS __v, row_number() OVER (
    PARTITION BY {group} ORDER BY __event {way}, {value} {way}) AS __place FROM {held} WHERE {value} IS NOT NULL"""


def _top(value: str, kind: str, group: str, held: str) -> str:
    return f"""SELECT {group}, __v, row_number() OVER (
    PARTITION BY {group} ORDER BY __n DESC NULLS LAST, __v NULLS FIRST) AS __place FROM (
    SELECT {group}, __v, count(*) AS __n FROM (
      SELECT {group}, {plain_sql(value, kind)} AS __v FROM {held} WHERE {value} IS NOT NULL) AS plain
    GROUP BY {group}, __v) AS counted"""


def _chosen(where: str, kind: str) -> str:
    if kind == "BOOLEAN":  # not every engine has a greatest boolean
        return f"(max(CASE WHEN {where} THEN CASE WHEN __v THEN 1 ELSE 0 END END) = 1)"
    return f"max(CASE WHEN {where} THEN __v END)"


def _between(inside: str, share: float) -> str:
    place = f"((__n - 1) * CAST({share!r} AS DOUBLE))"
    low = f"max(CASE WHEN {inside} AND __place = CAST(floor({place}) AS BIGINT) + 1 THEN __v END)"
    high = f"max(CASE WHEN {inside} AND __place = CAST(ceil({place}) AS BIGINT) + 1 THEN __v END)"
    return f"{low} + ({high} - {low}) * max(CASE WHEN {inside} THEN {place} - floor({place}) END)"


def _nearest(inside: str, share: float) -> str:
    place = f"CAST(ceil(__n * CAST({share!r} AS DOUBLE)) AS BIGINT)"
    return f"max(CASE WHEN {inside} AND __place = CASE WHEN {place} < 1 THEN 1 ELSE {place} END THEN __v END)"


def _rounded(value: str) -> str:
    number = f"CAST({value} AS DOUBLE)"
    growth, middle = f"CAST({GROWTH!r} AS DOUBLE)", f"CAST({2 / (1 + GROWTH)!r} AS DOUBLE)"
    # The logarithm of 0 is asked of no engine: some give an error for it, whatever is done with it.
    positive = f"CASE WHEN {number} = 0 THEN CAST(1 AS DOUBLE) ELSE abs({number}) END"
    grown = f"pow({growth}, ceil(ln({positive}) / ln({growth}))) * {middle}"
    return f"CASE WHEN {number} = 0 THEN CAST(0 AS DOUBLE) WHEN {number} < 0 THEN -({grown}) ELSE {grown} END"


def _hash(value: str, kind: str) -> str:
    """The number that `md5_number_upper` gives, as sixteen hexadecimal digits: their order is the numbers' order."""
    plain = plain_sql(value, kind)
    text = microseconds(value, kind) if family(kind) == "time" else plain
    digits = f"md5(CAST({text} AS VARCHAR))"
    return "(" + " || ".join(f"substr({digits}, {place}, 2)" for place in range(15, 0, -2)) + ")"


def _estimate(inside: str) -> str:
    count = f"max(CASE WHEN {inside} THEN __n END)"
    last = f"max(CASE WHEN {inside} AND __place = {HASHES} THEN __v END)"
    high, low = f"CAST(__hex(substr({last}, 1, 8)) AS DOUBLE)", f"CAST(__hex(substr({last}, 9, 8)) AS DOUBLE)"
    share = f"(({high} * CAST(4294967296 AS DOUBLE) + {low}) / CAST({2.0**64!r} AS DOUBLE))"
    return (
        f"CASE WHEN {count} < {HASHES} THEN {count} "
        f"ELSE CAST(floor(CAST({HASHES - 1} AS DOUBLE) / {share} + CAST(0.5 AS DOUBLE)) AS BIGINT) END"
    )
