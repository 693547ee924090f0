"""The Open Inference Protocol (V2) over HTTP, as KServe and Triton clients speak it, and a plain form for people.

It owns the messages, the binary tensors, the routes and the process that serves them. What is served, how it is scored
and how it is logged is the serving room's. `bascule serve` and `bascule up` start it; nothing else calls it.
"""

from bascule.protocols.openinference.application import Application
from bascule.protocols.openinference.worker import Ready, run_worker

__all__ = ["Application", "Ready", "run_worker"]
