"""A file that grows: JSON or CSV lines. It may be rotated: what the old file had is read to its end first."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NamedTuple

from blake3 import blake3

from bascule.errors import EnvironmentProblem, InputError
from bascule.features.streams.events import Events, EventType
from bascule.features.streams.sources.source import Polled

CHUNK = 16 << 20
READ = 6 << 20
HEAD = 64
TAIL = 1024
PAUSE = 0.05
SUFFIXES = (".jsonl", ".ndjson", ".json", ".log", ".csv")


class _Place(NamedTuple):
    """How far a file is read: which file it is, by number and first bytes, up to which byte, and what is before it."""

    inode: int
    offset: int
    head: str
    tail: str = ""

    def as_offsets(self) -> dict[str, str]:
        return {"inode": str(self.inode), "offset": str(self.offset), "head": self.head, "tail": self.tail}


class GrowingFile:
    """The lines of a file as they are added. A last line without its end waits for it.

    A file that is renamed and begun anew (rotation) is found beside its name by its inode and read to its end. A copy
    in its place (restored, or rewritten by an editor) is read on where the file itself would be. One that was cut, or
    is gone, is said, and the new one is read from its beginning.
    """

    def __init__(self, events: EventType, path: Path) -> None:
        if path.suffix.lower() not in SUFFIXES:
            hint = f"It should end in one of {', '.join(SUFFIXES)}."
            raise InputError(f"{path} is no file of JSON or CSV lines, by its name.", hint=hint)
        self.events, self.path = events, path
        self._missed = False
        self._csv = path.suffix.lower() == ".csv"

    def poll(self, offsets: Mapping[str, str], most: int, seconds: float) -> Polled:
        """See `StreamSource`; `most` is held to by lines."""
        until = time.monotonic() + seconds
        while True:
            polled = self._read(offsets, most)
            if polled.offsets != dict(offsets) or polled.notes or time.monotonic() >= until:
                return polled
            time.sleep(min(PAUSE, max(seconds, 0.0)))

    def close(self) -> None:
        """Nothing is kept open."""

    def _read(self, offsets: Mapping[str, str], most: int) -> Polled:
        notes: list[str] = []
        try:
            path, place, ended = self._found(offsets, notes)
        except FileNotFoundError:
            # It comes, or comes back after a rotation.
            missed, self._missed = self._missed, True
            notes = [] if missed else [f"There is no {self.path.name} in {self.path.parent}; it is waited for."]
            return Polled(self.events.empty_batch(), dict(offsets), 0, tuple(notes))
        except OSError as error:
            raise EnvironmentProblem(f"{self.path} cannot be read: {error}.", hint="Check the file.") from error
        with open(path, "rb") as file:
            lines, end = self._lines(file, place.offset, most, ended)
            size = os.fstat(file.fileno()).st_size
            head, tail = _head(file, end), _tail(file, end)
            events = self._events(file, path, lines)
        now = _Place(place.inode, end, head, tail)
        if ended and end >= size:  # the rotated file is done; the next poll begins the new one
            now = _Place(0, 0, "")
        return Polled(events, now.as_offsets(), max(size - end, 0), tuple(notes))

    def _found(self, offsets: Mapping[str, str], notes: list[str]) -> tuple[Path, _Place, bool]:
        """Which file is read on from where, and whether nothing will be added to it any more."""
        held = _Place(0, 0, "")
        if offsets:
            held = _Place(int(offsets["inode"]), int(offsets["offset"]), offsets["head"], offsets.get("tail", ""))
        stat = self.path.stat() if self.path.exists() else None
        if held.inode and (stat is None or stat.st_ino != held.inode):
            rotated = self._rotated(held)
            if rotated is not None:
                return rotated, held, stat is not None
            if stat is None:
                raise FileNotFoundError(self.path)
            if _continues(self.path, held):
                return self.path, held._replace(inode=stat.st_ino), False
            notes.append(f"{self.path.name} was replaced; what the old one had beyond byte {held.offset:,} is gone.")
            return self.path, _Place(stat.st_ino, 0, ""), False
        if stat is None:
            raise FileNotFoundError(self.path)
        if held.inode and (stat.st_size < held.offset or not _begins(self.path, held)):
            notes.append(f"{self.path.name} was cut at byte {held.offset:,} or before; it is read from its beginning.")
            return self.path, _Place(stat.st_ino, 0, ""), False
        return self.path, held._replace(inode=stat.st_ino), False

    def _rotated(self, held: _Place) -> Path | None:
        beside = [entry for entry in os.scandir(self.path.parent) if entry.name.startswith(self.path.stem)]
        for entry in beside:
            if entry.inode() == held.inode and _begins(Path(entry.path), held):
                return Path(entry.path)
        return None

    def _lines(self, file: IO[bytes], offset: int, most: int, ended: bool) -> tuple[list[tuple[int, bytes]], int]:
        """Whole lines from an offset on, each with where it begins; and where the next one does."""
        file.seek(offset)
        data = file.read(READ)
        if b"\n" not in data:
            data += file.read(CHUNK - len(data))
        whole = data.rfind(b"\n") + 1
        if ended and len(data) < READ:
            whole = len(data)
        if not whole and len(data) == CHUNK:
            raise InputError(
                f"{self.path} has a line of more than {CHUNK >> 20} MB at byte {offset:,}.",
                hint="Cut it, or follow another file.",
            )
        found: list[tuple[int, bytes]] = []
        at = offset
        for line in data[:whole].split(b"\n"):
            if len(found) >= most or at >= offset + whole:
                break
            if line.strip():
                found.append((at, line))
            at += len(line) + 1
        return found, min(at, offset + whole)

    def _events(self, file: IO[bytes], path: Path, lines: list[tuple[int, bytes]]) -> Events:
        if not self._csv:
            name = self.path.name
            return self.events.read([line for _, line in lines], lambda place: (name, lines[place][0]))
        file.seek(0)
        names = next(csv.reader([file.readline().decode("utf-8-sig", "replace").rstrip("\r\n")]), [])
        if self.events.time not in names:
            raise InputError(
                f"{path} has no column {self.events.time!r} in its first line.", hint=f"It has: {', '.join(names)}."
            )
        rows = ((at, _row(names, line.decode("utf-8", "replace"))) for at, line in lines if at > 0)
        return self.events.read_rows(rows, self.path.name)


def _row(names: list[str], line: str) -> dict[str | None, str]:
    """The fields of a line by their names. It is read by itself: an open quote would take the lines after it along."""
    try:
        values = next(csv.reader([line], strict=True))
    except csv.Error as error:
        return {"line": line, None: f"It is no line of CSV: {error}"}
    if len(values) > len(names):
        return {**dict(zip(names, values, strict=False)), None: "It has more fields than the first line"}
    return dict(zip(names, values, strict=False))


def _head(file: IO[bytes], end: int) -> str:
    file.seek(0)
    first = file.read(min(end, HEAD))
    return f"{len(first)}:{blake3(first).hexdigest()[:16]}"


def _tail(file: IO[bytes], end: int) -> str:
    """Digest what stands before a byte: heads are often equal (names of columns), ends at one byte hardly ever."""
    file.seek(max(end - TAIL, 0))
    return blake3(file.read(min(end, TAIL))).hexdigest()[:16] if end else ""


def _continues(path: Path, held: _Place) -> bool:
    """Whether another file has what was read of the one before, at the same bytes."""
    if not held.tail or path.stat().st_size < held.offset or not _begins(path, held):
        return False
    with open(path, "rb") as file:
        return _tail(file, held.offset) == held.tail


def _begins(path: Path, held: _Place) -> bool:
    """Whether a file begins as it did when it was read."""
    if not held.head:
        return True
    length, _, digest = held.head.partition(":")
    with open(path, "rb") as file:
        first = file.read(int(length))
    return len(first) == int(length) and blake3(first).hexdigest()[:16] == digest
