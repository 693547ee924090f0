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

from bascule.lake.filesets import readers
from bascule.lake.filesets.chunks import chunks
from bascule.lake.filesets.comparing import side_by_side
from bascule.lake.filesets.entries import CHUNKED, PACKED, WHOLE, Digest, Entry, Object
from bascule.lake.filesets.known import Chunk, KnownContent, Recipe, encode_recipe
from bascule.lake.filesets.manifest import Edit, Manifest, ManifestWriter
from bascule.lake.filesets.packs import PackWriter, Placed
from bascule.lake.filesets.progress import Progress, Tell, silent
from bascule.lake.filesets.readers import Read, Settled, in_order, read_files, unchanged
from bascule.lake.filesets.scanning import Found, check_rights, scan
from bascule.lake.filesets.statcache import StatCache, is_settled, known_of

BATCH_FILES, BATCH_BYTES = 512, 8 << 20


@dataclass(slots=True)
class Counted:
    """What an addition did: files and bytes that were read, and bytes that the store has more (at most)."""

    read: int = 0
    read_bytes: int = 0
    stored_bytes: int = 0


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
        self.counted, self._root = Counted(), str(folder)
        self._tell, self._of_files = tell, of_files
        self._files = self._bytes = 0
        self._known = KnownContent(base, cache)
        self._made: list[Digest] = list(self._known.kept)
        # Edits wait until their packs have names: the newest ones for the open pack, others for one that is stored.
        self._ready: list[Edit] = []
        self._newest: list[Edit] = []
        self._closed: deque[list[Edit]] = deque()
        self._packs = PackWriter(base.store, closed=self._close, named=self._name)

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
            self.cache.save()
        self.counted.stored_bytes += self._packs.bytes + writer.bytes
        return value

    def settle(self) -> None:
        """Forget what was kept for the case of a kill: the version is in the history."""
        self.cache.drop_packs(self._made)

    # What there is to do ---------------------------------------------------------------------------------------------

    def _work(self) -> Iterator[Found | Settled]:
        """Iterate over what differs: files to read, and edits that need no reading."""
        for file, entry in side_by_side(scan(self.folder, self.cache), self.base.entries()):
            if file is None:
                assert entry is not None
                if self.scope is None or self.scope(entry.path):
                    yield Settled(entry.path)
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

    def _tasks(self) -> Iterator[list[Found | Settled]]:
        """Gather the work into tasks: many small files, or a larger one alone."""
        task: list[Found | Settled] = []
        size = 0
        for one in self._work():
            is_small = isinstance(one, Settled) or one.size <= readers.SMALL
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
        work = partial(read_files, str(self.folder), self.base.store)
        for done in in_order(self._tasks(), work, _is_large):
            self._take(done)
            yield from self._given()
        self._packs.finish()
        self._ready += self._newest
        self._newest = []
        yield from self._given()

    def _given(self) -> Iterator[Edit]:
        ready, self._ready = self._ready, []
        self._tell(Progress("Adding", self._files, self._bytes, self._of_files()))
        return iter(ready)

    # What was done ---------------------------------------------------------------------------------------------------

    def _take(self, done: Sequence[Read | Settled]) -> None:
        for one in done:
            if isinstance(one, Settled):
                if one.entry is not None and one.like is not None:
                    self._packs.again(one.entry, one.like)
                self._newest.append((one.path, one.entry))
                continue
            self.counted.read += 1
            self.counted.read_bytes += one.file.size
            entry = self._entry(one)
            if one.known is not None:
                folder, _, name = one.file.path.rpartition("/")
                self.cache.remember(f"{self._root}/{folder}" if folder else self._root, name, one.known)
            self._newest.append((entry.path, entry))

    def _entry(self, one: Read) -> Entry:
        file = one.file
        if not one.digest:
            return self._large(file)
        entry = Entry(file.path, file.mode, one.size, one.digest)
        if one.data is None:
            entry.how = WHOLE
            self.counted.stored_bytes += one.size
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
            self.cache.remember(parent, name, known_of(after, entry.digest))
        known = self._known.find(entry.digest)
        if known is not None and known.how == CHUNKED:
            self._packs.again(entry, known)
            return entry
        # A recipe names the packs of its chunks, so those are named before.
        self._packs.finish()
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

    def _close(self) -> None:
        self._closed.append(self._newest)
        self._newest = []

    def _name(self, pack: Digest, things: Sequence[Placed]) -> None:
        self._ready += self._closed.popleft()
        held = [(t.digest, t.offset, t.length) for t in things if isinstance(t, Entry) and t.how == PACKED]
        if held:
            self.cache.keep_pack(pack, held)
            self._made.append(pack)


def _is_large(task: Sequence[Found | Settled]) -> bool:
    return isinstance(task[0], Found) and task[0].size > readers.SMALL


def _again(file: Found, digest: Digest, like: Entry) -> Settled:
    return Settled(file.path, Entry(file.path, file.mode, file.size, digest, like.how), like)
