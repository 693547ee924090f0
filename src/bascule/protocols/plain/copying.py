"""Artifacts of runs and models, copied as they are."""

from __future__ import annotations

import shutil
from pathlib import Path

from bascule.store import Place
from bascule.store.places import ObjectPath
from bascule.tracking.artifacts import Artifacts

CHUNK = 1 << 20


def copy_artifact(artifacts: Artifacts, path: str, target: Path) -> int:
    """Copy a file, or a folder with all that is in it, and return how many files it has; 0 for what is not there."""
    place = artifacts.place(path)
    if place.is_file():
        _copy(place, target / place.name)
        return 1
    count = 0
    for one in artifacts.list(path):
        inside = f"{path}/{one.path}" if path else one.path
        if one.is_dir:
            count += copy_artifact(artifacts, inside, target / one.path)
        else:
            _copy(artifacts.place(inside), target / one.path)
            count += 1
    return count


def _copy(place: Place, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with place.opened() if isinstance(place, ObjectPath) else place.open("rb") as source, target.open("wb") as out:
        shutil.copyfileobj(source, out, CHUNK)
