"""Materialising: from tables to the online store, view by view."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import Any

import duckdb
import numpy as np

from bascule.errors import InputError
from bascule.features.columns import first_line, quoted
from bascule.features.definitions import FeatureSet, FeatureView, definition_digest
from bascule.features.online.store import Entry, OnlineStore, entity_key
from bascule.features.online.values import encode_row, summed_columns
from bascule.features.point_in_time import events_sql, rows_sql

BATCH = 100_000
Progress = Callable[..., None]


@dataclass(frozen=True)
class MaterialiseReport:
    """What was written: rows of each view that was behind."""

    rows: int
    views: dict[str, int]


def materialise(
    connection: duckdb.DuckDBPyConnection,
    features: FeatureSet,
    store: OnlineStore,
    *,
    version: str = "",
    progress: Progress = lambda message, done=0, total=None: None,
) -> MaterialiseReport:
    """Bring a store up to the tables that a connection sees.

    Args:
        version: says what the tables are now; views that the store has at this version are left alone.
        progress: told the view and how many rows were read.

    Raises:
        InputError: a view's SQL cannot run.
        EnvironmentProblem: the store cannot be written.
    """
    written: dict[str, int] = {}
    for view in features.views:
        keys = features.entity(view).keys
        digest = definition_digest(view, features.entity(view))
        if version and store.version(digest) == version:
            continue
        entries = _entries(connection, view, keys, partial(progress, view.name))
        written[view.name] = store.replace(digest, entries, version)
    return MaterialiseReport(sum(written.values()), written)


def _entries(
    connection: duckdb.DuckDBPyConnection, view: FeatureView, keys: tuple[str, ...], tell: Callable[[int], None]
) -> Iterator[Entry]:
    sql = events_sql(view, keys) if view.windows else rows_sql(view, keys)
    names = [f"k{at}" for at in range(len(keys))]
    hashed: dict[tuple[Any, ...], bytes] = {}
    done = 0
    try:
        for batch in connection.sql(sql).to_arrow_reader(BATCH):
            moments = batch.column("__at").to_pylist() if view.event_time else [0] * batch.num_rows
            entities = zip(*(batch.column(name).to_pylist() for name in names), strict=True)
            values = _sums(batch, view) if view.windows else _rows(batch, view, moments)
            for entity, moment, value in zip(entities, moments, values, strict=True):
                if entity not in hashed:
                    hashed[entity] = entity_key(entity)
                yield hashed[entity], moment, value
            done += batch.num_rows
            tell(done)
    except duckdb.Error as error:
        raise InputError(
            f"[features.{view.name}]: its SQL cannot run: {first_line(error)}",
            hint="Try the view's SQL by itself with: bascule sql",
        ) from None


def _sums(batch: Any, view: FeatureView) -> Iterator[bytes]:
    names = ["n", *(f"{kind}{at}" for at in range(len(summed_columns(view))) for kind in "ns")]
    matrix = np.column_stack([batch.column(name).to_numpy(zero_copy_only=False) for name in names]).astype("<f8")
    data, width = matrix.tobytes(), 8 * len(names)
    return (data[at : at + width] for at in range(0, len(data), width))


def _rows(batch: Any, view: FeatureView, moments: list[int]) -> Iterator[bytes]:
    columns = [batch.column(quoted(field)[1:-1]).to_pylist() for field in view.fields]
    for at, *fields in zip(moments, *columns, strict=True):
        yield encode_row([at, *(_plain(value) for value in fields)])


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime | date) else value
