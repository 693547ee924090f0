"""Point-in-time joins: every example with its features as they were known at its own moment.

For each row of the spine, in order, exactly one row. Per view the candidates are the rows with equal keys that are not
null and `event_time <= t` (window aggregates: `t - w <= event_time < t`), and with a known time `known_time <= t`. Of
them the one with the greatest event time counts, then the greatest known time, then the greatest hash of the row. The
time to live masks after the join: an expired newest row is null, it does not give way to an older one.
"""

from __future__ import annotations

import uuid

import duckdb

from bascule.errors import InputError
from bascule.features.aggregates import EXTREMES, SPREADS
from bascule.features.columns import body, first_line, microseconds, quoted
from bascule.features.definitions import SEPARATOR, FeatureSet, FeatureView
from bascule.features.expressions import Input, compile_expression

ROW = "__row"
AT = "__at"


def training_rows(connection: duckdb.DuckDBPyConnection, features: FeatureSet, spine: str) -> duckdb.DuckDBPyRelation:
    """Join a spine with its features.

    Args:
        connection: sees the tables that the views read.
        spine: text usable after FROM, with the columns that the feature set names.

    Returns:
        A relation with the spine's columns and one column for each feature, one row for each row of the spine, in
        its order.

    Raises:
        InputError: a query cannot run.
    """
    name = f"spine_{uuid.uuid4().hex[:12]}"
    try:
        connection.execute(f"CREATE TEMP TABLE {name} AS SELECT {_spine(features)} FROM {spine} AS s")
        parts = [_joined(features, view, name, f"v{at}") for at, view in enumerate(features.views)]
        return connection.sql(_assembled(features, name, parts))
    except duckdb.Error as error:
        raise InputError(
            f"The features cannot be joined: {first_line(error)}",
            hint="Try the views' SQL one by one with: bascule sql",
        ) from None


def _spine(features: FeatureSet) -> str:
    own = "row_number() OVER () AS " + ROW
    if features.prediction_time:
        kind = features.columns[features.prediction_time]
        own += f", {microseconds(quoted(features.prediction_time), kind)} AS {AT}"
    return f"{own}, s.*"


def _assembled(features: FeatureSet, spine: str, parts: list[str]) -> str:
    columns = [f"s.* EXCLUDE ({ROW}{f', {AT}' if features.prediction_time else ''})"]
    inputs = {name: Input(kind, 0, f"s.{quoted(name)}") for name, kind in features.columns.items()}
    for at, view in enumerate(features.views):
        for field in view.outputs:
            feature = f"{view.name}{SEPARATOR}{field}"
            columns.append(f"v{at}.{quoted(feature)} AS {quoted(feature)}")
            inputs[f"{view.name}.{field}"] = Input(features.types[feature], 0, f"v{at}.{quoted(feature)}")
    if features.request is not None:
        for name, text in features.request.expressions.items():
            where = f"[features.{features.request.name}] expressions.{name}"
            made = compile_expression(text, inputs, where)
            columns.append(f"{made.sql} AS {quoted(f'{features.request.name}{SEPARATOR}{name}')}")
    joins = "".join(f" LEFT JOIN ({part}) AS v{at} USING ({ROW})" for at, part in enumerate(parts))
    return f"SELECT {', '.join(columns)} FROM {spine} AS s{joins} ORDER BY s.{ROW}"


def _joined(features: FeatureSet, view: FeatureView, spine: str, alias: str) -> str:
    keys = features.entity(view).keys
    if view.windows:
        return _windows(view, keys, spine)
    if view.event_time is None:
        return _reference(view, keys, spine)
    return _known(view, keys, spine) if view.known_time else _latest(view, keys, spine)


