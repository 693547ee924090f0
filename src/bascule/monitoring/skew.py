"""Skew: what was served as features, beside what the offline join gives for the same keys at the same times.

What differs was served too early (rows came late), from an old store, or by other code than what models learn from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import duckdb
import msgspec
import numpy as np
import pyarrow as pa

from bascule.features import FeatureSet, training_rows
from bascule.features.binding import output_types
from bascule.features.columns import quoted
from bascule.features.definitions import SEPARATOR, Entity, FeatureView
from bascule.monitoring.monitors import DriftRules, Monitor, QualityRules
from bascule.monitoring.points import SKEW, SKEW_DRIFT, Point

MONITOR = "served features"  # no deployment, and so no other monitor, has a name with a space
DAY = 86_400_000_000
CLOSE = 1e-9
_AT = "served_as_of"
_JSON = "SERVED"


class SkewLimits(msgspec.Struct, frozen=True, kw_only=True):
    """From when on skew is told.

    Attributes:
        share: of a feature's answers of a day, how many may differ.
        drift: how far the distributions may be apart.
        rows: with fewer answers nothing is a breach.
    """

    share: float
    drift: float
    rows: int


class FeatureSkew(msgspec.Struct, frozen=True, kw_only=True):
    """How one feature was served in one span of time.

    Attributes:
        rows: answers that were compared.
        mismatch: both have a value, and another one.
        missing: offline has a value, and none was served.
        extra: a value was served, and offline has none.
        share: of all rows, how many differ in any of these ways.
        smape: how far numbers are apart, 0 to 2 (symmetric mean absolute percentage error); None for other types.
        drift: the greatest distance of the two distributions, 0 to 1: Kolmogorov-Smirnov for numbers, else total
            variation.
        breach: the share is greater than its limit.
        drifted: the drift is.
    """

    feature: str
    start: int
    end: int
    rows: int
    mismatch: int
    missing: int
    extra: int
    smape: float | None
    drift: float
    breach: bool
    drifted: bool

    @property
    def share(self) -> float:
        """The share of rows that differ."""
        return (self.mismatch + self.missing + self.extra) / self.rows

    @property
    def exceeded(self) -> tuple[str, ...]:
        """What is beyond its limit: `share`, `drift`."""
        return ("share",) * self.breach + ("drift",) * self.drifted

    def as_points(self, limits: SkewLimits) -> tuple[Point, Point]:
        """The feature's points in the records: the share that differs, and the drift."""
        told: dict[str, Any] = {
            "mismatch": self.mismatch,
            "missing": self.missing,
            "extra": self.extra,
            "drift": self.drift,
        }
        told |= {"share": self.share, "smape": self.smape}
        measured = (SKEW, self.share, self.breach, limits.share), (SKEW_DRIFT, self.drift, self.drifted, limits.drift)
        of = (self.feature, self.start, self.end)
        share, drift = (
            Point(measure, *of, value, None, None, self.rows, 0, {**told, "breach": breach, "threshold": limit})
            for measure, value, breach, limit in measured
        )
        return share, drift


def monitor_of() -> Monitor:
    """Return the monitor that skew's points and alerts are kept under: one day beyond a limit is an alert."""
    return Monitor(
        name=MONITOR, deployment="", drift=DriftRules(persistence=(1, 1)), quality=QualityRules(), persistence=(1, 1)
    )


