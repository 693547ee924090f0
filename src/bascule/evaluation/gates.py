"""The gates: each looks at what was measured and says yes or no, with a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bascule.evaluation.calibration import Calibration
from bascule.evaluation.metrics import METRICS
from bascule.evaluation.report import Comparison, GateResult
from bascule.evaluation.settings import GateSettings, SliceFloor
from bascule.evaluation.slices import SliceRow
from bascule.training import ModelBundle, differing_inputs


def better_than_baseline(found: Comparison | None, settings: GateSettings) -> GateResult:
    """The paired interval of the improvement over the linear baseline must lie above zero."""
    name, required = "better_than_baseline", f"improvement above 0 at {settings.level:.0%}"
    if found is None:
        reason = "The model is itself the linear baseline; it is held to the best constant instead."
        return GateResult(name=name, passed=True, observed=None, required=required, reason=reason)
    passed = found.low is not None and found.low > 0
    advice = "" if passed else ' Use trainer = "linear", which is as good and simpler, or bring better features.'
    return GateResult(
        name=name, passed=passed, observed=found.low, required=required, reason=_told(found, "the baseline") + advice
    )


def better_than_constant(found: Comparison, settings: GateSettings) -> GateResult:
    """The model must beat the best constant in hindsight, by an interval above zero and by a share of its metric.

    The constant knows the share of each class (or the mean) of the test rows themselves. A model that learned nothing,
    such as one trained on shuffled labels, cannot beat it but by chance, whatever happened to the base rate; the least
    share keeps out what chance gives.
    """
    least = settings.minimum_skill * abs(found.reference_value)
    passed = found.low is not None and found.low > 0 and found.improvement >= least
    advice = " It has not learned what decides the label: look at the label and the features."
    if found.improvement >= least:
        advice = " The test rows are too few to tell that from chance: bring more, or give the test a larger share."
    return GateResult(
        name="better_than_constant",
        passed=passed,
        observed=found.improvement,
        required=f"improvement of at least {least:.4g} ({settings.minimum_skill:.1%} of the constant's "
        f"{found.metric}) and above 0 at {settings.level:.0%}",
        reason=_told(found, "the best constant") + ("" if passed else advice),
    )


def better_than_current(found: Comparison | None, settings: GateSettings, absent: str, passes: bool) -> GateResult:
    """The paired interval of the improvement over the current version must lie above minus the margin.

    Non-inferiority: with a margin of zero this is superiority. `absent` says why there is nothing to compare with, and
    `passes` whether that is in order.
    """
    name = "better_than_current"
    if found is None:
        return GateResult(name=name, passed=passes, observed=None, required="a comparison", reason=absent)
    margin = settings.margin * abs(found.reference_value)
    passed = found.low is not None and found.low > -margin
    return GateResult(
        name=name,
        passed=passed,
        observed=found.low,
        required=f"improvement above {-margin:.4g} ({settings.margin:.1%} of the current {found.metric}) "
        f"at {settings.level:.0%}",
        reason=_told(found, "the current version"),
    )


def slice_floor(tables: Mapping[str, Sequence[SliceRow]], floor: SliceFloor) -> GateResult:
    """Every slice with enough rows must reach the floor. The value counts, not its interval."""
    metric = METRICS[floor.metric]
    limit = floor.minimum if metric.higher_is_better else floor.maximum
    assert limit is not None
    judged = [row for rows in tables.values() for row in rows if row.rows >= floor.rows]
    measured = [(value, row) for row in judged if (value := row.metrics.get(floor.metric)) is not None]
    measured.sort(key=lambda one: one[0], reverse=not metric.higher_is_better)
    below = [(value, row) for value, row in measured if (value < limit if metric.higher_is_better else value > limit)]
    if below:
        named = "; ".join(f"{row.name()}: {value:.4g} on {row.rows:,} rows" for value, row in below[:5])
        reason = f"{len(below)} of {len(measured)} slices do not reach it: {named}."
    elif measured:
        value, row = measured[0]
        reason = (
            f"All {len(measured)} slices reach it; the weakest is {row.name()} with {value:.4g} on {row.rows:,} rows."
        )
    else:
        reason = f"No slice has {floor.rows:,} rows on which {floor.metric} is defined, so none was judged."
    return GateResult(
        name="slice_floor",
        passed=not below,
        observed=measured[0][0] if measured else None,
        required=f"{floor.metric} {'≥' if metric.higher_is_better else '≤'} {limit:g} in slices of "
        f"{floor.rows:,} rows or more",
        reason=reason,
    )


def calibration_limit(found: Calibration, limit: float) -> GateResult:
    """The expected calibration error must not exceed the limit."""
    passed = found.ece <= limit
    reason = f"Probabilities are off by {found.ece:.4f} on average; chance alone would give {found.noise:.4f}."
    if not passed:
        worst = max(found.bins, key=lambda one: abs(one.predicted - one.observed) * one.rows)
        reason += f" Where {worst.predicted:.1%} was said, {worst.observed:.1%} happened ({worst.rows:,} rows)."
    return GateResult(name="calibration", passed=passed, observed=found.ece, required=f"ECE ≤ {limit:g}", reason=reason)


def signature_compatible(candidate: ModelBundle, current: ModelBundle | None, accepted: str) -> GateResult:
    """Callers of the current version must be able to call the new one: same inputs by name and type, same output.

    Where both have a feature set, the inputs are the columns that a caller sends, and not the features that are looked
    up; else they are the model's own inputs. A reason in `accepted` lets a difference pass.
    """
    name, required = "signature", "the inputs and the output of the current version"
    if current is None:
        return GateResult(
            name=name, passed=True, observed=None, required=required, reason="There is no current version."
        )
    differing = differing_inputs(*_inputs(candidate, current))
    ours, theirs = candidate.signature.output, current.signature.output
    if ours != theirs:
        differing.append(f"the output was {theirs.task} {list(theirs.classes)} and is {ours.task} {list(ours.classes)}")
    if not differing:
        reason = "Callers of the current version can call this one."
        return GateResult(name=name, passed=True, observed=0, required=required, reason=reason)
    told = f"{len(differing)} differ: {'; '.join(differing[:5])}."
    told += (
        f" Accepted: {accepted}" if accepted else " If callers are ready for it, say why in [gates] signature_change."
    )
    return GateResult(name=name, passed=bool(accepted), observed=len(differing), required=required, reason=told)


def _inputs(candidate: ModelBundle, current: ModelBundle) -> tuple[dict[str, Any], dict[str, Any]]:
    sets = candidate.feature_set, current.feature_set
    if all(one is not None and isinstance(one.get("columns"), dict) for one in sets):
        ours, theirs = (one["columns"] for one in sets if one is not None)
        return ours, theirs
    ours, theirs = ({one.name: one.type for one in model.signature.inputs} for model in (candidate, current))
    return ours, theirs


def _told(found: Comparison, reference: str) -> str:
    between = "no interval" if found.low is None else f"interval {found.low:.4g} to {found.high:.4g}"
    return (
        f"{found.metric} {found.value:.4g} against {reference}'s {found.reference_value:.4g}: "
        f"improvement {found.improvement:.4g} ({between})."
    )
