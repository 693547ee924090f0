"""Ambient capture: a script runs as it is, and afterwards it is known what it read, set, measured and made.

What works inside the script's process is in `child/`: it is loaded by the interpreter itself (`sitecustomize`) or by an
import, needs nothing but the standard library, and appends to a journal on local disk; it never raises into the script.
Here the journals are read, and brought into the records: by `bascule track` while the command runs, by a sender of its
own for a script that imports `bascule.ambient`, and by `bascule sync` whenever neither could.
"""

from bascule.tracking.ambient.launch import Tracked, followed, local, track

__all__ = ["Tracked", "followed", "local", "track"]
