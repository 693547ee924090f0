"""Ambient capture: a script runs as it is, and afterwards it is known what it read, set, measured and made.

`launch` starts a command with `child/` on its Python path. The code there is loaded by the interpreter itself
(`sitecustomize`), needs nothing but the standard library, watches through audit hooks and wrappers that are put on when
a framework is imported, and appends to a journal on local disk; it never raises into the script. When the command has
ended (or was killed), the journal is read and becomes a run's records.
"""

from bascule.tracking.ambient.launch import Tracked, track

__all__ = ["Tracked", "track"]
