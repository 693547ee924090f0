"""Whether everything that the history says of tables is there, and what is there that nothing says."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from sqlalchemy import select

from bascule.catalog.schema import commits
from bascule.errors import BasculeError
from bascule.history import Commit, Workspace, expiry
from bascule.lake import journal, moved, objects, records, seen
from bascule.lake.iceberg import files
from bascule.lake.iceberg.datafiles import content_of
from bascule.lake.iceberg.manifests import DATA, DELETED
from bascule.lake.iceberg.metadata import Snapshot
from bascule.lake.iceberg.tables import LOCK, TURN, Table
from bascule.lake.objects import Object
from bascule.store import Place
from bascule.store.places import below, sizes


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is missing or damaged: the table, the file, and what is wrong with it."""

    table: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"Table {self.table}, {self.path}: {self.message}."


@dataclass(frozen=True, slots=True)
class Orphan:
    """A file in the lake that no state refers to: a killed writer's, or one's that is writing now."""

    path: str
    bytes: int


@dataclass(frozen=True, slots=True)
class LakeReport:
    """What a look through the lake found.

    Attributes:
        states: how many states of tables were looked at.
        files: how many files they refer to.
        bytes: how large those are.
        problems: what is wrong; none when the lake is whole.
        orphans: what could be deleted; nothing of tables of which a document cannot be read.
        expired: how many states are not looked at, as their data were let go.
    """

    states: int
    files: int
    bytes: int
    problems: tuple[Problem, ...]
    orphans: tuple[Orphan, ...]
    expired: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong. Orphans are nothing wrong."""
        return not self.problems


@dataclass(slots=True)
class _Look:
    lake: Place
    deep: bool
    there: dict[Place, int]
    sizes: dict[Place, int] = field(default_factory=dict)
    manifests: set[Place] = field(default_factory=set)
    problems: dict[Problem, None] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)  # folders of tables of which not every document could be read

    def state(self, name: str, value: Object, *, recent: bool = False) -> None:
        """Look at a state of a table; with `recent`, also at those that its document still names."""
        try:
            table = objects.load(value, self.lake, name)
            self.file(name, table.path, None)
            snapshot = table.snapshot
            number = snapshot["snapshot-id"] if snapshot else None
            if number != value["snapshot_id"] or table.metadata["table-uuid"] != value["uuid"]:
                self.bad(name, table.path, "it describes another state than the history says")
            for part in (*seen.paths(table), *moved.paths(table)):
                self.file(name, table.folder / "metadata" / part, None)
            if snapshot is not None:
                self.snapshot(name, table, snapshot)
            if recent:
                for past in table.metadata["snapshots"]:
                    self.snapshot(name, table, past)
                for entry in table.metadata["metadata-log"]:
                    self.file(name, table.resolve(entry["metadata-file"]), None)
        except BasculeError as error:
            self.unreadable(name, objects.document_of(value, self.lake), error.message)

    def snapshot(self, name: str, table: Table, snapshot: Snapshot) -> None:
        if "manifest-list" in snapshot:
            self.file(name, table.resolve(snapshot["manifest-list"]), None)
        for manifest in table.manifests(snapshot, fresh=True):
            path = table.resolve(manifest["manifest_path"])
            if path in self.manifests:
                continue
            self.manifests.add(path)
            self.file(name, path, manifest.get("manifest_length"))
            try:
                entries = table.entries(manifest, fresh=True)
            except BasculeError as error:
                self.unreadable(name, path, error.message)
                continue
            for entry in entries:
                if entry["status"] != DELETED:
                    record = entry["data_file"]
                    place = table.resolve(record["file_path"])
                    self.file(name, place, record["file_size_in_bytes"])
                    if self.deep and record["content"] == DATA:
                        self.digest(name, place, content_of(record))

    def file(self, name: str, path: Place, size: int | None) -> None:
        if path not in self.sizes:
            try:
                # A listing tells of a thousand files at once; only one that came after it is asked for alone.
                self.sizes[path] = self.there[path] if path in self.there else path.stat().st_size
            except OSError as error:
                self.sizes[path] = 0
                self.bad(name, path, f"it is missing or cannot be read: {error.strerror}")
                return
        if size is not None and self.sizes[path] not in (0, size):
            self.bad(name, path, f"it should have {size} bytes and has {self.sizes[path]}")

    def digest(self, name: str, path: Place, content: str) -> None:
        if len(content) == 64 and self.sizes.get(path) and files.digest(path) != content:
            self.bad(name, path, "its content is not what its name says: the disk changed it")

    def unreadable(self, name: str, path: Place, message: str) -> None:
        self.unread.add((below(path, self.lake) or "").partition("/")[0])
        self.bad(name, path, message)

    def bad(self, name: str, path: Place, message: str) -> None:
        place = below(path, self.lake) or str(path)
        self.problems[Problem(name, place, message)] = None


def check(workspace: Workspace, *, deep: bool = False) -> LakeReport:
    """Look whether every table of every commit, and every record table, is whole, and list what nothing refers to.

    Args:
        deep: also read every data file that Bascule wrote and compare its content with its name.
    """
    there = dict(sizes(workspace.lake_folder))
    look = _Look(workspace.lake_folder, deep, there)
    with workspace.catalog.read() as conn:
        expired = expiry.every(conn, expiry.STATE)
    every = list(_states(workspace))
    states = [(name, value) for digest, name, value in every if digest not in expired]
    for name, value in states:
        look.state(name, value)
    kept = records.names(workspace)
    for name in kept:
        _look_at_records(look, workspace, name)
    # What a damaged document led to is nobody's garbage.
    found = _orphans(workspace.lake_folder, there, look.sizes)
    orphans = tuple(one for one in found if one.path.partition("/")[0] not in look.unread)
    size = sum(look.sizes.values())
    gone = len(every) - len(states)
    return LakeReport(len(states) + len(kept), len(look.sizes), size, tuple(look.problems), orphans, gone)


def last_whole(workspace: Workspace, name: str, branch: str, bad: Collection[str]) -> Commit | None:
    """Return the youngest commit of a branch with a state of a table to which no bad file belongs; None for no such.

    Args:
        bad: paths of files in the lake, as `Problem` has them.
    """
    history, path = workspace.history, objects.path_of(name)
    with workspace.catalog.read() as conn:
        expired = expiry.every(conn, expiry.STATE)
    for commit in history.log(branch, path=path, first_parent=True):
        digest = history.digest(commit, path)
        if digest is None or digest in expired:
            continue
        needed = _needed(history.object(digest), name, workspace.lake_folder)
        if not any(below(place, workspace.lake_folder) in bad for place in needed):
            return commit
    return None


def _needed(value: Object, name: str, lake: Place) -> Iterator[Place]:
    """Iterate over the files of a state, each before what it leads to: whoever stops at a bad one reads none of it."""
    yield objects.document_of(value, lake)
    table = objects.load(value, lake, name)
    if table.snapshot is None:
        return
    if "manifest-list" in table.snapshot:
        yield table.resolve(table.snapshot["manifest-list"])
    for manifest in table.manifests(fresh=True):
        yield table.resolve(manifest["manifest_path"])
        for entry in table.entries(manifest, fresh=True):
            if entry["status"] != DELETED:
                yield table.resolve(entry["data_file"]["file_path"])


def _look_at_records(look: _Look, workspace: Workspace, name: str) -> None:
    """Look at a record table. Its writers let go of old states at once: what was missing is looked for without them."""
    newest = records.object_of(workspace, name)
    if newest is None:
        return
    before, known, manifests = dict(look.problems), dict(look.sizes), set(look.manifests)
    look.state(name, newest, recent=True)
    if look.problems == before:
        return
    with files.locked(objects.folder_of(newest, look.lake) / LOCK, exclusive=True):
        newest, look.problems, look.sizes, look.manifests = (
            records.object_of(workspace, name),
            before,
            known,
            manifests,
        )
        if newest is not None:
            look.state(name, newest, recent=True)


def settle(workspace: Workspace) -> tuple[str, ...]:
    """Finish what killed forgettings had begun to rename and delete, so that every state is whole again.

    Returns:
        The folders of tables whose forgetting has yet to be repeated: only that reaches the places beside the table
        and leaves the proof. One that runs now is left alone.
    """
    unfinished = []
    for folder in _folders(workspace.lake_folder):
        if journal.found(folder) is None:
            continue
        try:
            with files.locked(folder / LOCK, exclusive=True, wait=False):
                journal.replay(folder)
                if journal.found(folder) is not None:
                    unfinished.append(folder.name)
        except BlockingIOError:
            continue
    return tuple(unfinished)


def _states(workspace: Workspace) -> Iterator[tuple[str, str, Object]]:
    history = workspace.history
    with workspace.catalog.read() as conn:
        found = conn.execute(select(commits.c.id, commits.c.root)).all()
    roots = {row.root: row.id for row in found}
    digests: dict[str, str] = {}
    for commit in roots.values():
        for path, digest in history.digests(history.commit_by_id(commit), objects.PREFIX).items():
            digests.setdefault(digest, path.removeprefix(objects.PREFIX))
    for digest, name in digests.items():
        yield digest, name, history.object(digest)


def _folders(lake: Place) -> list[Place]:
    return sorted((folder for folder in lake.iterdir() if folder.is_dir()), key=str) if lake.exists() else []


def _orphans(lake: Place, there: Mapping[Place, int], known: Iterable[Place]) -> Iterator[Orphan]:
    expected = set(known)
    for path, size in sorted(there.items(), key=lambda pair: str(pair[0])):
        way = below(path, lake) or ""
        if "/" in way and path not in expected and path.name not in (LOCK, TURN):
            yield Orphan(way, size)