def rows_sql(view: FeatureView, keys: tuple[str, ...]) -> str:
    """SQL for the rows of a view that can ever count, one for each key and time: keys `k0…`, times, fields."""
    columns = [f"{quoted(key)} AS k{at}" for at, key in enumerate(keys)]
    order = "hash(r) DESC"
    where = [f"{quoted(key)} IS NOT NULL" for key in keys]
    partition = [f"k{at}" for at in range(len(keys))]
    if view.event_time:
        columns.append(f"{microseconds(quoted(view.event_time), view.types[view.event_time])} AS {AT}")
        where.append(f"{AT} IS NOT NULL")
        partition.append(AT)
    if view.known_time:
        columns.append(f"{microseconds(quoted(view.known_time), view.types[view.known_time])} AS known")
        order = "known DESC NULLS LAST, " + order
    columns += [f"CAST({quoted(field)} AS {view.types[field]}) AS {quoted(field)}" for field in view.fields]
    inner = f"SELECT {', '.join(columns)}, r FROM ({body(view.sql)}) AS r WHERE {' AND '.join(where)}"
    if view.known_time:  # an older statement about the same moment counts until the newer one is known
        return f"SELECT * EXCLUDE (r), hash(r) AS tie FROM ({inner})"
    ranked = f"row_number() OVER (PARTITION BY {', '.join(partition)} ORDER BY {order})"
    return f"SELECT * EXCLUDE (r) FROM ({inner}) QUALIFY {ranked} = 1"


def _reference(view: FeatureView, keys: tuple[str, ...], spine: str) -> str:
    fields = ", ".join(f"v.{quoted(f)} AS {quoted(f'{view.name}{SEPARATOR}{f}')}" for f in view.fields)
    return f"SELECT s.{ROW}, {fields} FROM {spine} AS s LEFT JOIN ({rows_sql(view, keys)}) AS v ON {_on(keys)}"


def _latest(view: FeatureView, keys: tuple[str, ...], spine: str) -> str:
    fields = ", ".join(f"{_fresh(view, f)} AS {quoted(f'{view.name}{SEPARATOR}{f}')}" for f in view.fields)
    on = f"{_on(keys)} AND s.{AT} >= v.{AT}"
    return f"SELECT s.{ROW}, {fields} FROM {spine} AS s ASOF LEFT JOIN ({rows_sql(view, keys)}) AS v ON {on}"


def _fresh(view: FeatureView, field: str) -> str:
    value = f"v.{quoted(field)}"
    return value if view.ttl_us is None else f"CASE WHEN s.{AT} - v.{AT} <= {view.ttl_us} THEN {value} END"


def _known(view: FeatureView, keys: tuple[str, ...], spine: str) -> str:
    fields = ", ".join(f"{_fresh(view, f)} AS {quoted(f'{view.name}{SEPARATOR}{f}')}" for f in view.fields)
    on = f"{_on(keys)} AND v.{AT} <= s.{AT} AND v.known <= s.{AT}"
    best = (
        f"row_number() OVER (PARTITION BY s.{ROW} ORDER BY v.{AT} DESC NULLS LAST, v.known DESC NULLS LAST, v.tie DESC)"
    )
    return (
        f"SELECT s.{ROW}, {fields} FROM {spine} AS s LEFT JOIN ({rows_sql(view, keys)}) AS v ON {on} QUALIFY {best} = 1"
    )


def events_sql(view: FeatureView, keys: tuple[str, ...]) -> str:
    """SQL for the running sums of a window view: for each key and time, what all events up to it add up to."""
    names = [f"k{at}" for at in range(len(keys))]
    columns = sorted({a.column for a in view.parsed.values() if a.column and a.function not in (*EXTREMES, *SPREADS)})
    group = ", ".join([*names, AT])
    sums = ["count(*) AS n"]
    for at, column in enumerate(columns):
        sums += [f"count({quoted(column)}) AS n{at}", f"coalesce(sum({quoted(column)}), 0)::DOUBLE AS s{at}"]
    names_of_sums = ["n", *(f"{kind}{at}" for at in range(len(columns)) for kind in "ns")]
    running = ", ".join(f"CAST(sum({name}) OVER w AS DOUBLE) AS {name}" for name in names_of_sums)
    each = f"SELECT {group}, {', '.join(sums)} FROM ({_events(view, keys)}) GROUP BY ALL"
    window = f"WINDOW w AS (PARTITION BY {', '.join(names)} ORDER BY {AT})"
    return f"SELECT {group}, {running} FROM ({each}) {window}"


