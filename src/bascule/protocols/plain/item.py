"""What was written of one path or record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One path of the history, one record, or one kind of what runs left.

    Attributes:
        path: in the history, such as `tables/flights`; `records/runs`, `training-sets/…` or `artifacts` for the rest.
        place: the file or folder that was written, from the export's folder.
        files, bytes: of it.
        rows: of a table or a record, else None.
        note: what its reader should know; empty when nothing.
    """

    path: str
    place: str
    files: int
    bytes: int
    rows: int | None = None
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The item as one JSON object."""
        return msgspec.structs.asdict(self)


def item_of(path: str, made: Path, place: Path, rows: int | None = None, note: str = "") -> Item:
    """Return the item of a file or a folder that was written into an export's folder."""
    files = [place] if place.is_file() else [one for one in place.rglob("*") if one.is_file() or one.is_symlink()]
    size = sum(one.lstat().st_size for one in files)
    told = place.relative_to(made).as_posix() + ("" if place.is_file() else "/")
    return Item(path=path, place=told, files=len(files), bytes=size, rows=rows, note=note)
