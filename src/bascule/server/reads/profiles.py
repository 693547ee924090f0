"""Profiles of tables for the page: of a sample, so that a large table is shown soon, and kept for a while."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Any

from bascule.history import Workspace
from bascule.lake.masking import hidden_columns
from bascule.lake.objects import PREFIX, document_of
from bascule.profiles import TableProfile

SAMPLE = 50_000
MOST_KEPT = 16
SECONDS_KEPT = 600.0

_kept: OrderedDict[tuple[Any, ...], tuple[float, TableProfile]] = OrderedDict()
_lock = threading.Lock()


def table_profile(ws: Workspace, ref: str, name: str) -> TableProfile:
    """Return the profile of a sample of a table at a state, without values that the current role may not see.

    What was made before is given again for ten minutes, while the table is what it was: a forgetting makes it another.

    Raises:
        NotFound: there is no such table, with the nearest name.
    """
    from bascule.project.profiling.profile import profile_at

    commit = ws.history.resolve(ref)
    value = ws.history.get(commit, PREFIX + name)
    # Others see other columns of what is kept.
    hidden = hidden_columns(ws, commit, name, value)
    key = (str(ws.folder), name, commit.id, value["digest"], _written_at(ws, value), hidden)
    with _lock:
        made_at, found = _kept.get(key, (0.0, None))
    if found is not None and time.monotonic() - made_at < SECONDS_KEPT:
        return found
    found = profile_at(ws, name, ref, sample=SAMPLE, related=False)
    with _lock:
        for other in [other for other in _kept if other[:2] == key[:2] and other[3:5] != key[3:5]]:
            del _kept[other]
        _kept[key] = (time.monotonic(), found)
        while len(_kept) > MOST_KEPT:
            _kept.popitem(last=False)
    return found


def _written_at(ws: Workspace, value: dict[str, Any]) -> object:
    path = document_of(value, ws.lake_folder)
    try:
        return path.stat().st_mtime_ns
    except (AttributeError, OSError):
        return str(path)
