"""Models and their versions on a branch: registered once, immutable, pointed to by aliases.

The room owns the `models/` objects of the history and the `model_versions`, `evaluations` and `approvals` records that
go with them. It takes what training and evaluation found as plain values and judges nothing itself: a version that a
gate refused is registered only with a reason. All rooms above may call it.
"""

from bascule.naming import PRODUCTION
from bascule.registry.compare import MetricChange, VersionDiff, compare
from bascule.registry.merging import merge_models, undo_model
from bascule.registry.register import register, set_alias
from bascule.registry.versions import (
    ModelSummary,
    ModelVersion,
    get_version,
    list_models,
    list_versions,
    production,
    read_evaluation,
    split_name,
)

__all__ = [
    "PRODUCTION",
    "MetricChange",
    "ModelSummary",
    "ModelVersion",
    "VersionDiff",
    "compare",
    "get_version",
    "list_models",
    "list_versions",
    "merge_models",
    "production",
    "read_evaluation",
    "register",
    "set_alias",
    "split_name",
    "undo_model",
]
