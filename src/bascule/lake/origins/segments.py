"""Segments: what was fetched of something long, piece by piece, so that a killed command goes on behind the last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bascule.lake.origins.origin import Part, named
from bascule.lake.origins.spool import whole
from bascule.lake.sources import Rejected


class Note(msgspec.Struct, frozen=True):
    """What is kept beside a segment: what it is called, what its origin said of it, and what could not be read."""

    file: str
    name: str
    version: dict[str, str]
    rejected: list[tuple[str, int | None, str, str, str]] = []


@dataclass(slots=True)
class Segments:
    """The segments of an origin in its spool, in order. Each is there whole or not at all.

    Args:
        spool: their folder.
        origin: the address without secrets.
    """

    spool: Path
    origin: str

    def path(self, ending: str) -> Path:
        """Return where the next segment is to be written."""
        return self.spool / f"segment-{len(self._notes()):06}{ending}"

    def add(self, path: Path, name: str, version: Mapping[str, str], rejected: list[Rejected] | None = None) -> Part:
        """Note that a segment is written; from now on it stays."""
        aside = [(one.file, one.line, one.reason, one.raw, one.column) for one in rejected or ()]
        with whole(path.with_name(f"{path.stem}.note")) as out:
            out.write(msgspec.json.encode(Note(path.name, name, dict(version), aside)))
        return self._part(Note(path.name, name, dict(version), aside))

    def found(self, begin: str, *, rejected: bool = True) -> list[Part]:
        """Return the segments that a killed command left, if they go on from where the table is now; else none stay.

        Args:
            begin: what the first one's `from` must be.
            rejected: also those of which records could not be read; else they, and all behind them, do not stay.
        """
        parts = [self._part(note) for note in self._notes()]
        if not rejected:
            end = next((at for at, part in enumerate(parts) if part.rejected), len(parts))
            for path in [one.path for one in reversed(parts[end:])]:
                path.with_name(f"{path.stem}.note").unlink()
                path.unlink(missing_ok=True)
            parts = parts[:end]
        if parts and parts[0].version.get("from", "") == begin and all(part.path.exists() for part in parts):
            return parts
        for path in self.spool.iterdir():
            if path.name.startswith("segment-"):
                path.unlink()
        return []

    def _notes(self) -> list[Note]:
        return [msgspec.json.decode(path.read_bytes(), type=Note) for path in sorted(self.spool.glob("segment-*.note"))]

    def _part(self, note: Note) -> Part:
        kept = {name: value for name, value in note.version.items() if name in ("query", "cursor", "from", "to")}
        digest = named(self.origin, *(f"{name}={value}" for name, value in sorted(kept.items())))
        rejected = [Rejected(*one) for one in note.rejected]
        return Part(self.spool / note.file, digest, note.name, self.origin, note.version, rejected)
