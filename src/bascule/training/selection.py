"""Which features of a training set are worth their cost: what each tells, alone, beside others, and over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bascule.features.association import binned
from bascule.training.attribution import selected_in, shap_sizes
from bascule.training.bundle import ModelBundle
from bascule.training.label import Target

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
FEW_BINS = 16
CHANCE = 2.33
SMALL = 1e-12


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """One feature.

    Attributes:
        information: mutual information with the label in bits, less what chance gives.
        stable: the share of the time folds in which it tells more than chance.
        selected: the share of the time folds in which trees owe it something (`attribution.selected_in`); None
            when unknown, and of one that another stands for.
        cluster: the feature that stands for those that say the same as this one; itself when it does.
        permutation: how much the model's loss grows when the feature's values are shuffled on rows it was not fitted
            on (nats of log loss, or squared error); None without a model.
        shap: how much it moves the model's score on average (`attribution.shap_sizes`); None without a model.
        kept, reason: whether it is worth keeping, and why it is not.
    """

    feature: str
    information: float
    stable: float
    cluster: str
    permutation: float | None
    selected: float | None = None
    shap: float | None = None
    kept: bool
    reason: str = ""


def judge_features(
    rows: pa.Table,
    features: Sequence[str],
    *,
    target: Target,
    least: float,
    correlated: float,
    folds: int,
    bundle: ModelBundle | None = None,
    unseen: pa.Table | None = None,
    seed: int = 0,
) -> list[Judged]:
    """Judge each feature, the one that tells most first.

    Args:
        rows: the training rows in the order of time, with the column `label` (class code or value).
        least: bits that a feature must tell.
        correlated: from which rank correlation on two features say the same; the one that tells less is dropped.
        folds: into how many spans of time the rows are cut.
        bundle, unseen: a model and rows that it was not fitted on.
    """
    label, regression = rows.column("label").to_numpy(), target.task == "regression"
    classes = _coarse(binned(list(label))) if regression else label.astype(np.int64)
    codes = {name: _codes(rows.column(name)) for name in features}
    told = {name: information(one, classes) for name, one in codes.items()}
    spans = np.array_split(np.arange(len(classes)), folds)
    stable = {
        name: float(np.mean([information(one[span], classes[span]) > 0 for span in spans]))
        for name, one in codes.items()
    }
    clusters = _clusters({name: _ranks(rows.column(name)) for name in features}, told, correlated)
    shuffled = (
        _permuted(bundle, unseen, features, regression, seed) if bundle is not None and unseen is not None else {}
    )
    # Of features that say the same trees take any one: only those that stand for others are asked for.
    leaders = [name for name in features if clusters[name] == name]
    selected = selected_in(rows, leaders, target, folds, seed) or {}
    moved = shap_sizes(bundle, unseen) if bundle is not None and unseen is not None else {}
    found = []
    spread = float(np.var(label)) if regression else 1.0
    for name in sorted(features, key=lambda one: (-told[one], one)):
        lost = shuffled.get(name)
        missed = lost is not None and _bits(lost, spread, regression) >= least
        reason = _reason(name, told[name], stable[name], clusters[name], lost, selected.get(name), least, missed)
        found.append(
            Judged(
                feature=name,
                information=told[name],
                stable=stable[name],
                cluster=clusters[name],
                permutation=shuffled.get(name),
                selected=selected.get(name),
                shap=moved.get(name),
                kept=not reason,
                reason=reason,
            )
        )
    return found


def information(one: Codes, other: Codes) -> float:
    """Mutual information of two columns of small numbers in bits, less the bias of counting few rows.

    0 where chance alone gives as much once in a hundred times (the G-test, by its normal approximation).
    """
    if not len(one):
        return 0.0
    table = np.zeros((int(one.max()) + 1, int(other.max()) + 1))
    np.add.at(table, (one, other), 1)
    share = table / table.sum()
    expected = share.sum(1, keepdims=True) * share.sum(0, keepdims=True)
    some = share > 0
    bits = float((share[some] * np.log2(share[some] / expected[some])).sum())
    freedom = (int((table.sum(1) > 0).sum()) - 1) * (int((table.sum(0) > 0).sum()) - 1)
    nats = 2 * len(one) * math.log(2)
    if bits * nats <= freedom + CHANCE * math.sqrt(2 * freedom):
        return 0.0
    return max(bits - freedom / nats, 0.0)


def _codes(column: pa.ChunkedArray) -> Codes:
    found = binned(column.to_pylist())
    textual = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return found if textual else _coarse(found)


def _coarse(codes: Codes) -> Codes:
    """Bin numbers with fewer bins, so that few rows fill them; 0 stays what is null."""
    most = int(codes.max(initial=0))
    return codes if most <= FEW_BINS else np.where(codes == 0, 0, 1 + (codes - 1) * FEW_BINS // most)


def _reason(
    name: str,
    told: float,
    stable: float,
    cluster: str,
    permutation: float | None,
    selected: float | None,
    least: float,
    missed: bool,
) -> str:
    taken = selected is not None and selected > 0.5  # what tells something together with others tells enough
    if told < least and not taken:
        return f"tells {told:.4f} bits of the label, less than {least:g}"
    if stable <= 0.5 and not taken:
        return f"tells something in {stable:.0%} of the time folds only"
    if selected is not None and selected == 0 and not missed:  # small trees may do without what the model does not
        return "trees take it in none of the time folds"
    if cluster != name:
        return f"says the same as {cluster}, which tells more"
    if permutation is not None and permutation <= 0:
        return "the model is no worse without it"
    return ""


def _bits(lost: float, spread: float, regression: bool) -> float:
    """What a growth of the model's loss is in bits: of log loss, or of a squared error beside the label's variance."""
    if not regression:
        return lost / math.log(2)
    return 0.5 * math.log2(1 + max(lost, 0.0) / spread) if spread else 0.0


def _ranks(column: pa.ChunkedArray) -> Floats | None:
    """A number's ranks, ties at their mean, centred and of length one; None for what is no number or one value."""
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return None
    values = np.array([np.nan if value is None else float(value) for value in column.to_pylist()])
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True, equal_nan=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    ranks = ranks - ranks.mean()
    length = float(np.linalg.norm(ranks))
    return None if length < SMALL else ranks / length


