"""Models in processes of their own: what a deployment's workers are, what waits for them, and what becomes of a worker
that hangs, leaks, crashes or answers in the wrong shape.

A `Lane` is the queue of one version and its workers. Threads of the serving process hold one child process each; they
take together what has come to wait while all workers were busy, and nothing waits for company. The child reads the
model from the bytes that it is given and talks over a socket; when it is gone, its caller is told and another begins.
"""

from bascule.serving.workers.job import Job
from bascule.serving.workers.lane import Lane
from bascule.serving.workers.program import Program
from bascule.serving.workers.runtime import WorkerRuntime

__all__ = ["Job", "Lane", "Program", "WorkerRuntime"]
