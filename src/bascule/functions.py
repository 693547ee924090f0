"""Functions that users write: `module:function`, found from the project's folder."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from importlib import import_module, invalidate_caches
from pathlib import Path
from typing import Any

from bascule.errors import InputError, NotFound

# A module that is read anew is gone for a moment: another thread that imports it then would fail.
_importing = threading.RLock()


def load_function(name: str, folder: Path | None = None) -> Callable[..., Any]:
    """Return the function that `module:function` names.

    A module in the project's folder is read anew at each call, so an edited file takes effect in a running process.

    Raises:
        NotFound: there is no function of that name in the module.
        InputError: the module cannot be imported.
    """
    module_name, _, function_name = name.partition(":")
    with _importing:
        module = _import(module_name, folder)
    function = getattr(module, function_name, None)
    if not callable(function):
        known = [one for one in vars(module) if callable(getattr(module, one)) and not one.startswith("_")]
        raise NotFound(f"function in {module_name}.py", function_name, known)
    found: Callable[..., Any] = function
    return found


def _import(name: str, folder: Path | None) -> Any:
    if folder is not None:
        place = str(folder.resolve())
        # First on the path, as Python does for a script, and left there: trainers import their neighbours late too.
        sys.path[:] = [place, *(one for one in sys.path if one != place)]
        stem = folder.resolve() / name.replace(".", "/")
        if stem.with_suffix(".py").exists() or (stem / "__init__.py").exists():
            sys.modules.pop(name, None)
        invalidate_caches()
    try:
        return import_module(name)
    except Exception as error:
        where = f" (looked in {folder} first)" if folder else ""
        raise InputError(
            f"The module {name!r} cannot be imported{where}: {type(error).__name__}: {error}.",
            hint="Look at the name before the colon, and import the file in a Python session to see the whole error.",
        ) from error
