"""Finds features that know what nobody could have known when the prediction was made.

Four questions, each with what it can and cannot see (docs/features.md says more):

    outcome   hide the outcomes that were not known yet at a prediction time, and compute the features again: what
              changes was made from them. A proof. Sees wrong event times, joins to the very row, averages over all
              of history, request columns that are the outcome.
    future    hide the rows that a view itself dates after a time, and compute the features before it again: what
              changes looked ahead. A proof. Sees lead(), centred windows, statistics over all of history.
    target    one feature alone predicts the label nearly perfectly. A suspicion, whatever its origin.
    jump      one feature alone predicts far better than any other. A weaker suspicion.

What cannot be examined is said, never passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import msgspec
import numpy as np

from bascule.errors import InputError, suggestion
from bascule.features.association import Floats, strength
from bascule.features.columns import body, describe, first_line, quoted
from bascule.features.definitions import SEPARATOR, FeatureSet
from bascule.features.point_in_time import training_rows

if TYPE_CHECKING:  # it parses SQL: who examines nothing need not load a parser
    from bascule.features.probing import Probing

SAMPLE = 20_000
FEWEST = 200
NEARLY_PERFECT = {"gini": 0.9, "r2": 0.95}  # a Gini coefficient of 0.9 is an AUC of 0.95
FAR, GAP = 0.6, 0.3
CLASSES = 20


class Leak(msgspec.Struct, frozen=True, kw_only=True):
    """A feature that knows, or seems to know, the future.

    Attributes:
        view: the feature view; empty for a request column.
        feature: its name in the feature set.
        reason: outcome, future, target or jump.
        certain: a proof, not a suspicion.
        message: why, for people: what follows "the feature: ".
        evidence: the numbers behind it.
    """

    view: str
    feature: str
    reason: str
    certain: bool
    message: str
    evidence: dict[str, Any]

    @property
    def name(self) -> str:
        """The feature as a project file names it: `view.field`, or a request column."""
        return self.feature.replace(SEPARATOR, ".", 1) if self.view else self.feature


class LeakReport(msgspec.Struct, frozen=True):
    """Leaks, proofs first; and what could not be examined and why, one sentence each."""

    leaks: tuple[Leak, ...]
    unexamined: tuple[str, ...]


def find_leaks(
    connection: duckdb.DuckDBPyConnection,
    feature_set: FeatureSet,
    rows_sql: str,
    label: str,
    prediction_time: str | None = None,
    label_time: str | None = None,
    **more: Any,
) -> list[Leak]:
    """The leaks of `leak_report`, which has the same arguments."""
    return list(leak_report(connection, feature_set, rows_sql, label, prediction_time, label_time, **more).leaks)


def leak_report(
    connection: duckdb.DuckDBPyConnection,
    feature_set: FeatureSet,
    rows_sql: str,
    label: str,
    prediction_time: str | None = None,
    label_time: str | None = None,
    *,
    outcomes: Sequence[str] = (),
    training: str | None = None,
) -> LeakReport:
    """Look for features that know the future.

    Args:
        rows_sql: the population: what `training_rows` gets, with the columns that the label is made of.
        label: an SQL expression over these columns.
        prediction_time: the column that says when predictions are made; that of the set when left out.
        label_time: the column that says when the label became known. Without it, outcomes cannot be hidden.
        outcomes: further columns of the label's table that are known only at `label_time` (the label's own always are).
        training: a relation with the features already joined (of `training_rows`), to save joining a sample again.

    Returns:
        Each leak once for each reason, proofs first, in the order of the features; deterministic.

    Raises:
        InputError: the SQL or the label cannot be used, or an outcome is no column of the label's table.
    """
    at = prediction_time or feature_set.prediction_time or None
    _check_times(connection, rows_sql, at, label_time)
    from bascule.features.probing import Probing, future_findings, outcome_findings, request_findings

    probing = Probing(connection, feature_set, body(rows_sql), label, at, label_time, tuple(outcomes))
    _check_outcomes(probing)
    findings, unexamined = [], []
    for examine in (request_findings, outcome_findings, future_findings):
        found, missed = examine(probing)
        findings += found
        unexamined += missed
    leaks = [Leak(**vars(finding)) for finding in findings]
    suspicions, missed = _suspicions(connection, feature_set, rows_sql, label, training)
    order = {feature: place for place, feature in enumerate(feature_set.features)}
    leaks = sorted(leaks + suspicions, key=lambda leak: (not leak.certain, order.get(leak.feature, len(order))))
    return LeakReport(tuple(leaks), tuple(dict.fromkeys(unexamined + missed)))


def _check_times(connection: duckdb.DuckDBPyConnection, rows_sql: str, at: str | None, label_time: str | None) -> None:
    columns = describe(connection, rows_sql, "[training] population")
    for name in (at, label_time):
        if name is not None and name not in columns:
            raise InputError(f"The population has no column {name!r}.", hint=suggestion(name, list(columns), "column"))


def _check_outcomes(probing: Probing) -> None:
    known = list(probing.columns_of(probing.table)) if probing.table else []
    for name in probing.outcomes:
        if known and name not in known:
            raise InputError(
                f"[training] outcomes: {probing.table}, which the label is made from, has no column {name!r}.",
                hint=suggestion(name, known, "column"),
            )


def _suspicions(
    connection: duckdb.DuckDBPyConnection, feature_set: FeatureSet, rows_sql: str, label: str, training: str | None
) -> tuple[list[Leak], list[str]]:
    try:
        columns = _sample(connection, feature_set, rows_sql, label, training)
    except duckdb.Error as error:
        raise InputError(f"The label {label!r} cannot be evaluated: {first_line(error)}", hint="Correct it.") from None
    targets = _targets(columns.pop("__label"))
    if not targets:
        reason = f"fewer than {FEWEST} examples have a label, all have the same one, or it is no number and no text"
        return [], [f"Strength of single features: {reason}."]
    measure = "r2" if targets[0][1] == "r2" else "gini"
    found = {
        feature: max(strength(values, target, kind == "gini") for target, kind in targets)
        for feature, values in columns.items()
    }
    return _judged(found, measure, feature_set), []


def _judged(found: dict[str, float], measure: str, feature_set: FeatureSet) -> list[Leak]:
    leaks = []
    for feature, value in found.items():
        next_best = max((other for name, other in found.items() if name != feature), default=0.0)
        evidence: dict[str, Any] = {"next_best": round(next_best, 4), measure: round(value, 4)}
        shown = f"R² {value:.3f}"
        if measure == "gini":
            evidence["auc"] = round((1 + value) / 2, 4)
            shown = f"AUC {(1 + value) / 2:.3f}"
        if value > NEARLY_PERFECT[measure]:
            reason, message = "target", f"it alone predicts the label nearly perfectly ({shown})"
        elif value >= FAR and value - next_best >= GAP:
            reason, message = "jump", f"it alone predicts the label far better than any other feature ({shown})"
        else:
            continue
        view = feature.split(SEPARATOR)[0] if SEPARATOR in feature and feature not in feature_set.columns else ""
        leaks.append(Leak(view=view, feature=feature, reason=reason, certain=False, message=message, evidence=evidence))
    return leaks


def _sample(
    connection: duckdb.DuckDBPyConnection, feature_set: FeatureSet, rows_sql: str, label: str, training: str | None
) -> dict[str, list[Any]]:
    """Columns by feature, and `__label`, of evenly spaced examples that have a label."""
    rows = body(rows_sql) if training is None else f"SELECT * FROM {training}"
    labelled = f"SELECT *, ({label}) AS {quoted('label of leaks')} FROM (\n{rows}\n) WHERE ({label}) IS NOT NULL"
    (count,) = connection.execute(f"SELECT count(*) FROM ({labelled})").fetchall()[0]
    step = max(1, count // SAMPLE)
    picked = f"SELECT * FROM ({labelled}) QUALIFY row_number() OVER () % {step} = 0"
    relation = connection.sql(picked) if training else training_rows(connection, feature_set, picked)
    table = relation.to_arrow_table()
    columns = {feature: table.column(feature).to_pylist() for feature in feature_set.features}
    return {**columns, "__label": table.column("label of leaks").to_pylist()}


def _targets(label: list[Any]) -> list[tuple[Floats, str]]:
    """What is to be predicted: a 0/1 label, each class of a text, or numbers."""
    if len(label) < FEWEST or len(set(label)) < 2 or not isinstance(label[0], str | int | float | Decimal):
        return []
    if isinstance(label[0], str):
        classes = sorted(set(label), key=lambda name: (-label.count(name), name))[:CLASSES]
        return [(np.array([value == name for value in label], dtype=np.float64), "gini") for name in classes]
    values = np.array([float(value) for value in label])
    if len(set(label)) == 2:
        return [((values == values.max()).astype(np.float64), "gini")]
    return [(values, "r2")]
