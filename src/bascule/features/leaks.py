"""Leaks: features that know what could not be known at the prediction time."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from bascule.features.columns import INTEGERS, quoted
from bascule.features.definitions import SEPARATOR, FeatureSet

# Nothing that is honestly known two hours, or a day, before an event tells it this well by itself.
SUSPICIOUS_AUC = 0.95
SAMPLE = 20_000
FEWEST = 50


@dataclass(frozen=True)
class Leak:
    """A feature that knows too much: where it comes from, why it is named, and the numbers."""

    view: str
    feature: str
    reason: str
    evidence: str


def find_leaks(
    connection: duckdb.DuckDBPyConnection,
    features: FeatureSet,
    rows: str,
    label: str,
) -> list[Leak]:
    """Name the features that tell a binary label nearly by themselves.

    For each numeric feature the area under the ROC curve of the feature alone is computed, in either direction, over a
    sample of examples; above 0.95 it is named. Labels of other kinds are not judged.

    Args:
        rows: text usable after FROM: the examples joined with their features.
        label: an expression over them.
    """
    kind = connection.execute(f"SELECT typeof(({label})) FROM {rows} LIMIT 1").fetchall()
    if not kind or kind[0][0] != "BOOLEAN":
        return []
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE leak_sample AS SELECT *, ({label}) AS __label FROM {rows} "
        f"WHERE ({label}) IS NOT NULL USING SAMPLE {SAMPLE} ROWS (reservoir, 7)"
    )
    return [leak for name in features.features if (leak := _judge(connection, features, name)) is not None]


def _judge(connection: duckdb.DuckDBPyConnection, features: FeatureSet, name: str) -> Leak | None:
    kind = features.types[name]
    if kind not in (*INTEGERS, "FLOAT", "DOUBLE", "BOOLEAN"):
        return None
    value = f"CAST({quoted(name)} AS DOUBLE)"
    row = connection.execute(
        f"WITH r AS (SELECT __label, rank() OVER (ORDER BY {value}) + (count(*) OVER (PARTITION BY {value}) - 1) / 2.0 "
        f"AS rank FROM leak_sample WHERE {value} IS NOT NULL) SELECT count(*) FILTER (__label), "
        "count(*) FILTER (NOT __label), sum(rank) FILTER (__label) FROM r"
    ).fetchall()
    positives, negatives, ranks = row[0]
    if not positives or not negatives or positives + negatives < FEWEST:
        return None
    auc = (float(ranks) - positives * (positives + 1) / 2) / (positives * negatives)
    best = max(auc, 1 - auc)
    if best < SUSPICIOUS_AUC:
        return None
    view, _, field = name.rpartition(SEPARATOR)
    return Leak(
        view or "population",
        field,
        "it tells the label nearly by itself",
        f"AUC {best:.3f} of this feature alone, on {positives + negatives:,} examples",
    )
