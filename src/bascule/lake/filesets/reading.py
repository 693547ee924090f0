"""The content of a set's files, by path, without a checkout."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
from blake3 import blake3

from bascule.errors import EnvironmentProblem, NotFound
from bascule.lake.filesets.entries import CHUNKED, PACKED, WHOLE, Entry
from bascule.lake.filesets.known import Chunk, decode_recipe
from bascule.lake.filesets.packs import damaged, missing, read_items, read_span
from bascule.store import BlobStore

# So many files are ordered by where they are before they are read.
WINDOW = 20_000


def content(store: BlobStore, entry: Entry, where: str) -> bytes:
    """Return the bytes of a file, verified.

    Raises:
        EnvironmentProblem: a blob is missing or does not hold what was stored.
    """
    if entry.how == PACKED:
        return verified(store, entry, read_span(store, entry.pack, entry.offset, entry.length, where), where)
    return b"".join(pieces(store, entry, where))


def pieces(store: BlobStore, entry: Entry, where: str) -> Iterator[bytes]:
    """Iterate over the bytes of a file of any size. The last piece is followed by an error if they were not right."""
    hasher = blake3()
    for data in _pieces(store, entry, where):
        hasher.update(data)
        yield data
    if hasher.digest() != entry.digest:
        raise damaged(repr(entry.path), entry.pack or entry.digest, where, store)


def _pieces(store: BlobStore, entry: Entry, where: str) -> Iterator[bytes]:
    if entry.how == WHOLE:
        try:
            with store.open(entry.digest.hex()) as blob:
                while data := blob.read(1 << 20):
                    yield data
        except NotFound:
            raise missing(entry.digest, f"{where}, file {entry.path!r},", store) from None
    elif entry.how == CHUNKED:
        for _, data in read_items(store, recipe(store, entry, where), where):
            yield data
    else:
        yield read_span(store, entry.pack, entry.offset, entry.length, where)


def recipe(store: BlobStore, entry: Entry, where: str) -> list[Chunk]:
    """Return the chunks of a large file, in order."""
    body = read_span(store, entry.pack, entry.offset, entry.length, where)
    try:
        found = decode_recipe(body)
    except msgspec.DecodeError:
        found = []
    if sum(chunk.length for chunk in found) != entry.size:
        raise damaged(f"The list of chunks of {entry.path!r}", entry.pack, where, store)
    return found


def verified(store: BlobStore, entry: Entry, data: bytes, where: str) -> bytes:
    """Return a file's bytes if they are what was stored."""
    if blake3(data).digest() != entry.digest:
        raise damaged(repr(entry.path), entry.pack or entry.digest, where, store)
    return data


def open_file(store: BlobStore, entry: Entry, where: str) -> BinaryIO:
    """Open a file for reading, seekable. Of a chunked one, the chunks that are read are fetched, each verified."""
    if entry.how == CHUNKED:
        return io.BufferedReader(_Chunked(store, entry, where), 1 << 20)
    if (path := whole_blob(store, entry, where)) is not None:
        return open(path, "rb")
    return io.BytesIO(content(store, entry, where))


def read_many(store: BlobStore, entries: Iterable[Entry], where: str) -> Iterator[tuple[Entry, bytes]]:
    """Iterate over small files and their bytes, verified; within a window in the order in which they lie in packs.

    A pack is read in few large pieces, so a store is not asked for every file.
    """
    for window in windows(entries):
        packed = sorted((e for e in window if e.how == PACKED), key=lambda e: (e.pack, e.offset))
        for entry, data in read_items(store, packed, where):
            yield entry, verified(store, entry, data, where)
        for entry in window:
            if entry.how != PACKED:
                yield entry, content(store, entry, where)


def windows(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Divide entries into lists that are not too long to hold."""
    window: list[Entry] = []
    for entry in entries:
        window.append(entry)
        if len(window) >= WINDOW:
            yield window
            window = []
    if window:
        yield window


class _Chunked(io.RawIOBase):
    """A large file, of which one chunk is held."""

    def __init__(self, store: BlobStore, entry: Entry, where: str) -> None:
        self.store, self.entry, self.where = store, entry, where
        self.chunks = recipe(store, entry, where)
        self.begins = [0]
        for chunk in self.chunks:
            self.begins.append(self.begins[-1] + chunk.length)
        self.place, self.held, self.data = 0, -1, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.entry.size}[whence]
        if base + offset < 0:
            raise ValueError("a place before the beginning of a file")
        self.place = base + offset
        return self.place

    def readinto(self, buffer: object) -> int:
        target = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        if self.place >= self.entry.size:
            return 0
        number = bisect_right(self.begins, self.place) - 1
        if number != self.held:
            chunk = self.chunks[number]
            data = read_span(self.store, chunk.pack, chunk.offset, chunk.length, self.where)
            if blake3(data).digest() != chunk.digest:
                raise damaged(repr(self.entry.path), chunk.pack, self.where, self.store)
            self.held, self.data = number, data
        begin = self.place - self.begins[number]
        part = self.data[begin : begin + len(target)]
        target[: len(part)] = part
        self.place += len(part)
        return len(part)


def whole_blob(store: BlobStore, entry: Entry, where: str) -> Path | None:
    """Return where the blob of a file lies on this disk, if it has one of its own that is what was stored."""
    if entry.how != WHOLE:
        return None
    path = store.local_path(entry.digest.hex())
    if path is None:
        return None
    hasher = blake3(max_threads=blake3.AUTO)
    try:
        hasher.update_mmap(path)
    except OSError as error:
        raise EnvironmentProblem(f"{path} cannot be read: {error.strerror}.", hint="Check the disk.") from error
    if hasher.digest() != entry.digest:
        raise damaged(repr(entry.path), entry.digest, where, store)
    return path
