"""Deleting what is not needed: table by table under its lock, after another look at what was committed since."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select

from bascule.catalog.schema import commits
from bascule.durations import UNITS
from bascule.history import Workspace
from bascule.lake import journal, objects, records
from bascule.lake.iceberg import files
from bascule.lake.iceberg.tables import LOCK, TURN
from bascule.lake.maintenance import listing
from bascule.lake.maintenance.deciding import Decision
from bascule.lake.maintenance.listing import Found
from bascule.lake.maintenance.marking import Marked
from bascule.lake.maintenance.reaching import Facts, Library, Reached
from bascule.lake.maintenance.telling import Tell
from bascule.store import Place, Stored

BLOBS = "blobs"
AT_ONCE = 500  # files that are deleted before writers of the table get their turn again
LOCK_SECONDS = 10.0
TRIES = 20
# Transactions take seconds: one that began so long before the decision has ended when it is made.
OVERLAP = UNITS["h"]


@dataclass(frozen=True, slots=True)
class Collected:
    """What went of one kind, or would: `data`, `metadata` or `unfinished` of a table, or `blobs` of the store.

    Who collects beside the lake adds `artifacts`, and `streams`: logs of deleted branches, by stream.
    """

    kind: str
    table: str
    files: int
    bytes: int


@dataclass(slots=True)
class Sweep:
    """A sweep while it goes on.

    Attributes:
        before: files that were written since stay; microseconds since the epoch.
        kept, waiting: files and bytes that are needed, and that are not but are too young to go.
        skipped: tables of which nothing was deleted, each with why.
    """

    workspace: Workspace
    library: Library
    decision: Decision
    before: int
    dry_run: bool
    kept: list[int] = field(default_factory=lambda: [0, 0])
    waiting: list[int] = field(default_factory=lambda: [0, 0])
    skipped: dict[str, str] = field(default_factory=dict)
    _marked: Marked = field(init=False)
    _counted: Counter[tuple[str, str]] = field(default_factory=Counter)
    _sizes: Counter[tuple[str, str]] = field(default_factory=Counter)

    def mark(self, tell: Tell) -> None:
        """Find the files that the live states lead to."""
        self._marked = Marked(self.workspace.lake_folder)
        for at, (location, name) in enumerate(self.decision.tables.items()):
            if at % 100 == 0:
                tell("reading what states need", at, len(self.decision.tables))
            self._marked.state(location, name)
        self._mark_records()

    def table(self, folder: Place, found: Sequence[Found]) -> None:
        """Delete what no state needs of a table's files."""
        name = listing.table_of(folder)
        if folder in self._marked.damaged:
            self.skipped[name] = self._marked.damaged[folder]
            return
        needed = self._marked.files.get(folder, set())
        old = [one for one in found if self._is_due(one, one.path in needed)]
        if self.dry_run:
            for one in old:
                self._count(listing.kind_of(one.path, folder), name, one)
            return
        # What leads to others goes first, so that whoever asks for a state that expired is told so.
        old.sort(key=lambda one: _rank(one.path))
        for start in range(0, len(old), AT_ONCE):
            with _alone_in(folder) as free:
                if not free or not self._may_delete(folder):
                    self.skipped[name] = self._marked.damaged.get(folder, "others were at work in it all the time")
                    return
                self._delete(folder, name, old[start : start + AT_ONCE])
        if all(one.modified < self.before for one in found):
            self._remove_if_empty(folder)

    def blobs(self, stored: Sequence[Stored]) -> None:
        """Delete the blobs that no object and no record needs."""
        needed = self.decision.blobs
        if not self.dry_run:
            needed |= self.library.needed({digest: facts for digest, facts, _ in self._fresh()})
        for blob in stored:
            one = Found(Path(blob.digest), blob.bytes, blob.modified)
            if not self._is_due(one, blob.digest in needed):
                continue
            if self.dry_run or self.workspace.store.collect(blob.digest, self.before):
                self._count(BLOBS, "", one)

    def left(self, found: Sequence[Found]) -> None:
        """Delete what killed commands left outside of the lake."""
        for one in found:
            if self._is_due(one, False):
                if not self.dry_run:
                    _unlink(one.path)
                self._count(listing.LEFT, "", one)

    def collected(self) -> tuple[Collected, ...]:
        """Return what went, the largest first."""
        rows = [Collected(*key, count, self._sizes[key]) for key, count in self._counted.items()]
        return tuple(sorted(rows, key=lambda row: (-row.bytes, row.table, row.kind)))

    # Inside ----------------------------------------------------------------------------------------------------------

    def _is_due(self, one: Found, needed: bool) -> bool:
        if not needed and one.modified < self.before:
            return True
        tally = self.kept if needed else self.waiting
        tally[0] += 1
        tally[1] += one.bytes
        return False

    def _may_delete(self, folder: Place) -> bool:
        """Look again at what is needed, while nobody writes here: who was writing when it was decided has landed."""
        if journal.found(folder) is not None:
            return False
        for _, facts, name in self._fresh():
            if facts.location:
                self._marked.state(facts.location, name)
        self._mark_records(folder)
        return folder not in self._marked.damaged

    def _fresh(self) -> Iterator[tuple[str, Facts, str]]:
        """Yield the objects that were committed after it was decided: digest, what it leads to, a name that it has."""
        query = select(commits.c.id, commits.c.root).where(commits.c.created_at >= self.decision.at - OVERLAP)
        with self.workspace.catalog.read() as conn:
            roots = [row.root for row in conn.execute(query) if row.id not in self.decision.commits]
            fresh = Reached().walk(conn, self.library, roots, self.decision.live)
            found = list(self.library.facts(conn, fresh))
        for digest, facts in found:
            yield digest, facts, min(fresh[digest]).partition("/")[2]

    def _mark_records(self, only: Place | None = None) -> None:
        """Mark the files of record tables, or of the one that lies in a folder."""
        for name in records.names(self.workspace):
            for _ in range(TRIES):
                value = records.object_of(self.workspace, name)
                folder = objects.folder_of(value, self._marked.lake) if value is not None else None
                if value is None or folder is None or (only is not None and only != folder):
                    break
                self._marked.state(value["metadata_location"], name, recent=True)
                if folder not in self._marked.damaged or records.object_of(self.workspace, name) == value:
                    break
                del self._marked.damaged[folder]  # a writer went on meanwhile, and let go of what was just read

    def _delete(self, folder: Place, name: str, part: Sequence[Found]) -> None:
        needed = self._marked.files.get(folder, set())
        for one in part:
            if one.path not in needed:
                _unlink(one.path)
                self._count(listing.kind_of(one.path, folder), name, one)

    def _count(self, kind: str, table: str, one: Found) -> None:
        self._counted[kind, table] += 1
        self._sizes[kind, table] += one.bytes

    def _remove_if_empty(self, folder: Place) -> None:
        """Remove a folder that has nothing any more. Nobody comes back to it: its name is used once."""
        if not isinstance(folder, Path):  # in object storage a folder is gone when its files are
            return
        if folder.stat().st_mtime_ns // 1000 >= self.before or next(listing.files(folder), None) is not None:
            return
        for name in (LOCK, TURN):
            (folder / name).unlink(missing_ok=True)
        with suppress(OSError):
            for path in (folder / "data", folder / "metadata", folder):
                if path.exists():
                    path.rmdir()


def _unlink(path: Place) -> None:
    with files.told(path):
        path.unlink(missing_ok=True)


def _rank(path: Place) -> tuple[int, str]:
    """Return when a file goes: documents, then lists, then manifests, then data."""
    if path.parent.name != listing.METADATA:
        return 3, str(path)
    name = path.name
    return 0 if name.endswith(".metadata.json") else 1 if name.startswith("snap-") else 2, str(path)


@contextmanager
def _alone_in(folder: Place) -> Iterator[bool]:
    """Hold a table's folder alone for a block, and tell whether that came about: writers may keep it for long."""
    until = time.monotonic() + LOCK_SECONDS
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(files.locked(folder / LOCK, exclusive=True, wait=False))
                free = True
                break
            except BlockingIOError:
                free = False
                if time.monotonic() >= until:
                    break
                time.sleep(0.02)
        yield free
