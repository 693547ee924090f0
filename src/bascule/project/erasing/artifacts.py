"""Artifacts of runs and models that hold a subject's values: files as somebody sent them, of any format."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bascule.history import Workspace
from bascule.lake.forgetting import Forgotten, Request
from bascule.project.erasing.values import holds, needles, without
from bascule.store import Place
from bascule.tracking.artifacts import FOLDER

# Fewer bytes stand in the weights of a model by chance, and overwriting them would harm it.
LEAST_BYTES = 6


def from_artifacts(request: Request) -> list[Forgotten]:
    """Take distinctive values out of artifacts. In text they are replaced; elsewhere bytes keep their places.

    A file that is no text has the values overwritten by as many stars, so that lengths and offsets in it stay right.
    """
    wanted = needles(request.key)
    found = [place for place in _files(request.workspace) if _holds(place, wanted)] if wanted else []
    cleaned = 0
    for place in found:
        before = place.read_bytes()
        after = _without(before, request.key, wanted)
        if after == before:
            continue
        cleaned += 1
        if not request.dry_run:
            _write(request.workspace, place, after)
    return [Forgotten("artifacts", cleaned)] if cleaned else []


def _files(workspace: Workspace) -> Iterator[Place]:
    root: Place = workspace.storage / FOLDER
    if root.is_dir():
        yield from (place for place in root.rglob("*") if place.is_file())


def _holds(place: Place, wanted: list[bytes]) -> bool:
    if isinstance(place, Path):
        return holds(place, wanted)
    data = place.read_bytes()
    return any(one in data for one in wanted)


def _without(data: bytes, key: Mapping[str, Any], wanted: list[bytes]) -> bytes:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" not in text:
        return without(text, key).encode()
    for one in wanted:
        if len(one) >= LEAST_BYTES:
            data = data.replace(one, b"*" * len(one))
    return data


def _write(workspace: Workspace, place: Place, data: bytes) -> None:
    """Put the file in the old one's place, whole: killed on the way, the old one is there, and found again."""
    if not isinstance(place, Path):
        place.write_bytes(data)
        return
    fresh = workspace.temporary_folder / f"{secrets.token_hex(8)}.artifact"
    fresh.parent.mkdir(parents=True, exist_ok=True)
    with fresh.open("wb") as target:
        target.write(data)
        target.flush()
        os.fsync(target.fileno())
    fresh.replace(place)