def _events(view: FeatureView, keys: tuple[str, ...]) -> str:
    event = str(view.event_time)
    moment = microseconds(quoted(event), view.types[event])
    if view.known_time:
        raise InputError(
            f"[features.{view.name}] known_time cannot go with windows.",
            hint="Let event_time be the moment at which the event became known.",
        )
    columns = [f"{quoted(key)} AS k{at}" for at, key in enumerate(keys)]
    values = sorted({a.column for a in view.parsed.values() if a.column})
    columns += [f"{moment} AS {AT}", *(quoted(column) for column in values)]
    where = " AND ".join([*(f"{quoted(key)} IS NOT NULL" for key in keys), f"{AT} IS NOT NULL"])
    return f"SELECT {', '.join(columns)} FROM ({body(view.sql)}) AS r WHERE {where}"


def _windows(view: FeatureView, keys: tuple[str, ...], spine: str) -> str:
    columns = sorted({a.column for a in view.parsed.values() if a.column and a.function not in (*EXTREMES, *SPREADS)})
    running = events_sql(view, keys)
    joins = [f"ASOF LEFT JOIN running AS e ON {_on(keys, 'e')} AND s.{AT} > e.{AT}"]
    fields = []
    for at, (window, length) in enumerate(view.lengths.items()):
        joins.append(f"ASOF LEFT JOIN running AS b{at} ON {_on(keys, f'b{at}')} AND s.{AT} - {length} > b{at}.{AT}")
        for name, aggregate in view.parsed.items():
            label = quoted(f"{view.name}{SEPARATOR}{name}_{window}")
            if aggregate.function in (*EXTREMES, *SPREADS):
                fields.append(f"{_scanned(view, keys, name, length)} AS {label}")
                continue
            place = columns.index(aggregate.column) if aggregate.column else None
            fields.append(f"{_difference(aggregate.function, place, f'b{at}', view, aggregate.column)} AS {label}")
    looked_up = f"SELECT s.{ROW}, {', '.join(fields)} FROM {spine} AS s {' '.join(joins)}"
    return f"WITH running AS MATERIALIZED ({running}) {looked_up}"


def _difference(function: str, place: int | None, begin: str, view: FeatureView, column: str | None) -> str:
    def gone(name: str) -> str:
        return f"(coalesce(e.{name}, 0) - coalesce({begin}.{name}, 0))"

    count = gone("n") if place is None else gone(f"n{place}")
    if function == "count":
        return f"CAST({count} AS BIGINT)"
    total = gone(f"s{place}")
    if function == "mean":
        return f"{total} / nullif({count}, 0)"
    whole = view.types.get(column or "") not in ("FLOAT", "DOUBLE")
    return f"CASE WHEN {count} > 0 THEN {f'CAST({total} AS BIGINT)' if whole else total} END"


def _scanned(view: FeatureView, keys: tuple[str, ...], name: str, length: int) -> str:
    """An aggregate that cannot be taken back, over the events of the window themselves."""
    aggregate = view.parsed[name]
    function = {"variance": "var_samp", "stddev": "stddev_samp"}.get(aggregate.function, aggregate.function)
    on = f"{_on(keys, 'r')} AND r.{AT} >= s.{AT} - {length} AND r.{AT} < s.{AT}"
    return f"(SELECT {function}(r.{quoted(str(aggregate.column))}) FROM ({_events(view, keys)}) AS r WHERE {on})"


def _on(keys: tuple[str, ...], alias: str = "v") -> str:
    return " AND ".join(f"s.{quoted(key)} = {alias}.k{at}" for at, key in enumerate(keys))
