"""Public names of a room that are loaded when they are first asked for: who needs few of them starts sooner."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def on_demand(room: str, places: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a room, which keeps there what it has found.

    No module of the room may have the name of one of these: once imported, it would stand in its place.

    Args:
        room: the package's `__name__`.
        places: the names, by the module below the room that has them.

    Raises:
        AttributeError: by what is returned, for any other name.
    """
    homes = {name: module for module, names in places.items() for name in names}

    def found(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        value = getattr(import_module(f"{room}.{homes[name]}"), name)
        setattr(sys.modules[room], name, value)
        return value

    return found
