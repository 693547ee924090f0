"""The contents of files that a session's scripts read: digested soon after they were opened, held to what they were.

A script notes what it finds a file as when it opens it: size, time of change, number on the disk. A digest counts only
when the file is the same before and after it was read for the digest; else nobody knows what the script read, and that
is what is told.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections import deque
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from blake3 import blake3

from bascule.tracking.ambient.journal import SUFFIX, Entry, records
from bascule.tracking.ambient.told import AT_ONCE

#: Size, time of change in nanoseconds since 1970 UTC, and number on the disk.
Found = tuple[int, int, int]

#: How the version begins that stands for a content which nobody knows.
UNKNOWN = "unknown-"
KNOWN = "contents"
# Larger files are left for the end: reading them meanwhile would stand in the way of the script.
LARGEST_EARLY = 1 << 30


class Content(NamedTuple):
    """A file as it was read.

    Attributes:
        digest: BLAKE3 of its content, or None when nobody knows it.
        kept: where a copy of it lies beside the journal, or None.
    """

    digest: str | None
    size: int
    kept: str | None = None


class Contents:
    """What is known of the files that one session's scripts read. Any number of threads may ask."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._places: dict[str, int] = {}
        self._known: dict[tuple[str, Found], str] = {}
        self._kept: dict[tuple[str, Found], str] = {}
        self._waiting: deque[tuple[str, Found]] = deque()
        self._remember()

    def look(self, stop: threading.Event | None = None) -> None:
        """Read on in the journals, and digest what was opened since, until it is done or told to stop."""
        self._listen()
        while self._waiting and not (stop and stop.is_set()):
            with contextlib.suppress(IndexError):
                path, found = self._waiting.popleft()
                if (path, found) not in self._known and found[0] <= LARGEST_EARLY:
                    self._learn(path, found, digest_if(Path(path), found, stop=stop, threads=1))

    def content(self, path: str, found: Any, kept: str | None = None) -> Content:
        """Return the content that a file had when it was found so.

        Args:
            kept: where the script itself has put it before it wrote over it, as far as the caller knows.
        """
        told = found_of(found)
        if told is None:  # a journal of an earlier version: what is there now
            now = found_now(path)
            return Content(digest_if(Path(path), now), now[0]) if now else Content(None, 0)
        mark, size = (path, told), told[0]
        kept = kept or self._kept.get(mark)
        if kept is None and mark not in self._known and found_now(path) != told:
            self._listen()  # was it put aside?
            kept = self._kept.get(mark)
        if kept is not None:
            copied = found_now(kept)
            digest = digest_if(Path(kept), copied) if copied and copied[0] == size else None
            if digest is not None:
                return Content(digest, size, kept)
        known = self._known.get(mark) or digest_if(Path(path), told)
        self._learn(path, told, known)
        return Content(known, size)

    def _listen(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            for part in sorted(self._folder.glob(f"*{SUFFIX}")):
                before, end = -1, self._places.get(part.name, 0)
                while before != end:
                    before = end
                    for record, place in records(part, before):
                        end = place
                        if isinstance(record, dict):
                            self._hear(record)
                    self._places[part.name] = end

    def _hear(self, entry: Entry) -> None:
        found = found_of(entry.get("found")) if entry.get("kind") == "file" else None
        if found is None:
            return
        mark = str(entry.get("path")), found
        if entry.get("kept"):
            self._kept[mark] = str(entry["kept"])
        elif mark not in self._known:
            self._waiting.append(mark)

    def _learn(self, path: str, found: Found, digest: str | None) -> None:
        """Keep a digest, also for who brings the journal in when this process is gone."""
        if digest is None or (path, found) in self._known:
            return
        self._known[path, found] = digest
        with self._lock, contextlib.suppress(OSError), open(self._folder / KNOWN, "ab") as out:
            out.write(msgspec.json.encode([os.fsencode(path).hex(), found, digest]) + b"\n")

    def _remember(self) -> None:
        with contextlib.suppress(OSError):
            for line in (self._folder / KNOWN).read_bytes().splitlines():
                with contextlib.suppress(msgspec.MsgspecError, ValueError):  # the last line may be torn
                    path, found, digest = msgspec.json.decode(line, type=tuple[str, Found, str])
                    self._known[os.fsdecode(bytes.fromhex(path)), found] = digest


@lru_cache(maxsize=64)
def contents_of(folder: Path) -> Contents:
    """Return what is known of a session's contents, by the session's folder."""
    return Contents(folder)


def unknown(path: str, found: Any) -> str:
    """Return the version of a content that nobody knows: the same for the same file found so."""
    return UNKNOWN + blake3(repr((path, found_of(found))).encode("utf-8", "backslashreplace")).hexdigest()[:32]


def changed(name: str) -> str:
    """Return the warning about a file whose content nobody knows."""
    return f"{name} was changed after it was opened: which content was read is not known"


def found_of(told: Any) -> Found | None:
    """Return what an entry says that a file was found as."""
    if isinstance(told, list | tuple) and len(told) == 3 and all(type(one) is int for one in told):
        return told[0], told[1], told[2]
    return None


def found_now(path: str | Path) -> Found | None:
    """Return what a file is found as now; None when it is none."""
    try:
        return _found(os.stat(path))
    except (OSError, ValueError):
        return None


def digest_if(
    path: Path, found: Found, *, stop: threading.Event | None = None, threads: int = blake3.AUTO
) -> str | None:
    """Return the digest of a file's content if it is found so before and after it is read, else None.

    It is read and not mapped: a file that gets shorter meanwhile would end the process.
    """
    if found_now(path) != found:
        return None
    hasher = blake3(max_threads=threads)
    try:
        with open(path, "rb", buffering=0) as source:
            while part := source.read(AT_ONCE):
                hasher.update(part)
                if stop is not None and stop.is_set():
                    return None
            return hasher.hexdigest() if _found(os.fstat(source.fileno())) == found else None
    except OSError:
        return None


def _found(about: os.stat_result) -> Found | None:
    return (about.st_size, about.st_mtime_ns, about.st_ino) if stat.S_ISREG(about.st_mode) else None
