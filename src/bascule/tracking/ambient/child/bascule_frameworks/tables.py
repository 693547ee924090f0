"""Tables that are read and written: by path, address or name, with rows, columns and the query, once each."""

from __future__ import annotations

import glob
import itertools
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import bascule_files

from bascule_frameworks.addresses import etag_of, without_secrets
from bascule_frameworks.describing import columns_of, rows_of
from bascule_frameworks.telling import allowed, emit

MOST = 2000
MOST_FILES = 1000
LONGEST_QUERY = 20_000
_ADDRESS = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]+)://")

_seen: set[tuple[Any, ...]] = set()
_written: set[str] = set()


def note_table(
    mode: str,
    api: str,
    source: object,
    *,
    data: Any = None,
    rows: int | None = None,
    columns: Sequence[tuple[str, str]] = (),
    query: str | None = None,
    kind: str | None = None,
    version: str | None = None,
) -> None:
    """Note a table that was read (`r`) or written (`w`).

    Args:
        source: a path, an address, a list of such, or a name; an open file is known by its name.
        data: what was read or written, for its rows and columns.
        kind: what `source` is, when it is neither a path nor an address: `sql`, `bascule`.
        version: what the source says its content is.
    """
    entry: dict[str, Any] = {"kind": "table", "mode": mode, "api": api}
    if kind is not None:
        entry |= {"source": str(source), "source_type": kind}
    else:
        place = _placed(source, mode)
        if place is None:
            return
        entry |= place
    files = entry.get("files")
    if files and mode == "w":
        _written.update(files)
    elif files and _written.issuperset(files):  # its own work read back is no input
        return
    rows = rows if rows is not None else rows_of(data)
    mark = (mode, entry["source"], query, rows)
    if mark in _seen or not allowed("tables", MOST):
        return
    _seen.add(mark)
    if files:
        entry["found"] = [bascule_files.noted(one, mode) for one in files]
    entry |= {"rows": rows, "columns": list(columns) or columns_of(data), "version": version}
    if query:
        entry["query"] = query[:LONGEST_QUERY]
    emit(entry)


def before_writing(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Keep what was read of the files that a call names, before it writes over them below Python."""
    for one in (*args, *kwargs.values()):
        if isinstance(one, str | os.PathLike):
            bascule_files.about_to_write(one)
    return args, kwargs


def _placed(source: object, mode: str) -> dict[str, Any] | None:
    """Return what a path, an address or an open file is; None for what lies only in memory."""
    if isinstance(source, list | tuple | set):
        return _several([one for one in source if isinstance(one, str | os.PathLike)], mode)
    if not isinstance(source, str | os.PathLike):
        source = getattr(source, "name", None)
        if not isinstance(source, str) or not os.path.exists(source):
            return None
    text = os.fspath(source)
    if not isinstance(text, str):
        return None
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    found = _ADDRESS.match(text)
    if found:
        address = without_secrets(text)
        kind = "http" if found[1] in ("http", "https") else found[1].lower()
        return {"source": address, "source_type": kind, "etag": etag_of(address)}
    if mode == "r" and any(sign in text for sign in "*?[") and not os.path.exists(text):
        return _several(sorted(glob.glob(text, recursive=True)), mode, text)
    path = os.path.realpath(os.path.expanduser(text))
    if os.path.isdir(path):
        return _several(_below(path), mode, path)
    return {"source": path, "source_type": "file", "files": [path]}


def _several(paths: Iterable[Any], mode: str, name: str | None = None) -> dict[str, Any] | None:
    files = [os.path.realpath(os.fspath(one)) for one in itertools.islice(paths, MOST_FILES)]
    if not files and name is None:
        return None
    shown = os.path.realpath(name) if name else files[0] if len(files) == 1 else os.path.commonpath(files)
    return {"source": shown, "source_type": "file", "files": files}


def _below(folder: str) -> Iterable[str]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (os.path.join(parent, name) for name in sorted(names) if not name.startswith((".", "_")))


def is_bascule() -> bool:
    """Whether this is called, somewhere above, by Bascule itself: what that reads is noted as its own tables."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).startswith("bascule."):
            return True
        frame = frame.f_back
    return False
