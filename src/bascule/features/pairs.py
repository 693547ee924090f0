"""Windows over few events of a key: each example is joined with all events of its key, and nothing is sorted.

Running aggregates (`windows.py`) sort all events and cost the same however many a key has. A plain join costs what its
pairs of an example and an event do, so those are counted before: of one busy key there may be more than of all others.
"""

from __future__ import annotations

import duckdb

from bascule.features.cells import row_count
from bascule.features.columns import body, quoted
from bascule.features.definitions import FeatureSet, FeatureView
from bascule.features.timelines import rows_sql

PAIRS_A_ROW = 16  # of a key's events with its examples, for each row of both


def few_pairs(
    connection: duckdb.DuckDBPyConnection, feature_set: FeatureSet, spine_sql: str, asked: int | None
) -> frozenset[str]:
    """Return the window views whose events may be joined one by one with the examples of their keys, by name.

    Args:
        asked: how many examples there are; None: it is not known, and no view is.
    """
    if asked is None:
        return frozenset()
    windows = [view for view in feature_set.views if view.windows]
    return frozenset(view.name for view in windows if _is_few(connection, feature_set, view, spine_sql, asked))


def _is_few(
    connection: duckdb.DuckDBPyConnection, feature_set: FeatureSet, view: FeatureView, spine_sql: str, asked: int
) -> bool:
    rows = row_count(connection, view.sql)
    if rows is None:
        return False
    entity = feature_set.entity(view)
    keys = ", ".join(map(quoted, entity.keys))
    same = " AND ".join(f"s.{quoted(key)} = e.{quoted(key)}" for key in entity.keys)
    counted = f"SELECT {keys}, CAST(count(*) AS DOUBLE) AS __count FROM"
    pairs = connection.execute(
        f"SELECT coalesce(sum(s.__count * e.__count), 0) FROM ({counted} (\n{body(spine_sql)}\n) GROUP BY ALL) s "
        f"JOIN ({counted} ({rows_sql(view, entity, ())}) GROUP BY ALL) e ON {same}"
    ).fetchall()[0][0]
    return bool(pairs <= PAIRS_A_ROW * (rows + asked))