def _clusters(ranks: dict[str, Floats | None], told: dict[str, float], correlated: float) -> dict[str, str]:
    """For each feature the one that stands for it: the first by what it tells that it goes along with."""
    leaders: list[str] = []
    found: dict[str, str] = {}
    for name in sorted(ranks, key=lambda one: (-told[one], one)):
        mine = ranks[name]
        found[name] = name
        for leader in leaders:
            theirs = ranks[leader]
            if mine is not None and theirs is not None and abs(float(mine @ theirs)) >= correlated:
                found[name] = leader
                break
        else:
            leaders.append(name)
    return found


def _permuted(
    bundle: ModelBundle, rows: pa.Table, features: Sequence[str], regression: bool, seed: int
) -> dict[str, float]:
    label = rows.column("label").to_numpy()
    begin = _loss(bundle.predict(rows), label, regression)
    order = np.random.default_rng(seed).permutation(rows.num_rows)
    found: dict[str, float] = {}
    for name in (one for one in features if one in bundle.signature.names()):
        place = rows.schema.get_field_index(name)
        mixed = rows.set_column(place, rows.schema.field(place), rows.column(place).take(pa.array(order)))
        found[name] = _loss(bundle.predict(mixed), label, regression) - begin
    return found


def _loss(predicted: Any, label: Floats, regression: bool) -> float:
    if regression:
        return float(np.mean((np.asarray(predicted) - label) ** 2))
    shares = np.asarray(predicted)
    if shares.ndim == 1:
        shares = np.stack([1 - shares, shares], axis=1)
    chosen = shares[np.arange(len(label)), label.astype(np.int64)]
    return float(-np.log(np.clip(chosen, 1e-15, 1)).mean())
