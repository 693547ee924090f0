"""What the inference process writes before it answers: predictions, and the truth about them when it comes.

Both are journals of framed, checked records in segment files below `.bascule/log/`. A segment belongs to its writer as
long as the writer lives; after that anyone may move it, exactly once, into the record table of its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bascule.ondemand import on_demand
from bascule.serving.log.frames import Reading, read_segment
from bascule.serving.log.journal import Counted, Journal, JournalLimits, Spared
from bascule.serving.log.predictions import PREDICTIONS, Context, PredictionLog, Served
from bascule.serving.log.truths import GROUND_TRUTH, Truth, TruthLog

if TYPE_CHECKING:
    from bascule.serving.log.moving import (
        TABLES,
        LogReport,
        MoveReport,
        check_segments,
        find_prediction,
        move_segments,
        unmoved,
    )

__all__ = [
    "GROUND_TRUTH",
    "PREDICTIONS",
    "TABLES",
    "Context",
    "Counted",
    "Journal",
    "JournalLimits",
    "LogReport",
    "MoveReport",
    "PredictionLog",
    "Reading",
    "Served",
    "Spared",
    "Truth",
    "TruthLog",
    "check_segments",
    "find_prediction",
    "move_segments",
    "read_segment",
    "unmoved",
]

# Who answers writes journals; the lake, into which they are moved, is loaded by who moves them.
__getattr__ = on_demand(
    __name__,
    {"moving": ("TABLES", "LogReport", "MoveReport", "check_segments", "find_prediction", "move_segments", "unmoved")},
)