def measure_skew(
    connection: duckdb.DuckDBPyConnection,
    views: Sequence[tuple[FeatureView, Entity]],
    served: pa.Table,
    limits: SkewLimits,
) -> list[FeatureSkew]:
    """Compare served values with the offline join at the same times, day by day.

    Args:
        connection: sees the tables that the views read.
        views: bound, with their entities.
        served: `at`, `as_of` (timestamps), `keys` and `features` (JSON objects), one row for each answer. Where it has
            `of_model` and that is true, a null may stand for a number that is not finite.

    Raises:
        InputError: a view's SQL cannot be used on the tables any more.
    """
    if not served.num_rows:
        return []
    feature_set = _feature_set(views)
    connection.register(_JSON, served)
    try:
        joined = training_rows(connection, feature_set, _spine(feature_set)).to_arrow_table()
    finally:
        connection.unregister(_JSON)
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    answers = [decode(text) for text in served.column("features").to_pylist()]
    of_model = served.column("of_model").to_pylist() if "of_model" in served.column_names else [False] * len(answers)
    days = [at // DAY * DAY for at in served.column("at").cast(pa.int64()).to_pylist()]
    found = []
    for feature in feature_set.features:
        offline = joined.column(feature).to_pylist()
        pairs: dict[int, list[tuple[Any, Any]]] = {}
        for day, answer, lossy, value in zip(days, answers, of_model, offline, strict=True):
            if feature in answer:
                told = value if lossy and answer[feature] is None and _is_unsaid(value) else answer[feature]
                pairs.setdefault(day, []).append((_read(told, value), _plain(value)))
        found += [_compared(feature, day, pairs[day], limits) for day in sorted(pairs)]
    return found


def _compared(feature: str, day: int, pairs: Sequence[tuple[Any, Any]], limits: SkewLimits) -> FeatureSkew:
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    missing = sum(a is None and b is not None for a, b in pairs)
    extra = sum(a is not None and b is None for a, b in pairs)
    mismatch = sum(not _same(a, b) for a, b in both)
    numbers = bool(both) and all(_is_number(a) and _is_number(b) for a, b in both)
    share = (mismatch + missing + extra) / len(pairs)
    drift = _distance([a for a, _ in pairs], [b for _, b in pairs], numbers)
    enough = len(pairs) >= limits.rows
    return FeatureSkew(
        feature=feature,
        start=day,
        end=day + DAY,
        rows=len(pairs),
        mismatch=mismatch,
        missing=missing,
        extra=extra,
        smape=_smape(both) if numbers else None,
        drift=drift,
        breach=share > limits.share and enough,
        drifted=drift > limits.drift and enough,
    )


def _feature_set(views: Sequence[tuple[FeatureView, Entity]]) -> FeatureSet:
    types = {f"{v.name}{SEPARATOR}{f}": kind for v, _ in views for f, kind in output_types(v).items()}
    keys = {key: view.types[key] for view, entity in views for key in entity.keys}
    entities = {entity.name: entity for _, entity in views}
    return FeatureSet(
        name="served",
        entities=tuple(entities.values()),
        views=tuple(view for view, _ in views),
        request=None,
        columns={**keys, _AT: "TIMESTAMP"},
        features=tuple(types),
        types=types,
        prediction_time=_AT,
    )


def _spine(feature_set: FeatureSet) -> str:
    """The answers as examples: a key that an answer does not have is null, and matches nothing."""
    keys = ", ".join(
        f"TRY_CAST(json_extract_string(keys, '$.{quoted(key)}') AS {kind}) AS {quoted(key)}"
        for key, kind in feature_set.columns.items()
        if key != _AT
    )
    return f"SELECT {keys}, CAST(as_of AT TIME ZONE 'UTC' AS TIMESTAMP) AS {_AT} FROM {_JSON}"


def _plain(value: Any) -> Any:
    """A value as it is compared: times in UTC; NaN is a value of its own."""
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    return value


def _read(served: Any, offline: Any) -> Any:
    """A value as it was logged, read as what the offline value is."""
    if isinstance(served, str) and not isinstance(offline, str):
        try:
            if _is_number(offline):
                return type(offline)(served)
            if isinstance(offline, datetime):
                return _plain(datetime.fromisoformat(served))
            if isinstance(offline, date):
                return date.fromisoformat(served)
        except ValueError:
            return served
    return _plain(served)


def _is_unsaid(value: Any) -> bool:
    """Whether JSON has no number for it: the log of predictions has null in its place."""
    return isinstance(value, float) and not math.isfinite(value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _same(a: Any, b: Any) -> bool:
    # Whole numbers, such as ids, are the same or they are not.
    if _is_number(a) and _is_number(b) and float in (type(a), type(b)):
        return math.isclose(a, b, rel_tol=CLOSE, abs_tol=CLOSE) or (math.isnan(a) and math.isnan(b))
    return bool(a == b)


def _smape(pairs: Sequence[tuple[float, float]]) -> float | None:
    finite = [(a, b) for a, b in pairs if math.isfinite(a) and math.isfinite(b)]
    if not finite:
        return None
    apart = [0.0 if a == b else 2 * abs(a - b) / (abs(a) + abs(b)) for a, b in finite]
    return sum(apart) / len(apart)


def _distance(served: Sequence[Any], offline: Sequence[Any], numbers: bool) -> float:
    if numbers:
        a, b = (np.sort([float(one) for one in side if _is_number(one) and one == one]) for side in (served, offline))
        if not len(a) or not len(b):
            return float(len(a) != len(b))
        at = np.concatenate([a, b])
        apart = np.searchsorted(a, at, "right") / len(a) - np.searchsorted(b, at, "right") / len(b)
        return float(np.abs(apart).max())
    first, second = _shares(served), _shares(offline)
    return sum((abs(first.get(one, 0.0) - second.get(one, 0.0)) for one in {**first, **second}), 0.0) / 2


def _shares(values: Sequence[Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for value in values:
        name = repr(float(value) if _is_number(value) else value)
        found[name] = found.get(name, 0.0) + 1 / len(values)
    return found
