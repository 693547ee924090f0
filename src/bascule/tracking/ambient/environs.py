"""What a watched interpreter ran in, when it is not Bascule's own."""

from __future__ import annotations

import sys
from importlib.metadata import distributions
from typing import Any

from bascule.tracking.ambient.journal import Entry
from bascule.tracking.environment import named


def environment_of(entry: Entry) -> dict[str, Any]:
    """Return what the first entry of an interpreter says of its environment.

    The packages are listed when they are others than ours; by us, so that it costs the script nothing.
    """
    found: dict[str, Any] = {
        "python": entry["python"],
        "executable": entry["executable"],
        "argv": entry["argv"],
        "variables": entry.get("variables", {}),
    }
    path = [str(place) for place in entry.get("path", [])]
    if entry["executable"] != sys.executable or set(_installed(path)) != set(_installed(sys.path)):
        found["packages"] = dict(sorted(map(named, distributions(path=path))))
    return found


def _installed(path: list[str]) -> list[str]:
    return [place for place in path if place.endswith(("site-packages", "dist-packages"))]
