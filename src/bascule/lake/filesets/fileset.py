"""A file set as its users hold it: by name, at a state of the history."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from blake3 import blake3

from bascule.errors import Busy, InputError, NotFound
from bascule.history import Commit, Workspace, expiry
from bascule.history.commits import Guard, canonical
from bascule.lake.filesets import comparing, merging, reading
from bascule.lake.filesets.adding import Adding
from bascule.lake.filesets.checkout import CheckedOut, Checkout
from bascule.lake.filesets.comparing import FilesDiff
from bascule.lake.filesets.counting import Count
from bascule.lake.filesets.entries import EXECUTABLE, LINK, PREFIX, Entry, Object, checked_name, content_of, path_of
from bascule.lake.filesets.manifest import Manifest, ManifestWriter, manifest_of
from bascule.lake.filesets.patterns import chosen
from bascule.lake.filesets.progress import Tell, silent
from bascule.lake.filesets.results import Added, FileInfo, FilesStatus
from bascule.lake.filesets.statcache import Place, StatCache
from bascule.store import digest_of
from bascule.store.locking import FileLock, Locked

SAMPLE = 20


class FileSet:
    """A set of files: directories of any size, every version of which is an object in the history.

    Args:
        name: the set.
        branch: the branch that additions go to.
        at: the state that is read; the branch when None.
        guard: looks at what is about to land on the branch, and raises to refuse it.
    """

    def __init__(
        self,
        workspace: Workspace,
        name: str,
        branch: str = "main",
        at: str | None = None,
        *,
        guard: Guard | None = None,
    ) -> None:
        self.workspace, self.name, self.branch = workspace, checked_name(name.removeprefix(PREFIX)), branch
        self.ref = at or branch
        self.guard = guard

    def __repr__(self) -> str:
        return f"FileSet({self.name!r}, at={self.ref!r})"

    @cached_property
    def manifest(self) -> Manifest:
        """The version that is read, found when it is first asked for and kept."""
        return self._manifest(self._value(self.ref))

    # Reading ---------------------------------------------------------------------------------------------------------

    def list(self, *patterns: str) -> Iterator[FileInfo]:
        """Iterate over the files, in order, that are meant by a path, a folder or a pattern such as `*.jpg`."""
        for entry in self._entries(patterns):
            yield FileInfo(entry.path, entry.size, entry.digest.hex(), entry.mode == EXECUTABLE, entry.mode == LINK)

    def glob(self, pattern: str = "**") -> Iterator[str]:
        """Iterate over the paths that a pattern means."""
        return (entry.path for entry in self._entries((pattern,)))

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading, without a checkout. What is read is verified.

        Raises:
            NotFound: the set has no such file, with the nearest path.
            EnvironmentProblem: a blob is missing or damaged.
        """
        return reading.open_file(self.workspace.store, self._entry(path), self._where)

    def read(self, path: str) -> bytes:
        """Return the bytes of a file, as `open`."""
        return reading.content(self.workspace.store, self._entry(path), self._where)

    def read_many(self, *patterns: str) -> Iterator[tuple[str, bytes]]:
        """Iterate over paths and bytes of many files; the order is the one in which they are stored.

        The fast way to go through a set: packs are read in large pieces, a few ahead.
        """
        entries = self._entries(patterns)
        return ((e.path, data) for e, data in reading.read_many(self.workspace.store, entries, self._where))

    # Comparing -------------------------------------------------------------------------------------------------------

    def status(self, folder: Path | str | None = None, *, limit: int = SAMPLE, tell: Tell = silent) -> FilesStatus:
        """Return how a folder differs from the set: against the version that it was brought to, else the branch's."""
        with self._cache() as cache:
            root = self._folder(folder, cache)
            place = self._place(root, cache)
            head = self.workspace.history.read(self.branch, path_of(self.name))
            if place is None and head is None:
                self._value(self.branch)
            base = self._manifest(place.value if place else head)
            scope = chosen(place.only) if place else None
            found = comparing.status(root, base, cache, scope=scope, limit=limit, tell=tell)
        behind = place is not None and content_of(place.value) != content_of(head)
        return FilesStatus(root, found, behind, place.only if place else ())

    def diff(self, before: str, after: str | None = None, *patterns: str, limit: int = SAMPLE) -> FilesDiff:
        """Return how two states of the set differ; a state without it has no files."""
        path, history = path_of(self.name), self.workspace.history
        values = [history.read(ref, path) for ref in (before, after or self.branch)]
        if values == [None, None]:
            self._value(before)
        old, new = (self._manifest(value) for value in values)
        return comparing.compare(old, new, limit, chosen(patterns))

    # Changing --------------------------------------------------------------------------------------------------------

    def add(
        self,
        folder: Path | str | None = None,
        *,
        message: str | None = None,
        keep: bool = False,
        tell: Tell = silent,
    ) -> Added:
        """Make what a folder has the next version of the set, and commit it to the branch.

        Only what changed is read and stored. When the branch has another version than the folder was brought to, both
        changes are merged, file by file. It can be killed at any moment and repeated: it goes on.

        Args:
            folder: the folder; the one that the set was last added from or checked out to when None.
            keep: files that the folder does not have stay in the set.

        Raises:
            RefusedPath: the folder has what a set does not hold: a device, a link that leads out, odd names.
            Conflict: the branch changed a file that the folder changed too, or moved meanwhile. Nothing was committed.
        """
        with self._cache() as cache:
            root = self._folder(folder, cache)
            head_digest = self.workspace.history.digest(self.branch, path_of(self.name))
            head = self.workspace.history.object(head_digest) if head_digest else None
            place = self._place(root, cache)
            base = self._manifest(place.value if place else head)
            scope = (lambda path: False) if keep else chosen(place.only) if place else None
            with Count(root, tell is not silent) as count:
                adding = Adding(root, base, cache, scope=scope, tell=tell, of_files=count.files)
                value = adding.run()
            self._refuse_empty(value, root)
            mine = self._manifest(value)
            is_merge = place is not None and content_of(place.value) != content_of(head)
            merged = merging.merge(base, self._manifest(head), mine) if is_merge else value
            if content_of(merged) == content_of(head):
                merged = head
            text = message or f"Add {root.name} to {PREFIX}{self.name}"
            commit = self._commit(merged, head_digest, text)
            adding.settle()
            cache.settle(root, Place(self.name, self.branch, value or {}, place.only if place else ()))
        done = merged or {"files": 0, "bytes": 0}
        found = comparing.compare(self._manifest(head), self._manifest(merged), SAMPLE)
        counted = adding.counted
        return Added(
            commit, not found.empty, found, done["files"], done["bytes"],
            counted.read, counted.read_bytes, counted.stored_bytes, is_merge,
        )  # fmt: skip

    def checkout(
        self,
        folder: Path | str | None = None,
        *,
        only: Sequence[str] = (),
        force: bool = False,
        link: bool = False,
        tell: Tell = silent,
    ) -> CheckedOut:
        """Bring a folder to the state that this set is read at.

        Args:
            folder: where to; the one that the set was last added from or checked out to when None, else its name.
            only: paths, folders or patterns: the other files are neither written nor removed.
            force: overwrite what somebody changed.
            link: make hard links, read-only, where a file is a blob of its own and the store is on the same disk.

        Raises:
            Conflict: somebody changed what would be overwritten; nothing was changed.
            Busy: another checkout into the folder runs.
            EnvironmentProblem: a blob is missing or damaged, or the disk is full; the folder is as it was.
        """
        wanted, select = self.manifest, chosen(only)
        assert wanted.value is not None
        with self._cache() as cache:
            root = self._folder(folder, cache, default=self.name)
            if root.exists() and not root.is_dir():
                raise InputError(f"{root} is no folder.", hint="Name another one.")
            place = self._place(root, cache, any_branch=True)
            base = self._manifest(place.value if place else None)
            with self._locked(root), tempfile.TemporaryFile(dir=self.workspace.temporary_folder) as spool:
                work = Checkout(root, wanted, base, cache, chosen=select, force=force, link=link, tell=tell)
                done = work.run(spool)
                cache.settle(root, self._brought(place, wanted.value, tuple(only)))
        return done

    def write_out(self, folder: Path) -> None:
        """Write all files into a new folder that nothing is kept in mind of, as a checkout would.

        Raises:
            EnvironmentProblem: a blob is missing or damaged, or the disk is full.
        """
        with (
            tempfile.TemporaryDirectory(dir=self.workspace.temporary_folder) as scratch,
            StatCache(Path(scratch) / "cache.db") as cache,
            tempfile.TemporaryFile(dir=scratch) as spool,
        ):
            Checkout(folder, self.manifest, self._manifest(None), cache).run(spool)
        folder.mkdir(parents=True, exist_ok=True)  # an empty set is an empty folder

    def remove(self, *patterns: str, message: str | None = None) -> tuple[Commit, int]:
        """Remove files from the set, or without patterns the set itself, from the branch. No folder is touched.

        Returns:
            The commit, and how many files were removed.
        """
        history, path = self.workspace.history, path_of(self.name)
        head = self._value(self.branch)
        digest = history.digest(self.branch, path)
        base, select = self._manifest(head), chosen(patterns)
        if select is None:
            commit = self._commit(None, digest, message or f"Remove {PREFIX}{self.name}")
            return commit, int(head["files"])
        gone = 0

        def edits() -> Iterator[tuple[str, None]]:
            nonlocal gone
            for entry in base.entries():
                if select(entry.path):
                    gone += 1
                    yield entry.path, None

        value = ManifestWriter(base).write(edits())
        if not gone:
            raise NotFound(
                "file", ", ".join(patterns), where=f"{self.ref} in {PREFIX}{self.name}", hint=self._nearest(patterns[0])
            )
        text = message or f"Remove {', '.join(patterns)} from {PREFIX}{self.name}"
        return self._commit(value, digest, text), gone

    # Inside ----------------------------------------------------------------------------------------------------------

    @property
    def _where(self) -> str:
        return f"{PREFIX}{self.name}"

    def _value(self, ref: str) -> Object:
        """Return the set's object at a state. Raises `NotFound` with the nearest name."""
        found = self.workspace.history.read(ref, path_of(self.name))
        if found is None:
            raise NotFound("file set", self.name, [name for name, _ in file_sets(self.workspace, ref)], where=ref)
        return found

    def _manifest(self, value: Mapping[str, Any] | None) -> Manifest:
        """Return what a version holds. Raises `Expired` when some of it was let go."""
        if value is not None:
            with self.workspace.catalog.read() as conn:
                expiry.refuse(conn, [digest_of(canonical(value))])
        return manifest_of(self.workspace.store, value, self.name)

    def _cache(self) -> StatCache:
        return cache_of(self.workspace)

    def _entries(self, patterns: Sequence[str]) -> Iterator[Entry]:
        select = chosen(patterns)
        if select is None:
            return self.manifest.entries()
        prefix = fixed_prefix(patterns)
        found = self.manifest.below(prefix) if prefix else self.manifest.entries()
        return (entry for entry in found if select(entry.path))

    def _entry(self, path: str) -> Entry:
        found = self.manifest.find(path.removeprefix("./"))
        if found is None:
            raise NotFound("file", path, where=f"{self.ref} in {self._where}", hint=self._nearest(path))
        return found

    def _nearest(self, path: str) -> str:
        from bascule.errors import suggestion

        folder = path.rpartition("/")[0]
        names = (self._some(f"{folder}/") if folder else ()) or self._some("")
        return suggestion(path, names, "file there")

    def _some(self, prefix: str) -> Sequence[str]:
        return [entry.path for entry in islice(self.manifest.below(prefix), 10_000)]

    def _folder(self, folder: Path | str | None, cache: StatCache, default: str = "") -> Path:
        if folder is not None:
            return Path(folder).resolve()
        known = cache.places(self.name)
        if len(known) == 1:
            return known[0]
        if not known and default:
            return Path(default).resolve()
        told = ", ".join(map(str, known)) or "none"
        raise InputError(
            f"Which folder {self._where} means is not said; known for it: {told}.", hint="Name the folder."
        )

    def _place(self, root: Path, cache: StatCache, *, any_branch: bool = False) -> Place | None:
        """Return what a folder was brought to, if that was this set (and this branch) and is in the store still."""
        place = cache.place(root)
        if place is None or place.name != self.name or not place.value:
            return None
        if not any_branch and place.branch != self.branch:
            return None
        return place if self.workspace.store.has(place.value["manifest"]) else None

    def _brought(self, place: Place | None, value: Mapping[str, Any], only: tuple[str, ...]) -> Place:
        """Return what a folder has after a checkout: all of a version, or on top of what it had a part of one."""
        if not only or place is None:
            return Place(self.name, self.branch, dict(value), only)
        return msgspec.structs.replace(place, only=tuple(dict.fromkeys((*place.only, *only))) if place.only else ())

    def _commit(self, value: Object | None, before: str | None, message: str) -> Commit:
        path, history = path_of(self.name), self.workspace.history
        changes, head = {path: value}, history.resolve(self.branch)
        looked_at: Mapping[str, str | None] = {}
        if self.guard is not None and history.read(head, path) != value:
            looked_at = self.guard(head, changes)
        return history.commit(self.branch, changes, message=message, expect={**looked_at, path: before})

    def _refuse_empty(self, value: Object | None, root: Path) -> None:
        if value is None:
            raise InputError(
                f"{root} has no files to add.",
                hint=f"Name another folder; to remove the set: bascule files remove {self.name}",
            )

    @contextmanager
    def _locked(self, root: Path) -> Iterator[None]:
        name = blake3(str(root).encode()).hexdigest()[:16]
        with ExitStack() as held:
            try:
                held.enter_context(FileLock(self.workspace.folder / "files" / f"{name}.lock", str(root)))
            except Locked:
                raise Busy(f"Another checkout into {root} runs.", hint="Wait until it has ended.") from None
            yield


def cache_of(workspace: Workspace) -> StatCache:
    """Return the cache of a workspace."""
    return StatCache(workspace.folder / "files" / "known.db")


def file_sets(workspace: Workspace, ref: str | Commit) -> list[tuple[str, Object]]:
    """Return the sets at a state, by name, with their objects."""
    return [(path.removeprefix(PREFIX), value) for path, value in workspace.history.entries(ref, PREFIX)]


def fixed_prefix(patterns: Sequence[str]) -> str:
    """Return how all paths begin that some patterns can mean."""
    if len(patterns) != 1:
        return ""
    plain = patterns[0].strip("/").removeprefix("./")
    wild = min((plain.find(one) for one in "*?[" if one in plain), default=-1)
    if wild < 0:
        return plain
    return plain[:wild] if "/" in plain else ""
