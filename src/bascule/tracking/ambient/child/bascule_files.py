"""Files that a watched process opens: each with what it was found as before anything was done to it.

The parent digests a file as soon as it can, and holds the digest only when the file is still as it was found. What the
process itself is about to overwrite, replace or remove after it has read it is put beside the journal first: by a link
where the old file goes away as it is, else by a copy.
"""

from __future__ import annotations

import os
import stat
from typing import Any

import bascule_watch as watch
from bascule_session import BLOBS

OWN = f"{os.sep}.bascule{os.sep}"
MOST_SEEN = 100_000
# A file that changes all the time is told so often.
MOST_VERSIONS = 8
# So many bytes of a file, and of all files of a process, are copied before the process writes over them.
LARGEST_COPY, MOST_COPIED = 1 << 26, 1 << 28

#: What a file was found as: its size, when it was changed (nanoseconds since 1970 UTC), and its number on the disk.
Found = tuple[int, int, int]

_read: dict[str, list[Found]] = {}
_written: set[str] = set()
_copied = [0]
# What SQLite adds to a database's name for what is written and not in the file itself yet.
LOG = "-wal"
# SQLite's files that were opened, with their logs, as they were found; None where there was none.
_databases: dict[str, tuple[Found | None, Found | None]] = {}


def forget() -> None:
    """Begin anew: another watching has begun in this process."""
    _read.clear()
    _written.clear()
    _copied[0] = 0
    _databases.clear()


def end() -> None:
    """Note the databases that are not as they were found."""
    for text, (found, log) in _databases.items():
        if found_as(text) not in (found, None):
            _writes(text)
        now = found_as(text + LOG)
        if now is not None and now[0] and now != log:  # still open: it is in the file when the process has ended
            _writes(text)
            _writes(text + LOG)


def found_as(path: str) -> Found | None:
    """Return what a file is found as; None when it is no file."""
    try:
        about = os.stat(path)
    except (OSError, ValueError):
        return None
    return (about.st_size, about.st_mtime_ns, about.st_ino) if stat.S_ISREG(about.st_mode) else None


def opened(path: object, mode: str | None, flags: int) -> None:
    """Note that a file is about to be opened."""
    if mode is None:
        writes, reads = bool(flags & (os.O_WRONLY | os.O_RDWR)), not flags & os.O_WRONLY
        empties = bool(flags & os.O_TRUNC)
    else:
        writes, reads = any(sign in mode for sign in "wax+"), not any(sign in mode for sign in "wax")
        empties = "w" in mode
    text = place_of(path)
    if text is None:
        return
    if reads and not empties:
        _reads(text)
    if writes:
        keep_read(text)
        _writes(text)


def connected(database: object) -> None:
    """Note that SQLite is about to open a file, by itself. Whether it writes to it is seen at the end.

    What is there counts as read, and is kept: when it is written to, nobody is asked before.
    """
    text = _file_of(database)
    if text is None or text in _databases:
        return
    log = found_as(text + LOG)
    _databases[text] = found_as(text), log
    for one in (text, text + LOG) if log is not None and log[0] else (text,):
        _reads(one)
        keep_read(one)


def _file_of(database: object) -> str | None:
    if isinstance(database, str) and database.startswith("file:"):
        from urllib.parse import unquote, urlsplit  # only where an address is given

        address = urlsplit(database)
        database = "" if "mode=memory" in address.query else unquote(address.path)
    return place_of(database) if database and database not in (":memory:", b":memory:") else None


def moved(source: object, target: object) -> None:
    """Note that a file or a folder is about to get another name: what was there is gone, and what comes was written."""
    to = place_of(target)
    if to is None or isinstance(source, int):
        return
    keep_read(to, goes=True)
    if source is not None and os.path.isdir(source):  # type: ignore[arg-type]
        before = os.path.realpath(os.fsdecode(source)) + os.sep  # type: ignore[arg-type]
        for one in [one for one in _written if one.startswith(before)]:
            _writes(os.path.join(to, one[len(before) :]))
    else:
        _writes(to)


def removed(path: object) -> None:
    """Note that a file is about to be removed: what was read of it is known by its content all the same."""
    text = place_of(path)
    if text is not None:
        keep_read(text, goes=True)


def about_to_write(path: object) -> None:
    """Say that a library is about to write a file below Python."""
    text = place_of(path)
    if text in _read:
        with watch.unwatched():
            keep_read(text)


def noted(path: str, mode: str) -> Found | None:
    """Note a file that a library read or wrote below Python, and return what it was found as."""
    text = place_of(path)
    if mode == "r":
        if text is not None:
            _reads(text)
        versions = _read.get(text or "")
        return versions[-1] if versions else found_as(path)
    if text is not None:
        _writes(text)
    return found_as(path)


def place_of(path: object) -> str | None:
    """Return the whole path of a file of the user's; None for the interpreter's, a package's or a tool's own."""
    if not isinstance(path, str | bytes | os.PathLike):
        return None
    plain = os.fsdecode(path)
    # Most files are the interpreter's and its packages': those are told without a look at the disk.
    if plain.endswith((".pyc", ".so", ".pyd")) or plain.startswith(watch._skipped):
        return None
    text = os.path.realpath(plain)
    # What a workspace keeps is noted as tables.
    return None if text.startswith(watch._skipped) or OWN in text else text


def keep_read(text: str, *, goes: bool = False) -> None:
    """Put a file that was read beside the journal, before it is written over.

    Args:
        goes: it is replaced or removed as a whole, so that a link holds its content.
    """
    versions = _read.get(text)
    if not versions or text in _written or text.endswith(".py"):
        return
    found = found_as(text)
    if found is None or found != versions[0]:  # what is there now is not what was read first
        return
    journal = watch.active()
    if journal is None:
        return
    kept = os.path.join(journal.folder, BLOBS, os.urandom(12).hex())
    try:
        if goes:
            os.link(text, kept)
            _note("r", text, found, kept)
            return
    except OSError:  # on another disk, or one that has no links
        pass
    if found[0] > LARGEST_COPY or _copied[0] + found[0] > MOST_COPIED:
        return
    import shutil  # only when there is something to copy

    try:
        shutil.copyfile(text, kept)
    except OSError:
        return
    _copied[0] += found[0]
    _note("r", text, found, kept)


def _reads(text: str) -> None:
    if text in _written:  # its own work read back is no input
        return
    found = found_as(text)
    if found is None:
        return
    versions = _read.get(text)
    if versions is None:
        if len(_read) >= MOST_SEEN:
            return
        versions = _read[text] = []
    if found not in versions and len(versions) < MOST_VERSIONS:
        versions.append(found)
        _note("r", text, found)


def _writes(text: str) -> None:
    if text not in _written and len(_written) < MOST_SEEN:
        _written.add(text)
        _note("w", text)


def _note(mode: str, text: str, found: Found | None = None, kept: str | None = None) -> None:
    entry: dict[str, Any] = {"kind": "file", "mode": mode, "path": text}
    if found is not None:
        entry["found"] = found
    if kept is not None:
        entry["kept"] = kept
    watch.note(entry)
