"""Loaded by the interpreter of a command that is done again: it may write below its own folder, and not where it ran.

Only the standard library is used, and the one sitecustomize that this one stands before is run. What a library writes
below Python is not seen here; `bascule reproduce` looks at the outputs themselves, and puts back what was changed.
"""

import importlib.util
import os
import sys
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PATHS = {"os.remove": 1, "os.rmdir": 1, "os.truncate": 1, "os.rename": 2, "os.link": 2, "os.symlink": 2, "os.mkdir": 1}


def _run_shadowed() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    for folder in sys.path[[os.path.abspath(one or ".") for one in sys.path].index(here) + 1 :]:
        path = os.path.join(folder, "sitecustomize.py")
        if os.path.isfile(path):
            spec = importlib.util.spec_from_file_location("shadowed_by_guard", path)
            if spec is not None and spec.loader is not None:
                spec.loader.exec_module(importlib.util.module_from_spec(spec))
            return


def _guard(kept: str, *but: str) -> None:
    kept, allowed = os.path.realpath(kept) + os.sep, tuple(os.path.realpath(one) + os.sep for one in but)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = any(sign in mode for sign in "wax+") if isinstance(mode, str) else bool(flags & _WRITES)
            paths = (path,) if writes else ()
        elif event in _PATHS:
            paths = arguments[: _PATHS[event]]
        else:
            return
        for path in paths:
            if isinstance(path, (str, bytes)) or hasattr(path, "__fspath__"):
                place = os.path.realpath(os.fsdecode(path))
                if place.startswith(kept) and not place.startswith(allowed):
                    raise PermissionError(
                        f"{place} belongs to the project that this run is a repetition of, and is not written again. "
                        "Write it by a path relative to the script's folder."
                    )

    sys.addaudithook(hook)


_run_shadowed()
# What tracks the command writes where it must.
if sys.orig_argv[1:3] != ["-m", "bascule"] and os.environ.get("BASCULE_KEPT"):
    _guard(*os.environ["BASCULE_KEPT"].split(os.pathsep))
