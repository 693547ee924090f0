"""How a run stands: our words and the field's."""

from __future__ import annotations

OURS = {"RUNNING": "running", "SCHEDULED": "scheduled", "FINISHED": "done", "FAILED": "failed", "KILLED": "cancelled"}
FIELDS = {ours: theirs for theirs, ours in OURS.items()} | {"cached": "FINISHED"}
NUMBERS = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
# The kind of runs that a search tried: lists show them when they are asked for, below the search's own run.
CANDIDATE = "candidate"
ENDED = ("done", "cached", "failed", "cancelled")
