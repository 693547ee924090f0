"""Where content is that the store has already: found by its digest, so that it is neither read nor stored again."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

import msgspec
import numpy as np

from bascule.lake.filesets.entries import CHUNKED, PACKED, Count, Digest, Entry
from bascule.lake.filesets.manifest import Manifest, Ref
from bascule.lake.filesets.packs import read_items
from bascule.lake.filesets.statcache import StatCache

# So many contents of one addition are remembered; what comes twice after that may be stored twice.
MOST = 1_000_000


class Chunk(msgspec.Struct, array_like=True, gc=False):
    """A part of a large file, and the pack that holds it."""

    digest: Digest
    pack: Digest
    offset: Count
    length: Count


Recipe = list[Chunk]
decode_recipe = msgspec.msgpack.Decoder(Recipe).decode
encode_recipe = msgspec.msgpack.Encoder().encode


class KnownContent:
    """Content of the version that an addition starts from, of that addition, and of one that was killed.

    Of the version, eight bytes a file are held.
    """

    def __init__(self, base: Manifest, cache: StatCache) -> None:
        self.base = base
        self._seen: dict[Digest, Entry] = {}
        self._chunks: dict[Digest, Chunk] | None = None
        self._index: _Index | None = None
        self.kept = self._killed(cache)

    def find(self, digest: Digest) -> Entry | None:
        """Return an entry with this content, which says where it is."""
        if (found := self._seen.get(digest)) is not None:
            return found
        if not self.base.value:
            return None
        if self._index is None:
            self._index = _Index(self.base)
        return self._index.find(digest)

    def add(self, entry: Entry) -> None:
        """Know an entry that was stored just now."""
        if len(self._seen) < MOST:
            self._seen[entry.digest] = entry

    def chunk(self, digest: Digest) -> Chunk | None:
        """Return a chunk of any large file that is known."""
        if self._chunks is None:
            self._chunks = {}
            large = (entry for entry in self.base.entries() if entry.how == CHUNKED)
            for _, body in read_items(self.base.store, large, self.base.where):
                self._chunks.update((chunk.digest, chunk) for chunk in decode_recipe(body))
        return self._chunks.get(digest)

    def add_chunk(self, chunk: Chunk) -> None:
        """Know a chunk that was stored just now."""
        if self._chunks is not None and len(self._chunks) < MOST:
            self._chunks[chunk.digest] = chunk

    def _killed(self, cache: StatCache) -> list[Digest]:
        """Take up the packs of additions that were killed, if the store still has them; return all their names."""
        names = []
        for pack, held in cache.packs():
            names.append(pack)
            if self.base.store.renew(pack.hex()):
                for digest, offset, length in held:
                    self._seen[digest] = Entry("", 0, length, digest, PACKED, pack, offset, length)
        return names


class _Index:
    """Finds entries of a manifest by digest."""

    def __init__(self, base: Manifest) -> None:
        self.base = base
        self.segments: list[Ref] = list(base.segments())
        self.firsts = np.cumsum([0, *(ref.files for ref in self.segments)]).tolist()
        prefixes = np.fromiter(self._prefixes(), dtype=np.uint64, count=self.firsts[-1])
        self.order = np.argsort(prefixes, kind="stable").astype(np.uint32)
        self.prefixes = prefixes[self.order]

    def find(self, digest: Digest) -> Entry | None:
        wanted = np.uint64(_prefix(digest))
        at = int(np.searchsorted(self.prefixes, wanted))
        while at < len(self.prefixes) and self.prefixes[at] == wanted:
            place = int(self.order[at])
            segment = bisect_right(self.firsts, place) - 1
            entry: Entry = self.base.entries_of(self.segments[segment])[place - self.firsts[segment]]
            if entry.digest == digest:
                return entry
            at += 1
        return None

    def _prefixes(self) -> Iterator[int]:
        for entry in self.base.entries(self.segments):
            yield _prefix(entry.digest)


def _prefix(digest: Digest) -> int:
    return int.from_bytes(digest[:8], "little")
