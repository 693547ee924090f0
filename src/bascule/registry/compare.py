"""What differs between two versions of a model."""

from __future__ import annotations

from typing import Any

import msgspec

from bascule.registry.versions import ModelVersion


class MetricChange(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of both versions; None where a version does not have it."""

    before: float | None
    after: float | None
    difference: float | None


class VersionDiff(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between two versions.

    Attributes:
        before: name of the first, such as `delays@3`.
        after: name of the second.
        metrics: by name, all that either has.
        inputs_added: names.
        inputs_removed: names.
        inputs_changed: name to (type before, type after).
        output_changed: whether task or classes differ.
        same_artifact: whether the model's file is the same, byte by byte.
        same_training_set: whether both learned from the same training set.
        same_features: whether the feature set's definition is the same.
    """

    before: str
    after: str
    metrics: dict[str, MetricChange]
    inputs_added: tuple[str, ...]
    inputs_removed: tuple[str, ...]
    inputs_changed: dict[str, tuple[str, str]]
    output_changed: bool
    same_artifact: bool
    same_training_set: bool
    same_features: bool


def compare(before: ModelVersion, after: ModelVersion) -> VersionDiff:
    """Return what differs between two versions, of one model or of two, from any branches."""
    ours, theirs = _types(after.signature), _types(before.signature)
    return VersionDiff(
        before=before.name(),
        after=after.name(),
        metrics={name: _change(before, after, name) for name in sorted({*before.metrics, *after.metrics})},
        inputs_added=tuple(name for name in ours if name not in theirs),
        inputs_removed=tuple(name for name in theirs if name not in ours),
        inputs_changed={
            name: (theirs[name], ours[name]) for name in ours if theirs.get(name, ours[name]) != ours[name]
        },
        output_changed=before.signature.get("output") != after.signature.get("output"),
        same_artifact=before.artifact == after.artifact,
        same_training_set=before.training_set == after.training_set,
        same_features=before.features == after.features,
    )


def _types(signature: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["type"] for one in signature.get("inputs", ())}


def _change(before: ModelVersion, after: ModelVersion, name: str) -> MetricChange:
    first, second = before.metrics.get(name), after.metrics.get(name)
    return MetricChange(
        before=first, after=second, difference=None if first is None or second is None else second - first
    )
