"""Parts of the rows, such as one carrier, and how the model does on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bascule.errors import NotFound
from bascule.evaluation.bootstrap import Resampling, interval, resampled_values
from bascule.evaluation.metrics import Metric, Task, log_loss_of_rows, measure

MOST_VALUES = 50
MANY_NUMBERS = 20
QUARTILES = 4
OTHER, MISSING = "(other)", "(missing)"
Z_95 = 1.96


class SliceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One slice.

    Attributes:
        where: column to value, such as `{"carrier": "UA"}`; two columns for a pair.
        rows: how many.
        mean: of the label: the share of positives, or the mean value; None for several classes.
        metrics: by name; None where a metric is not defined.
        low: of the interval of the main metric.
        high: of the interval of the main metric.
        excess: mean row loss in the slice minus that of all rows.
    """

    where: dict[str, str]
    rows: int
    mean: float | None
    metrics: dict[str, float | None]
    low: float | None = None
    high: float | None = None
    excess: float = 0.0

    def name(self) -> str:
        """Return the slice as text, such as `carrier = UA, origin = JFK`."""
        return ", ".join(f"{column} = {value}" for column, value in self.where.items())


@dataclass(frozen=True)
class Groups:
    """Rows cut into slices: the slice of each row, int64 [rows], and for each slice its columns' values."""

    place: np.ndarray
    where: tuple[dict[str, str], ...]


@dataclass(frozen=True)
class Scored:
    """What was predicted and what happened."""

    task: Task
    label: np.ndarray
    prediction: np.ndarray

    def row_losses(self) -> np.ndarray:
        """Return the loss of each row: −ln(probability of what happened), or the squared error."""
        if self.task == "regression":
            return np.asarray((self.prediction - self.label) ** 2)
        return log_loss_of_rows(self.label, self.prediction)


def cut(rows: pa.Table, column: str) -> Groups:
    """Cut the rows by a column: by its 50 most frequent values and `(other)`, numbers with many values by quartile.

    Raises:
        NotFound: there is no such column.
    """
    if column not in rows.column_names:
        raise NotFound("column to slice by", column, rows.column_names)
    values = rows.column(column).combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    number = pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_decimal(values.type)
    if number and pc.count_distinct(values).as_py() > MANY_NUMBERS:
        return _quartiles(column, pc.cast(values, pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    encoded = pc.fill_null(pc.cast(values, pa.string()), MISSING).dictionary_encode()
    names, codes = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    counts = np.bincount(codes, minlength=len(names))
    ranked = sorted(range(len(names)), key=lambda one: (-counts[one], names[one]))
    kept = ranked[:MOST_VALUES] if len(ranked) > MOST_VALUES else ranked
    place = np.full(len(names), len(kept), dtype=np.int64)
    place[kept] = np.arange(len(kept))
    shown = [names[one] for one in kept] + ([OTHER] if len(ranked) > len(kept) else [])
    return Groups(place[codes], tuple({column: one} for one in shown))


def slice_table(
    scored: Scored, groups: Groups, metrics: Sequence[Metric], resampling: Resampling, fewest: int = 1
) -> list[SliceRow]:
    """Measure every slice of one column that has at least `fewest` rows, most rows first.

    The first metric is the main one: it gets an interval from the shared resamples.
    """
    losses = scored.row_losses()
    overall = float(losses.mean())
    table = []
    for code, name in enumerate(groups.where):
        where = groups.place == code
        rows = int(where.sum())
        if rows < fewest:
            continue
        label, prediction = scored.label[where], scored.prediction[where]
        found = {one.name: measure(one.name, scored.task, label, prediction) for one in metrics}
        low, high = interval(resampled_values(metrics[0], label, prediction, resampling, where), resampling.level)
        table.append(
            SliceRow(
                where=name,
                rows=rows,
                mean=None if scored.task == "multiclass" else float(label.mean()),
                metrics=found,
                low=low,
                high=high,
                excess=float(losses[where].mean()) - overall,
            )
        )
    return sorted(table, key=lambda row: (-row.rows, row.name()))


def weakest_slices(
    scored: Scored, single: Sequence[Groups], paired: Sequence[Groups], metrics: Sequence[Metric], fewest: int
) -> list[SliceRow]:
    """Return the ten slices with the greatest excess of row loss that is beyond chance, worst first.

    All slices of `single` and all pairs of `paired` are tried, those with fewer than `fewest` rows left out. They are
    ranked by the lower end of the excess, excess − 1.96 standard errors, so that small slices do not win by chance;
    a slice whose lower end is not positive is not weak. After SliceFinder (Chung et al. 2019, arXiv:1807.06068).
    """
    losses = scored.row_losses()
    found: list[tuple[float, float, Groups, int]] = []
    for groups in [*single, *(_pair(a, b) for a, b in combinations(paired, 2))]:
        found += [(*one, groups, code) for code, one in _excesses(losses, groups, fewest) if one[0] > 0]
    found.sort(key=lambda one: (-one[0], list(one[2].where[one[3]].items())))
    return [_weak_row(scored, groups, code, excess, metrics) for _, excess, groups, code in found[:10]]


def _excesses(losses: np.ndarray, groups: Groups, fewest: int) -> list[tuple[int, tuple[float, float]]]:
    """For each slice with enough rows: the lower end of the excess, and the excess."""
    size = len(groups.where)
    rows = np.bincount(groups.place, minlength=size)
    sums = np.bincount(groups.place, weights=losses, minlength=size)
    squares = np.bincount(groups.place, weights=losses**2, minlength=size)
    overall, found = losses.mean(), []
    for code in np.flatnonzero((rows >= max(fewest, 2)) & (rows < len(losses))):
        mean = sums[code] / rows[code]
        error = np.sqrt(max(squares[code] / rows[code] - mean**2, 0) / rows[code])
        found.append((int(code), (float(mean - overall - Z_95 * error), float(mean - overall))))
    return found


def _weak_row(scored: Scored, groups: Groups, code: int, excess: float, metrics: Sequence[Metric]) -> SliceRow:
    where = groups.place == code
    label, prediction = scored.label[where], scored.prediction[where]
    return SliceRow(
        where=groups.where[code],
        rows=int(where.sum()),
        mean=None if scored.task == "multiclass" else float(label.mean()),
        metrics={one.name: measure(one.name, scored.task, label, prediction) for one in metrics},
        excess=excess,
    )


def _pair(a: Groups, b: Groups) -> Groups:
    return Groups(a.place * len(b.where) + b.place, tuple(one | two for one in a.where for two in b.where))


def _quartiles(column: str, values: np.ndarray) -> Groups:
    known = values[np.isfinite(values)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, QUARTILES + 1)))
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    names = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
    missing = ~np.isfinite(values)
    if missing.any():
        place[missing] = len(names)
        names.append(MISSING)
    return Groups(place.astype(np.int64), tuple({column: one} for one in names))
