"""Quality on the labels that have arrived: per window, with how many of its predictions have one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bascule.evaluation import METRICS
from bascule.monitoring.metrics import Estimate, Floats, estimate_metrics
from bascule.monitoring.monitors import Monitor

FETCH_ROWS = 200_000
Part = tuple[int, pa.Array, Floats]  # a window's start, the scores of some of its rows, and their labels

# A prediction belongs to the window of the time that it is about. The monitor watches what the stable arm answered: the
# canary is judged by its rollout, and a request that failed has no score. Of several labels the last received is right.
STABLE = "branch = $branch and deployment = $deployment and arm = 'stable' and score is not null"
LABELS = "(select prediction_id, arg_max(label, received_at) as label, max(received_at) as received_at "
LABELS += "from ground_truth where label is not null group by prediction_id)"


@dataclass(frozen=True, slots=True)
class Volume:
    """How much a window holds.

    Attributes:
        start: microseconds since the epoch, included.
        end: microseconds since the epoch, not included.
        rows: predictions.
        labels: predictions whose label has arrived.
        received: when the last of them arrived, microseconds since the epoch; 0 for none.
        version: the model version that gave most of the predictions.
    """

    start: int
    end: int
    rows: int
    labels: int
    received: int
    version: int

    @property
    def coverage(self) -> float:
        """The share of predictions whose label has arrived."""
        return self.labels / self.rows


@dataclass(frozen=True, slots=True)
class WindowQuality:
    """The metrics of one window on `rows` labelled predictions."""

    start: int
    rows: int
    metrics: Mapping[str, Estimate]


def count_volumes(
    connection: duckdb.DuckDBPyConnection, branch: str, monitor: Monitor, since: int | None = None
) -> list[Volume]:
    """Count predictions and arrived labels by window, by time.

    Args:
        connection: sees the relations `predictions` and `ground_truth`.
        since: microseconds since the epoch; earlier windows are left out.
    """
    query = f"""
        select epoch_us(w), epoch_us(w + interval 1 {monitor.by}), count(*), count(label),
            coalesce(max(epoch_us(received_at)), 0), mode(version)
        from (
            select date_trunc('{monitor.by}', cast(event_time as timestamp)) as w, prediction_id, version
            from predictions where {STABLE}
        ) p left join {LABELS} g on g.prediction_id = p.prediction_id
        where epoch_us(w) >= $since group by w order by w"""
    settings = {"branch": branch, "deployment": monitor.deployment, "since": -(2**62) if since is None else since}
    return [Volume(*row) for row in connection.execute(query, settings).fetchall()]


def measure_quality(
    connection: duckdb.DuckDBPyConnection, branch: str, monitor: Monitor, windows: Collection[Volume]
) -> Iterator[WindowQuality]:
    """Measure the windows that have enough labels: the rules' minimum of rows and of coverage.

    One window is in memory at a time, sorted by the engine.
    """
    rules = monitor.quality
    measured = {
        volume.start
        for volume in windows
        if volume.labels >= max(2, rules.minimum_rows) and volume.coverage >= rules.minimum_coverage
    }
    for start, scores, labels in _windows(connection, branch, monitor, measured):
        if len(labels) == 0:
            continue
        yield WindowQuality(start, len(labels), estimate_metrics(rules.task, scores, labels))


def is_worse(metric: str, estimate: Estimate, limit: float) -> bool:
    """Whether even the better end of the interval is worse than a limit."""
    return estimate.high < limit if METRICS[metric].higher_is_better else estimate.low > limit


def worst_allowed(metric: str, release: float, tolerance: float) -> float:
    """The worst value of a metric that is still right, given its value at release."""
    return release - tolerance if METRICS[metric].higher_is_better else release + tolerance


def _windows(
    connection: duckdb.DuckDBPyConnection, branch: str, monitor: Monitor, starts: Collection[int]
) -> Iterator[tuple[int, Floats, Floats]]:
    if not starts:
        return
    several = monitor.quality.task == "multiclass"
    score = "cast(json_extract(output, '$.probability') as double[])" if several else "cast(score as double)"
    query = f"""
        select epoch_us(w) as w, score, label
        from (
            select date_trunc('{monitor.by}', cast(event_time as timestamp)) as w, prediction_id, {score} as score
            from predictions where {STABLE}
        ) p join {LABELS} g on g.prediction_id = p.prediction_id
        where epoch_us(w) between $first and $last order by w, p.prediction_id"""
    settings = {"branch": branch, "deployment": monitor.deployment, "first": min(starts), "last": max(starts)}
    reader: pa.RecordBatchReader = connection.sql(query, params=settings).to_arrow_reader(FETCH_ROWS)
    pending: list[Part] = []
    for batch in reader:
        times = np.asarray(batch.column(0).to_numpy(zero_copy_only=False))
        labels = np.asarray(batch.column(2).to_numpy(zero_copy_only=False), dtype=np.float64)
        bounds = np.flatnonzero(np.diff(times, prepend=times[:1] - 1))
        for first, last in zip(bounds, [*bounds[1:], len(times)], strict=True):
            part = (int(times[first]), batch.column(1).slice(first, last - first), labels[first:last])
            if pending and pending[0][0] != part[0]:
                yield from _whole(pending, starts)
                pending = []
            pending.append(part)
    if pending:
        yield from _whole(pending, starts)


def _whole(parts: list[Part], starts: Collection[int]) -> Iterator[tuple[int, Floats, Floats]]:
    start = parts[0][0]
    if start not in starts:
        return
    scores, labels = pa.chunked_array([part[1] for part in parts]), np.concatenate([part[2] for part in parts])
    if pa.types.is_list(scores.type):
        yield start, *_of_classes(scores, labels)
    else:
        yield start, np.asarray(scores.to_numpy(), dtype=np.float64), labels


def _of_classes(scores: pa.ChunkedArray, labels: Floats) -> tuple[Floats, Floats]:
    """Return probabilities [n, classes] and codes [n] of the rows that have the commonest number of classes.

    Versions that were trained on other classes may have answered in the same window; their codes mean other things.
    """
    sizes = np.asarray(pc.fill_null(pc.list_value_length(scores), 0).to_numpy(), dtype=np.int64)
    width = int(np.bincount(sizes).argmax())
    right = (sizes == width) & (labels >= 0) & (labels < width)
    flat = pc.list_flatten(scores.filter(pa.array(right))).to_numpy()
    return np.asarray(flat, dtype=np.float64).reshape(-1, max(width, 1)), labels[right]
