"""Making the next version of a set from a folder: what changed is read once, hashed, packed and stored.

The walk, the reading and the storing run beside each other; what waits in between is bounded. Small files are read many
at a time by a few threads and put into packs in the order of their paths, so equal folders make equal packs.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from blake3 import blake3

from bascule.errors import InputError
from bascule.lake.filesets.chunks import chunks
from bascule.lake.filesets.comparing import side_by_side
from bascule.lake.filesets.entries import CHUNKED, LINK, PACKED, WHOLE, Digest, Entry, Object
from bascule.lake.filesets.known import Chunk, KnownContent, Recipe, encode_recipe
from bascule.lake.filesets.manifest import Edit, Manifest, ManifestWriter
from bascule.lake.filesets.packs import PackWriter, Placed
from bascule.lake.filesets.progress import Progress, Tell, silent
from bascule.lake.filesets.readers import in_order
from bascule.lake.filesets.scanning import Found, check_rights, read_link, scan
from bascule.lake.filesets.statcache import StatCache, is_settled, same_state
from bascule.store import BlobStore

# Up to SMALL a file goes into a pack, up to LARGE into a blob of its own, above it is cut into chunks.
SMALL, LARGE = 4 << 20, 64 << 20
BATCH_FILES, BATCH_BYTES = 512, 8 << 20
TRIES = 3


@dataclass(slots=True)
class Counted:
    """What an addition did: files and bytes that were read, and bytes that the store has more (at most)."""

    read: int = 0
    read_bytes: int = 0
    stored_bytes: int = 0


@dataclass(slots=True)
class _Read:
    """A file that was read: its digest, and its bytes when they are few."""

    file: Found
    digest: Digest
    data: bytes | None
    stat: os.stat_result | None
    read_at: int


@dataclass(slots=True)
class _Settled:
    """An edit that needs no reading: a file that went, or one whose content is where another entry has it."""

    path: str
    entry: Entry | None = None
    like: Entry | None = None


class Adding:
    """One addition.

    Args:
        folder: the folder, resolved.
        base: the version that it changes.
        scope: tells whether a missing file counts as removed; None means that all do.
    """

    def __init__(
        self,
        folder: Path,
        base: Manifest,
        cache: StatCache,
        *,
        scope: Callable[[str], bool] | None = None,
        tell: Tell = silent,
        of_files: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.folder, self.base, self.cache, self.scope = folder, base, cache, scope
        self.counted = Counted()
        self._tell, self._of_files = tell, of_files
        self._files = self._bytes = 0
        self._known = KnownContent(base, cache)
        self._made: list[Digest] = list(self._known.kept)
        self._stored: deque[tuple[Digest, Sequence[Placed]]] = deque()
        self._ready: list[Edit] = []
        self._waiting: list[Edit] = []
        self._packs = PackWriter(base.store, settled=self._release, stored=lambda d, t: self._stored.append((d, t)))

    def run(self) -> Object | None:
        """Return the object of the next version; None when no file is left.

        Everything that it refers to is durable. When it raises, or is killed, what was stored is found again by the
        next addition of the same folder.
        """
        writer = ManifestWriter(self.base)
        try:
            value = writer.write(self._edits())
            self._packs.finish()
        finally:
            self._packs.close()
            self._keep_packs()
            self.cache.save()
        self.counted.stored_bytes += self._packs.bytes + writer.bytes
        return value

    def settle(self) -> None:
        """Forget what was kept for the case of a kill: the version is in the history."""
        self.cache.drop_packs(self._made)

    # What there is to do ---------------------------------------------------------------------------------------------

    def _work(self) -> Iterator[Found | _Settled]:
        """Iterate over what differs: files to read, and edits that need no reading."""
        for file, entry in side_by_side(scan(self.folder, self.cache), self.base.entries()):
            if file is None:
                assert entry is not None
                if self.scope is None or self.scope(entry.path):
                    yield _Settled(entry.path)
                continue
            self._files += 1
            self._bytes += file.size
            if file.digest is None:
                yield file
            elif entry is None or entry.digest != file.digest:
                known = self._known.find(file.digest)
                yield file if known is None else _again(file, file.digest, known)
            elif entry.mode != file.mode:
                yield _again(file, file.digest, entry)

    def _tasks(self) -> Iterator[list[Found | _Settled]]:
        """Gather the work into tasks: many small files, or a larger one alone."""
        task: list[Found | _Settled] = []
        size = 0
        for one in self._work():
            is_small = isinstance(one, _Settled) or one.size <= SMALL
            if task and (not is_small or len(task) >= BATCH_FILES or size >= BATCH_BYTES):
                yield task
                task, size = [], 0
            task.append(one)
            size += one.size if isinstance(one, Found) else 0
            if not is_small:
                yield task
                task, size = [], 0
        if task:
            yield task

    def _edits(self) -> Iterator[Edit]:
        """Do the tasks and iterate over the edits, in order, each when it is known where its bytes are."""
        work = partial(_read_all, str(self.folder), self.base.store)
        for done in in_order(self._tasks(), work, _is_large):
            self._take(done)
            yield from self._given()
        self._packs.close_pack()
        self._release(())
        yield from self._given()

    def _given(self) -> Iterator[Edit]:
        ready, self._ready = self._ready, []
        self._keep_packs()
        self._tell(Progress("Adding", self._files, self._bytes, self._of_files()))
        return iter(ready)

    # What was done ---------------------------------------------------------------------------------------------------

    def _take(self, done: Sequence[_Read | _Settled]) -> None:
        for one in done:
            if isinstance(one, _Settled):
                if one.entry is not None and one.like is not None:
                    self._packs.again(one.entry, one.like)
                self._waiting.append((one.path, one.entry))
                continue
            self.counted.read += 1
            self.counted.read_bytes += one.file.size
            entry = self._entry(one)
            if one.stat is not None and is_settled(one.stat, one.read_at):
                parent, _, name = f"{self.folder}/{one.file.path}".rpartition("/")
                self.cache.remember(parent, name, one.stat, one.digest)
            self._waiting.append((entry.path, entry))

    def _entry(self, one: _Read) -> Entry:
        file = one.file
        if file.mode != LINK and one.data is None and file.size > LARGE:
            return self._large(file)
        size = len(one.data) if one.data is not None else one.stat.st_size if one.stat else file.size
        entry = Entry(file.path, file.mode, size, one.digest)
        if one.data is None:
            entry.how = WHOLE
            self.counted.stored_bytes += size
        elif one.data:
            known = self._known.find(one.digest)
            if known is not None:
                entry.how = known.how
                self._packs.again(entry, known)
                return entry
            self._packs.add(one.data, entry)
            self._known.add(entry)
        return entry

    def _large(self, file: Found) -> Entry:
        """Store a large file's new chunks and its recipe."""
        path, read_at = f"{self.folder}/{file.path}", time.time_ns()
        whole, recipe, size = blake3(), Recipe(), 0
        try:
            with open(path, "rb") as source:
                before = os.fstat(source.fileno())
                for data in chunks(source):
                    whole.update(data)
                    size += len(data)
                    recipe.append(self._chunk(data))
                    self._tell(Progress("Adding", self._files, self._bytes - file.size + size, self._of_files()))
                after = os.fstat(source.fileno())
        except OSError as error:
            raise check_rights(path, error) from error
        unchanged(path, before, after)
        entry = Entry(file.path, file.mode, size, whole.digest(), CHUNKED)
        if is_settled(after, read_at):
            parent, _, name = path.rpartition("/")
            self.cache.remember(parent, name, after, entry.digest)
        known = self._known.find(entry.digest)
        if known is not None and known.how == CHUNKED:
            self._packs.again(entry, known)
            return entry
        # A recipe names the packs of its chunks, so those are named before.
        self._packs.close_pack()
        self._packs.add(encode_recipe(recipe), entry)
        self._known.add(entry)
        return entry

    def _chunk(self, data: bytes) -> Chunk:
        digest = blake3(data).digest()
        chunk = self._known.chunk(digest)
        if chunk is None:
            chunk = Chunk(digest, b"", 0, 0)
            self._packs.add(data, chunk)
            self._known.add_chunk(chunk)
        return chunk

    def _release(self, _: Sequence[Placed]) -> None:
        # A pack was closed, so all that waits is in a pack that has a name.
        self._ready += self._waiting
        self._waiting = []

    def _keep_packs(self) -> None:
        while self._stored:
            digest, things = self._stored.popleft()
            held = [(t.digest, t.offset, t.length) for t in things if isinstance(t, Entry) and t.how == PACKED]
            if held:
                self.cache.keep_pack(digest, held)
                self._made.append(digest)


