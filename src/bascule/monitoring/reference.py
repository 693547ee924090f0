"""What a model's inputs and scores looked like when it was trained: counts in cells that are fixed once and for all.

A profile is small (cells, not rows) and plain JSON. Its cells never move, so that the drift of two days can be compared
and counts of any windows may be added.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import msgspec
import numpy as np

from bascule.errors import InputError, NotFound

BINS = 10
EXACT = 24  # a numeric column with at most this many values has one cell for each
CATEGORIES = 20
INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
NUMERIC = ("FLOAT", "DOUBLE", "DECIMAL", *INTEGERS, *(f"U{kind}" for kind in INTEGERS))
TEMPORAL = ("DATE", "TIME", "TIMESTAMP", "INTERVAL")


class Numeric(msgspec.Struct, frozen=True, tag="numeric"):
    """A numeric column's cells.

    Attributes:
        edges: rising upper ends of the cells, each included; the first cell is what lies below the reference's range,
            and one more cell after the last edge is what lies above it.
        counts: rows in the cells, one more than there are edges; 0 in the first and the last one.
        nulls: rows without a value (null or NaN).
    """

    name: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    nulls: int


class Categorical(msgspec.Struct, frozen=True, tag="categorical"):
    """A categorical column's cells.

    Attributes:
        categories: the most frequent values as text, most frequent first.
        counts: rows of each, and of all others together as the last one.
        nulls: rows without a value.
    """

    name: str
    categories: tuple[str, ...]
    counts: tuple[int, ...]
    nulls: int


Column = Numeric | Categorical


class Profile(msgspec.Struct, frozen=True):
    """A reference.

    Attributes:
        training_set: the id of the training set that it was made of, or empty.
        rows: how many rows it was made of.
        columns: the features.
        score: the model's scores on rows that it was not trained on, when there are any.
        importance: how much the model relies on each feature, any scale; what is missing counts as 1 among equals.
    """

    training_set: str
    rows: int
    columns: tuple[Column, ...]
    score: Numeric | None = None
    importance: dict[str, float] = {}

    def weight(self, column: str) -> float:
        """The importance of a column relative to the most important one, 0 to 1; 1 when none is known."""
        top = max(self.importance.values(), default=0.0)
        return self.importance.get(column, 0.0) / top if top > 0 else 1.0


def build_profile(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    columns: Sequence[str] | None = None,
    *,
    scores: str | None = None,
    importance: Mapping[str, float] | None = None,
    training_set: str = "",
    bins: int = BINS,
) -> Profile:
    """Profile the rows of a training set.

    Numeric columns get cells between quantiles (exact, hence the same in every run), or one for each value when there
    are few. Others get their most frequent values. One column is in memory at a time.

    Args:
        relation: SQL usable in FROM.
        columns: which ones; None means all. Those of time are left out always: time moves on, and that is no drift.
        scores: SQL usable in FROM with one column `score`, best of rows that the model was not trained on.
        bins: cells of a numeric column, 2 to 64.

    Raises:
        NotFound: for a column that is not there, with the nearest name.
        InputError: when there are no rows, or `bins` cannot be used.
    """
    if not 2 <= bins <= 64:
        raise InputError(f"A profile cannot have {bins} bins.", hint="Choose between 2 and 64.")
    types = {row[0]: str(row[1]) for row in connection.execute(f"describe select * from {relation}").fetchall()}
    rows = int(_one(connection, f"select count(*) from {relation}")[0])
    if rows == 0:
        raise InputError("A reference profile needs rows, and there are none.", hint="Build the training set first.")
    for name in columns or ():
        if name not in types:
            raise NotFound("column", name, types)
    wanted = [name for name in (types if columns is None else columns) if not types[name].startswith(TEMPORAL)]
    found = tuple(_profile_column(connection, relation, name, types[name], bins) for name in wanted)
    score = _numeric(connection, scores, "score", bins) if scores else None
    return Profile(training_set, rows, found, score, dict(importance or {}))


def encode_profile(profile: Profile) -> bytes:
    """The profile as JSON, the same bytes for the same profile."""
    return msgspec.json.encode(profile, order="deterministic")


def decode_profile(data: bytes) -> Profile:
    """Read what `encode_profile` wrote.

    Raises:
        InputError: when it is not a profile.
    """
    try:
        return msgspec.json.decode(data, type=Profile)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise InputError(f"This is not a reference profile: {error}", hint="Build it again.") from error


def cells(column: Column) -> list[int]:
    """A column's counts with its nulls as the last cell."""
    return [*column.counts, column.nulls]


def cell_names(column: Column) -> list[str]:
    """The cells as a person reads them, nulls last."""
    if isinstance(column, Categorical):
        return [*column.categories, "other values", "no value"]
    if not column.edges:
        return ["any value", "no value"]
    inner = [f"{a:.6g} to {b:.6g}" for a, b in zip(column.edges, column.edges[1:], strict=False)]
    return [f"below {column.edges[0]:.6g}", *inner, f"above {column.edges[-1]:.6g}", "no value"]


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str | float) -> str:
    """A value as SQL. Numbers go as text, which DuckDB reads to the nearest double; a bare one would be a decimal."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return f"'{value!r}'::double"


def _profile_column(
    connection: duckdb.DuckDBPyConnection, relation: str, name: str, kind: str, bins: int
) -> Numeric | Categorical:
    if kind.startswith(NUMERIC) and "[" not in kind:
        return _numeric(connection, relation, name, bins)
    return _categorical(connection, relation, name)


def _numeric(connection: duckdb.DuckDBPyConnection, relation: str, name: str, bins: int) -> Numeric:
    value = f"cast({quoted(name)} as double)"
    source = f"(select if(isnan({value}), null, {value}) as v from {relation})"
    total, present, low = _one(connection, f"select count(*), count(v), min(v) filter (isfinite(v)) from {source}")
    if low is None:
        return Numeric(name, (), (present,), total - present)
    few = connection.execute(f"select distinct v from {source} where isfinite(v) limit {EXACT + 1}").fetchall()
    if len(few) <= EXACT:
        upper = sorted(row[0] for row in few)
    else:
        shares = [step / bins for step in range(1, bins)] + [1.0]
        upper = sorted(set(_one(connection, f"select quantile_disc(v, {shares}) from {source} where isfinite(v)")[0]))
    # JSON has no infinity, and below the least number there is nothing else.
    edges = (max(math.nextafter(low, -math.inf), -sys.float_info.max), *(float(edge) for edge in upper))
    below = ", ".join(f"count_if(v <= {literal(edge)})" for edge in edges)
    upto = [count or 0 for count in _one(connection, f"select {below} from {source}")]
    counted = np.diff([0, *upto, present])
    return Numeric(name, edges, tuple(int(count) for count in counted), total - present)


def _categorical(connection: duckdb.DuckDBPyConnection, relation: str, name: str) -> Categorical:
    value = f"cast({quoted(name)} as varchar)"
    total, present = _one(connection, f"select count(*), count({value}) from {relation}")
    top = connection.execute(
        f"select {value} as v, count(*) as n from {relation} where v is not null "
        f"group by 1 order by n desc, v limit {CATEGORIES}"
    ).fetchall()
    counts = [int(row[1]) for row in top]
    return Categorical(name, tuple(row[0] for row in top), (*counts, present - sum(counts)), total - present)


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    found = connection.execute(query).fetchone()
    assert found is not None
    return tuple(found)
