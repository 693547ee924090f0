"""Files of a source on this machine: read only below the folders that the user named."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from bascule.protocols.mlflow.importing.records import File, Unreachable


def files_below(folder: Path) -> Iterator[File]:
    """Yield the files below a folder by their paths. Links are not followed: they may lead anywhere."""
    if not folder.is_dir():
        return
    for place, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(names):
            path = Path(place) / name
            if path.is_symlink() or not path.is_file():
                continue
            yield File(path.relative_to(folder).as_posix(), path.stat().st_size, partial(_opened, path))


def _opened(path: Path) -> BinaryIO:
    return path.open("rb")


def folder_of(address: str, roots: Sequence[Path], former: Sequence[str] = ()) -> Path:
    """Return the folder that an address of artifacts means.

    Args:
        address: a path or a `file:` URL, as the source says it.
        roots: the folders that may be read.
        former: what addresses began with where the source was made; they are looked for below the roots instead.

    Raises:
        Unreachable: it is no folder of this machine, or lies elsewhere.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("", "file") and len(parts.scheme) != 1:
        raise Unreachable(
            f"artifacts on {parts.scheme}:", hint="Import from the server's address, which reads them for you."
        )
    text = unquote(parts.path) if parts.scheme == "file" else address
    for candidate in _candidates(text, roots, former):
        found = candidate.resolve()
        if any(found.is_relative_to(root.resolve()) for root in roots) and found.is_dir():
            return found
    if any(Path(text).resolve().is_relative_to(root.resolve()) for root in roots):
        raise FileNotFoundError(text)
    raise Unreachable(
        "artifacts outside of the folder that was named", hint="Name their folder too: --artifacts FOLDER"
    )


def _candidates(text: str, roots: Sequence[Path], former: Sequence[str]) -> Iterator[Path]:
    if Path(text).is_absolute():
        yield Path(text)
    for root in roots:
        for start in former:
            if start and text.startswith(start.rstrip("/") + "/"):
                yield root / text[len(start.rstrip("/")) + 1 :]
        if not Path(text).is_absolute():
            yield root / text
            yield root.parent / text
