"""Making a table anonymous without holding its rows: DuckDB counts the combinations of values, and writes the rows.

What is held in memory are the different combinations of quasi-identifiers and sensitive values; all other columns, and
all rows that are alike, only stream through, and spill to disk where DuckDB sorts and joins them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bascule.errors import InputError
from bascule.lake.engine import opened
from bascule.lake.iceberg.types import quoted
from bascule.lake.privacy.hierarchies import Hierarchy
from bascule.lake.privacy.measures import Anonymity
from bascule.lake.privacy.mondrian import Classes, classes, refuse
from bascule.sizes import format_size

BATCH = 100_000
# Bytes, as measured: a combination is held as it came and in its order; each column of it has codes, an order and,
# where its values are many, their list.
COPIES, CODES = 3, 128
SAMPLED = 20_000


@dataclass(frozen=True, slots=True)
class Cost:
    """What making a table anonymous came to.

    Attributes:
        anonymity: k and l as counted in what comes out.
        suppressed: rows that were left out.
        penalty: the normalised certainty penalty: how much of a column's extent a cell covers, on average over all
            cells: 0 for values as they were, 1 for `*` everywhere; a suppressed row counts 1.
        by_column: the same for each column, of the rows that stay.
        discernibility: the sum of the squared sizes of classes, suppressed rows counting all rows each.
    """

    anonymity: Anonymity
    suppressed: int
    penalty: float
    by_column: dict[str, float]
    discernibility: int


def generalised(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    columns: Sequence[str],
    quasi: Sequence[str],
    sensitive: Sequence[str] = (),
    *,
    k: int,
    l: int = 1,  # noqa: E741
    suppress: float = 0.0,
    hierarchies: Mapping[str, Hierarchy] | None = None,
    memory: int | None = None,
) -> tuple[pa.RecordBatchReader, Cost]:
    """Generalise quasi-identifiers until each row is equal to at least k - 1 others in them.

    Args:
        source: the rows, as SQL that can stand after FROM.
        columns: those that come out, in this order.
        quasi: columns that together can tell who somebody is; they come out as text, such as `20..29`, `Bonn|Kiel`,
            `101*` or `*`.
        sensitive: columns of which every class has at least `l` different values, null being one.
        suppress: the share of rows that may be left out.
        hierarchies: by column, what its values are called at coarser levels.
        memory: how many bytes the combinations of values may take; None for any number.

    Returns:
        The rows without suppressed ones, to be read while the connection is open, and what that cost. They come in the
        order of their classes, and in each in an order that comes from their values: the order of rows can tell who
        they are, too.

    Raises:
        NotFound: there is no such column.
        InputError: k, l or the share is out of range, a column is named twice, the rows cannot have k or l at all, or
            they have more combinations of values than fit.
    """
    given = hierarchies or {}
    refuse(columns, quasi, sensitive, given, k=k, l=l, suppress=suppress)
    named = ", ".join(map(quoted, (*quasi, *sensitive)))
    connection.execute("SET preserve_insertion_order = false")
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE combinations AS SELECT {named}, count(*) AS {_NUMBER} FROM {source} GROUP BY ALL"
    )
    if memory is not None:
        _demand_room(connection, len(quasi) + len(sensitive), memory)
    held = connection.sql(f"SELECT {named}, {_NUMBER} FROM combinations ORDER BY ALL").to_arrow_table()
    weights = held["__rows"].to_numpy()
    groups = held.drop_columns(["__rows"])
    found = classes(groups, weights, quasi, sensitive, k=k, l=l, suppress=suppress, hierarchies=given)
    placed, labels = _placed(groups, found), _labels(found)
    for name, data in (("placed", placed), ("called", labels)):
        connection.register("given_arrow", data)  # as tables their sizes are known, and the rows stream past them
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM given_arrow")
        connection.unregister("given_arrow")
    return _rows(connection, source, columns, quasi, sensitive), _cost(placed, labels, found, sensitive)


_NUMBER = '"__rows"'


def anonymised(table: pa.Table, quasi: Sequence[str], sensitive: Sequence[str] = (), **options: object) -> Anonymised:
    """Do what `generalised` does with a table that is in memory, and give it back with what that cost."""
    with opened() as connection:
        connection.register("given", table)
        rows, cost = generalised(connection, "given", table.column_names, quasi, sensitive, **options)  # type: ignore[arg-type]
        return Anonymised(rows.read_all(), cost)


@dataclass(frozen=True, slots=True)
class Anonymised:
    """A table that was made anonymous in memory, and what that cost."""

    table: pa.Table
    cost: Cost


def _demand_room(connection: duckdb.DuckDBPyConnection, named: int, allowed: int) -> None:
    """Raise `InputError` when the combinations will not fit in memory while they are cut: before they are read."""
    count = int(connection.execute("SELECT count(*) FROM combinations").fetchall()[0][0])
    sample = connection.sql(f"SELECT * FROM combinations USING SAMPLE {SAMPLED:d} ROWS").to_arrow_table()
    each = COPIES * sample.nbytes / max(sample.num_rows, 1) + CODES * named
    if count * each > allowed:
        raise InputError(
            f"The rows have {count:,} different combinations of these columns, which take about "
            f"{format_size(round(count * each))} of memory while they are cut, and {format_size(allowed)} is allowed.",
            hint="Round what has many values first (bascule table create NAME --sql QUERY), name fewer columns, or "
            "allow more with --memory where there is more.",
        )


def _placed(groups: pa.Table, found: Classes) -> pa.Table:
    """Return the combinations of the classes, each with the number of its class and of its rows."""
    kept = np.concatenate(found.parts)
    numbers = np.repeat(np.arange(len(found.parts)), [part.size for part in found.parts])
    table = groups.take(pa.array(kept))
    return table.append_column("__class", pa.array(numbers)).append_column("__rows", pa.array(found.weights[kept]))


def _labels(found: Classes) -> pa.Table:
    arrays = list(found.labels().values())
    names = [f"__{n}" for n in range(len(arrays))]
    return pa.table([pa.array(range(len(found.parts)), pa.int64()), *arrays], ["__class", *names])


def _rows(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    columns: Sequence[str],
    quasi: Sequence[str],
    sensitive: Sequence[str],
) -> pa.RecordBatchReader:
    shown = [
        f'called."__{list(quasi).index(c)}" AS {quoted(c)}' if c in quasi else f"rows.{quoted(c)}" for c in columns
    ]
    same = " AND ".join(f"rows.{quoted(c)} IS NOT DISTINCT FROM placed.{quoted(c)}" for c in (*quasi, *sensitive))
    others = [f"rows.{quoted(c)}" for c in columns if c not in quasi]
    order = f"hash({', '.join(others)})" if others else "1"
    return connection.sql(
        f"SELECT {', '.join(shown)} FROM (SELECT * FROM {source}) AS rows JOIN placed ON {same} "
        f'JOIN called ON called."__class" = placed."__class" ORDER BY placed."__class", {order}'
    ).to_arrow_reader(BATCH)


def _cost(placed: pa.Table, labels: pa.Table, found: Classes, sensitive: Sequence[str]) -> Cost:
    """Count what comes out by what stands in it: two pieces that are called alike are one class."""
    joined = placed.join(labels, "__class")
    names = labels.column_names[1:]
    sizes = joined.group_by(names).aggregate([("__rows", "sum")])["__rows_sum"]
    fewest: list[int] = []
    for column in sensitive:
        plain = pa.table([*(joined[c] for c in names), joined[column]], [*names, "__s"])
        pairs = plain.group_by(plain.column_names).aggregate([])
        fewest.append(pc.min(pairs.group_by(names).aggregate([([], "count_all")])["count_all"]).as_py())
    rows = pc.sum(sizes).as_py()
    total = int(found.weights.sum())
    by_column = found.penalties()
    gone = total - rows
    return Cost(
        Anonymity(rows, len(sizes), pc.min(sizes).as_py(), min(fewest) if fewest else None),
        gone,
        (sum(by_column.values()) / len(by_column) * rows + gone) / total,
        by_column,
        int((sizes.to_numpy().astype(object) ** 2).sum()) + gone * total,
    )
