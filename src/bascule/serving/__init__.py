"""The inference data plane: what is deployed on a branch, loaded, split, scored and logged before it is answered.

It owns the runtimes, the models in memory, the prediction log below `.bascule/log/` and its move into the record
tables, and the HTTP server of the inference path. Protocols call it to answer; delivery, monitoring and the command
line call it to read what was answered. It decides nothing: versions and traffic come from the history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bascule.ondemand import on_demand

if TYPE_CHECKING:
    from bascule.serving.branches import BranchState
    from bascule.serving.dataplane import DataPlane
    from bascule.serving.deployment import ServedDeployment
    from bascule.serving.ids import IdSource, is_prediction_id, made_at
    from bascule.serving.log import (
        Journal,
        JournalLimits,
        MoveReport,
        PredictionLog,
        TruthLog,
        find_prediction,
        move_segments,
        unmoved,
    )
    from bascule.serving.model import LoadedModel, load_model
    from bascule.serving.rows import Rows, rows_of_records, rows_of_split
    from bascule.serving.runtime import RUNTIMES, Runtime, load_runtime
    from bascule.serving.scoring import Answer, Query, ScoringFailed, record, score
    from bascule.serving.split import Arm, Split

__all__ = [
    "RUNTIMES",
    "Answer",
    "Arm",
    "BranchState",
    "DataPlane",
    "IdSource",
    "Journal",
    "JournalLimits",
    "LoadedModel",
    "MoveReport",
    "PredictionLog",
    "Query",
    "Rows",
    "Runtime",
    "ScoringFailed",
    "ServedDeployment",
    "Split",
    "TruthLog",
    "find_prediction",
    "is_prediction_id",
    "load_model",
    "load_runtime",
    "made_at",
    "move_segments",
    "record",
    "rows_of_records",
    "rows_of_split",
    "score",
    "unmoved",
]

# A worker needs a model and its runtime, and none of the history: what is public is loaded when it is asked for.
__getattr__ = on_demand(
    __name__,
    {
        "branches": ("BranchState",),
        "dataplane": ("DataPlane",),
        "deployment": ("ServedDeployment",),
        "ids": ("IdSource", "is_prediction_id", "made_at"),
        "log": (
            "Journal",
            "JournalLimits",
            "MoveReport",
            "PredictionLog",
            "TruthLog",
            "find_prediction",
            "move_segments",
            "unmoved",
        ),
        "model": ("LoadedModel", "load_model"),
        "rows": ("Rows", "rows_of_records", "rows_of_split"),
        "runtime": ("RUNTIMES", "Runtime", "load_runtime"),
        "scoring": ("Answer", "Query", "ScoringFailed", "record", "score"),
        "split": ("Arm", "Split"),
    },
)
