"""Runs: what was started, by whom, on which code and data, what it read and wrote, and how it ended.

Tracking owns the run records and the capture of code and environment. Steps of a pipeline and tracked scripts are both
runs; rooms above write to the run that they are given.
"""

from bascule.tracking.code import Code, capture_code, restore_code
from bascule.tracking.environment import capture_environment
from bascule.tracking.runs import Run, find_run, recorded, resume

__all__ = ["Code", "Run", "capture_code", "capture_environment", "find_run", "recorded", "restore_code", "resume"]
