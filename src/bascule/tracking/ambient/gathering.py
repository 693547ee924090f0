"""From journals to what is told of runs: batch by batch while a session goes on, and once more at its end."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
from blake3 import blake3

from bascule.capture import module
from bascule.catalog import now
from bascule.errors import BasculeError
from bascule.tracking.ambient.contents import changed, contents_of, unknown
from bascule.tracking.ambient.journal import Block, Entry, records, whole
from bascule.tracking.ambient.kinds import KINDS, ended
from bascule.tracking.ambient.session import Session
from bascule.tracking.ambient.told import LONGEST_NAME, Finished, Told, digest_of_file

_supervise = module("bascule_supervise")
BLOBS: str = module("bascule_session").BLOBS
last_of = module("bascule_session").last_of
# What is only known when all is done: which files were read and never written, and the cells of a notebook in order.
AT_THE_END = ("file", "sources", "cell", "finish", "exit", "exception", "lost")
# Of what was written, with --keep-outputs.
LARGEST_KEPT = 1 << 32
# The lines of what was printed are kept in the store, under this tag.
OUTPUT = "output"


class Batch(msgspec.Struct):
    """A piece of a session's journals, and what it tells.

    Attributes:
        begins, ends: of each journal from where to where the piece goes.
        told: by the run's id.
        exit_code: the command's, once that is known.
        over: whether the session's owner has written its end.
        error: the exception that ended it.
        folder: the project's.
        spool: where files of the session lie.
    """

    begins: dict[str, int] = {}
    ends: dict[str, int] = {}
    told: dict[str, Told] = {}
    exit_code: int | None = None
    over: bool = False
    error: str | None = None
    folder: str = ""
    spool: str = ""

    def of(self, run: str) -> Told:
        """Return what is told of a run."""
        return self.told.setdefault(run, Told(run, self.folder, self.spool))


def batch(session: Session, taken: dict[str, int]) -> Batch:
    """Read on where the records end.

    Args:
        taken: how far each journal is in the records.
    """
    found = Batch(folder=session.header.folder, spool=str(session.folder / BLOBS))
    for part in session.parts():
        begin = taken.get(part.name, 0)
        if part.stat().st_size <= begin:
            continue
        end = begin
        for record, place in records(part, begin):
            end = place
            if isinstance(record, Block):
                _points(found, session.header.run, record)
            else:
                _entry(found, session.header.run, record)
        if end > begin:
            found.begins[part.name], found.ends[part.name] = begin, end
    return found


def closing(session: Session) -> tuple[dict[str, Told], Finished]:
    """Return what is told of a session's run and of those below it when it has ended, and how it ended.

    Beside the files of each the source files, a notebook's cells, and the output of the session's own, which is first.
    """
    run = Told(session.header.run)
    every = {run.id: run}
    seen: dict[str, list[Entry]] = {kind: [] for kind in AT_THE_END}
    for entry in _last(session):
        seen[entry["kind"]].append(entry)
    _lost(run, seen, session)
    files: dict[str, list[Entry]] = {run.id: []}
    for entry in seen["file"]:
        files.setdefault(str(entry.get("run") or run.id), []).append(entry)
    for one, entries in files.items():
        told = every.setdefault(one, Told(one))
        _files(told, entries, session, keeps=session.header.keep_outputs)
    sources = {str(path) for entry in seen["sources"] for path in entry.get("paths", [])}
    if sources:
        run.environment = {"sources": _digests(sources, Path(session.header.folder))}
    if seen["cell"]:
        run.artifact("cells.py", _script(session, seen["cell"]))
    printed = _supervise.kept_output(str(session.folder))
    if printed or (session.folder / "output.0").exists():
        place = session.folder / "output"
        place.write_bytes(printed)
        run.tags({OUTPUT: run.keep(place)})
    codes = [entry["code"] for entry in seen["exit"] if entry.get("code") is not None]
    if codes:
        run.tags({"exit_code": str(codes[-1])})
    return every, _finished(seen)


def _lost(run: Told, seen: dict[str, list[Entry]], session: Session) -> None:
    """Tell what the disk did not take; when it was full at the end, how that was lies beside the journals."""
    lost = sum(int(entry.get("entries") or 0) for entry in seen["lost"])
    if lost:
        run.warn(f"the disk was full: {lost} entries could not be written to the journal, and are lost")
    if not seen["exit"] and (last := last_of(str(session.folder))) is not None:
        seen["exit"].append(last)
        run.warn("the disk was full at the end: what was said last is lost, and was not counted")


def _files(run: Told, entries: list[Entry], session: Session, *, keeps: bool) -> None:
    """Tell of the files that were read and written.

    What was read is told as it was when it was opened first, what was written as it is now; what was written before it
    was read is no input. Code is in the snapshot.
    """
    folder = Path(session.header.folder)
    written: dict[str, int] = {}
    read: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda one: int(one.get("at") or 0)):
        path = str(entry.get("path"))
        if path.endswith(".py"):
            continue
        if entry.get("mode") == "w":
            written.setdefault(path, int(entry.get("at") or 0))
        elif entry.get("mode") == "r" and (path not in written or entry.get("kept")):
            read.setdefault(path, []).append(entry)
    for path, seen in read.items():
        _input(run, path, seen, session)
    for path in written:
        with contextlib.suppress(OSError):
            place = Path(path)
            if place.is_file():
                size = place.stat().st_size
                digest = run.keep(place) if keeps and size <= LARGEST_KEPT else digest_of_file(place)
                run.writes(named(place, folder), digest, size=size)
                if keeps and size > LARGEST_KEPT:
                    run.warn(f"{named(place, folder)} is larger than {LARGEST_KEPT >> 30} GiB: its content is not kept")


def _input(run: Told, path: str, seen: list[Entry], session: Session) -> None:
    contents, name = contents_of(session.folder), named(Path(path), Path(session.header.folder))
    first = seen[0].get("found")
    kept = next((str(one["kept"]) for one in seen if one.get("kept") and one.get("found") == first), None)
    content = contents.content(path, first, kept)
    if content.digest is not None:
        run.reads(name, content.digest, size=content.size)
        if content.kept is not None:
            run.blobs[content.digest] = content.kept
        later = [contents.content(path, one.get("found")).digest for one in seen if one.get("found") != first]
        if any(digest != content.digest for digest in later):
            run.warn(f"{name} was changed and read again: its first version is recorded")
    elif first is not None and Path(path).is_file():
        run.reads(name, unknown(path, first), size=content.size)
        run.warn(changed(name))


def named(path: Path, folder: Path) -> str:
    """Return a file's name: below the project, or whole."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _points(found: Batch, own: str, block: Block) -> None:
    told = [(found.of(run or own).points, name[:LONGEST_NAME]) for run, name in block.names]
    for mark, at, step, value in zip(block.marks, block.times, block.steps, block.values, strict=True):
        points, name = told[mark]
        points.append((name, value, at // 1000, step))


def _entry(found: Batch, own: str, entry: Entry) -> None:
    kind = str(entry.get("kind"))
    run = found.of(str(entry.get("run") or own))
    if kind == "exit":
        found.exit_code, found.over = entry.get("code"), True
    elif kind == "exception":
        found.error = str(entry.get("text"))
        run.environment = {**run.environment, "trace": str(entry.get("trace", "")).splitlines()}
    elif kind == "trace":
        run.environment = {**run.environment, "trace": str(entry.get("text", "")).splitlines()}
    elif kind in KINDS:
        try:
            KINDS[kind](run, entry)
        except (BasculeError, KeyError, TypeError, ValueError, OSError) as error:
            run.warn(f"an entry of the kind {kind!r} is left out: {type(error).__name__}: {error}")


def _finished(seen: dict[str, list[Entry]]) -> Finished:
    """Return how a session ended: as its run was closed, as its command exited, or by what nobody could write down."""
    error = str(seen["exception"][-1].get("text")) if seen["exception"] else None
    own = [entry for entry in seen["finish"] if not entry.get("run")]
    if own:
        return ended(own[-1])
    if not seen["exit"]:
        return Finished("failed", error or "Its process ended without a word: killed, or the machine stopped.", now())
    code, at = seen["exit"][-1].get("code"), int(seen["exit"][-1]["at"])
    if code is None:
        return Finished("failed" if error else "done", error, at)
    if code == -signal.SIGINT:
        return Finished("cancelled", "Interrupted.", at)
    if code < 0 and error is None:
        error = f"Killed by signal {-code}."
    return Finished("failed" if code else "done", error if code else None, at)


def _last(session: Session) -> Iterator[Entry]:
    for part in session.parts():
        for record in whole(part):
            if isinstance(record, dict) and record.get("kind") in AT_THE_END:
                yield record


def _digests(paths: set[str], folder: Path) -> dict[str, str]:
    found = {}
    for text in sorted(paths):
        path = Path(text)
        if path.is_relative_to(folder):
            with contextlib.suppress(OSError):
                found[named(path, folder)] = blake3(path.read_bytes()).hexdigest()
    return found


def _script(session: Session, cells: list[Entry]) -> Path:
    """Write the cells that were executed as one script, in their order."""
    text = []
    for entry in sorted(cells, key=lambda one: int(one.get("order", 0))):
        failed = f"  ({entry['error']})" if entry.get("error") else ""
        text.append(f"# In [{entry.get('order')}]{failed}\n{str(entry.get('source', '')).rstrip()}\n")
    place = session.folder / "cells.py"
    place.write_text("\n\n".join(text), encoding="utf-8")
    return place