def _read_all(folder: str, store: BlobStore, task: Sequence[Found | _Settled]) -> list[_Read | _Settled]:
    return [one if isinstance(one, _Settled) else _read(f"{folder}/{one.path}", one, store) for one in task]


def _is_large(task: Sequence[Found | _Settled]) -> bool:
    return isinstance(task[0], Found) and task[0].size > SMALL


def _read(path: str, file: Found, store: BlobStore) -> _Read:
    """Read one file. A larger one goes into the store at once; the largest is left to be cut into chunks."""
    read_at = time.time_ns()
    try:
        if file.mode == LINK:
            data = read_link(path)
            return _Read(file, blake3(data).digest(), data, None, read_at)
        if file.size > LARGE:
            return _Read(file, b"", None, None, read_at)
        if file.size > SMALL:
            before = os.stat(path)
            digest = bytes.fromhex(store.put_file(Path(path)))
            after = os.stat(path)
            unchanged(path, before, after)
            return _Read(file, digest, None, after, read_at)
        data, after = _whole(path, file.stat)
    except OSError as error:
        raise check_rights(path, error) from error
    return _Read(file, blake3(data).digest(), data, after, read_at)


def _whole(path: str, before: os.stat_result) -> tuple[bytes, os.stat_result]:
    """Return the bytes of a file in one state; `before` is what the walk saw of it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        for _ in range(TRIES):
            data = os.read(handle, before.st_size + 1)
            after = os.fstat(handle)
            if len(data) == after.st_size and same_state(before, after):
                return data, after
            os.lseek(handle, 0, os.SEEK_SET)
            before, last = after, before
    finally:
        os.close(handle)
    unchanged(path, last, after)
    raise InputError(f"{path} cannot be read whole.", hint="Check the disk, then repeat.")


def _again(file: Found, digest: Digest, like: Entry) -> _Settled:
    return _Settled(file.path, Entry(file.path, file.mode, file.size, digest, like.how), like)


def unchanged(path: str, before: os.stat_result, after: os.stat_result) -> None:
    """Raise `InputError` when a file was written to while it was read."""
    if not same_state(before, after):
        raise InputError(
            f"{path} changed while it was read. Nothing was committed.",
            hint="Repeat when nobody writes to it; what was read already is not read again.",
        )
