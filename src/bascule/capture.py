"""The modules that work inside a script's own process, found without any room of Bascule.

They need only the standard library: `bascule track` also watches interpreters that have no Bascule. Whether they
come by that way or by an import, they are the same modules under the same names.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bascule.errors import InputError

CHILD = Path(__file__).parent / "tracking" / "ambient" / "child"


def module(name: str) -> Any:
    """Return one of the modules, such as `bascule_run`."""
    if name not in sys.modules and str(CHILD) not in sys.path:
        sys.path.append(str(CHILD))
    return importlib.import_module(name)


def launched(command: Sequence[str], **more: Any) -> Any:
    """Start a command that is watched, at once; see `bascule_launch.launch`.

    Raises:
        InputError: when there is none, or it cannot be started.
    """
    if not any(word.strip() for word in command):
        raise InputError("There is no command to track.", hint="For example: bascule track python train.py")
    try:
        return module("bascule_launch").launch(list(command), **more)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        hint = "Write the command as in a shell."
        if command[0].startswith("-"):
            hint = (
                "It is no option of `bascule track`, and a command begins with a program: bascule track python train.py"
            )
        raise InputError(f"{command[0]!r} cannot be started: {why}.", hint=hint) from error
