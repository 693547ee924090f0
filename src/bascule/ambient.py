"""`import bascule.ambient`: from here on this process is recorded, as if `bascule track` had started it.

The run ends with the process. Nothing is raised into it: what stands in the way is said once on standard error. In a
process that is recorded already, this does nothing.
"""

from __future__ import annotations

from bascule import capture

capture.module("bascule_here").begin()
