"""Ground truth that names what was asked about, and no prediction: whose truth it is.

A truth of an entity is of its predictions that are about a time up to the label's, back to the entity's truth before
that. So the same customer may be asked about each month and told about each month; a truth that comes late goes to the
predictions of its own span, and one that is said again for the same time corrects them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from bascule.history import Workspace
from bascule.lake import engine
from bascule.lake.iceberg.types import literal
from bascule.lake.records import RecordTable
from bascule.serving.log import predictions, truths
from bascule.serving.log.truths import Truth

# As JSON has it.
NUMBER = r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?"
Unmoved = Callable[[Workspace, str], pa.Table]


def of_entities(ws: Workspace, said: Sequence[Truth], unmoved: Unmoved) -> pa.Table:
    """Return the rows of `ground_truth` that truths about entities mean.

    Args:
        said: truths that name an entity.
        unmoved: gives the rows of a record table that are still in segments.
    """
    groups: dict[tuple[str | None, tuple[str, ...]], list[Truth]] = {}
    for truth in said:
        groups.setdefault((truth.deployment, tuple(sorted(truth.entity or {}))), []).append(truth)
    found = [truths.SCHEMA.empty_table()]
    if groups:
        here = unmoved(ws, predictions.PREDICTIONS)  # before the table is read, so that nothing is missed between
        for (deployment, keys), those in groups.items():
            found.append(_matched(ws, here, deployment, keys, those))
    return pa.concat_tables(found)


def _matched(
    ws: Workspace, here: pa.Table, deployment: str | None, keys: Sequence[str], said: Sequence[Truth]
) -> pa.Table:
    columns = {f"k{place}": [str((one.entity or {})[key]) for one in said] for place, key in enumerate(keys)}
    coming = pa.table(
        {
            **{name: pa.array(values, pa.string()) for name, values in columns.items()},
            "label": pa.array([one.label for one in said], pa.float64()),
            "label_time": pa.array([one.label_time for one in said], predictions.TIMESTAMP),
            "received_at": pa.array([one.received_at for one in said], predictions.TIMESTAMP),
        }
    )
    names = ", ".join(columns)
    logged = ", ".join(_same(f"json_extract_string(inputs, {_path(key)})", f"k{n}") for n, key in enumerate(keys))
    asked = ", ".join(_same(name, name) for name in columns)
    with engine.opened() as connection:
        connection.register("coming", coming)
        connection.register("here", here)
        served = RecordTable(ws, predictions.PREDICTIONS, predictions.SCHEMA).scan()
        known = RecordTable(ws, truths.GROUND_TRUTH, truths.SCHEMA).scan()
        rows = "select prediction_id, deployment, event_time, inputs from"
        return (
            connection.sql(
                f"""
            with said as (select {asked}, label, label_time, received_at from coming),
            about as (
                select distinct prediction_id, event_time, {logged}
                from ({rows} {served} union all {rows} here)
                where deployment = {literal(deployment or "")}
            ),
            times as (
                select {names}, label_time from said
                union
                select {names}, g.label_time from about join {known} g using (prediction_id)
            ),
            spans as (
                select {names}, label_time, lag(label_time) over (partition by {names} order by label_time) as since
                from times
            )
            select prediction_id, {literal(deployment or "")} as deployment, label, label_time, received_at
            from said join spans using ({names}, label_time) join about using ({names})
            where event_time <= label_time and (since is null or event_time > since)
            """
            )
            .to_arrow_table()
            .cast(truths.SCHEMA)
        )


def _same(value: str, name: str) -> str:
    """Return a value as a text that is the same for 7 and 7.0, as clients write numbers in either way.

    Only what is written as a number is one (0012 is a name), and a whole number of 64 bits stays as it is: not every
    one is a double, and two customers' numbers may lie next to each other.
    """
    whole = f"coalesce(try_cast({value} as bigint)::varchar, try_cast({value} as ubigint)::varchar)"
    number = f"try_cast({value} as double)"
    return f"""case when not regexp_full_match({value}, '{NUMBER}') then {value}
        when {value} not similar to '.*[.eE].*' and {whole} is not null then {whole}
        when abs({number}) < 9.2e18 and {number} = trunc({number}) then {number}::bigint::varchar
        when isfinite({number}) then {number}::varchar else {value} end as {name}"""


def _path(key: str) -> str:
    return literal(f'$."{key}"')
