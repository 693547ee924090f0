"""Loaded by the interpreter of a tracked command, before its script: begins to watch, then makes way.

Only the standard library is used: the script may run in an environment that has no Bascule.
"""

import contextlib
import importlib.util
import os
import sys


def _run_shadowed() -> None:
    """Run the sitecustomize that this one stands before, if there is one."""
    here = os.path.dirname(os.path.abspath(__file__))
    for folder in sys.path:
        path = os.path.join(folder, "sitecustomize.py")
        if os.path.abspath(folder or ".") != here and os.path.isfile(path):
            spec = importlib.util.spec_from_file_location("shadowed_sitecustomize", path)
            if spec is not None and spec.loader is not None:
                spec.loader.exec_module(importlib.util.module_from_spec(spec))
            return


_run_shadowed()
# A tracked script must run as it would have run: whatever goes wrong here is silence, never an error there.
with contextlib.suppress(Exception):
    import bascule_watch

    bascule_watch.begin()
