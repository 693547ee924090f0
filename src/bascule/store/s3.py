"""Blobs in S3-compatible object storage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from bascule.errors import EnvironmentProblem, NotFound
from bascule.store.blobs import DIGEST_LENGTH, Stored, checked_digest, cut_short, digest_of
from bascule.store.places import ObjectPath

YOUNG_SECONDS = 3600


class S3Store:
    """A blob store below one folder of object storage. An object appears whole or not at all: S3 promises that."""

    def __init__(self, folder: ObjectPath) -> None:
        self.folder = folder
        self.url = str(folder)

    def put(self, data: bytes) -> str:
        digest = digest_of(data)
        if not self._is_whole(digest, len(data)):
            self._place(digest).write_bytes(data)
        return digest

    def put_file(self, path: Path) -> str:
        hasher = blake3()
        try:
            hasher.update_mmap(path)
            size = path.stat().st_size
        except FileNotFoundError:
            raise NotFound("file", str(path)) from None
        digest = hasher.hexdigest()
        if not self._is_whole(digest, size):
            self._place(digest).upload(path)
        return digest

    def get(self, digest: str) -> bytes:
        try:
            data = self._place(digest).read_bytes()
        except FileNotFoundError:
            raise _missing(digest) from None
        if digest_of(data) != digest:
            raise EnvironmentProblem(
                f"The blob {digest[:12]} in {self.url} does not hold what its name says.",
                hint="Restore it from a copy; `bascule doctor --deep` lists all such blobs.",
            )
        return data

    def open(self, digest: str) -> BinaryIO:
        try:
            opened: BinaryIO = self._place(digest).opened()
        except FileNotFoundError:
            raise _missing(digest) from None
        return opened

    def read(self, digest: str, offset: int, length: int) -> bytes:
        with self.open(digest) as blob, self.folder.shelf.bucket.told():
            blob.seek(offset)
            data = blob.read(length)
        if len(data) != length:
            raise cut_short(digest, self.url)
        return data

    def local_path(self, digest: str) -> Path | None:
        return None

    def has(self, digest: str) -> bool:
        return self._place(digest).is_file()

    def size(self, digest: str) -> int:
        try:
            return self._place(digest).stat().st_size
        except FileNotFoundError:
            raise _missing(digest) from None

    def delete(self, digest: str) -> None:
        self._place(digest).unlink(missing_ok=True)

    def digests(self) -> Iterator[str]:
        yield from (path.name for path in self.folder.rglob("*") if len(path.name) == DIGEST_LENGTH)

    def renew(self, digest: str) -> bool:
        return self._is_whole(digest, None)

    def stored(self) -> Iterator[Stored]:
        for path, found in self.folder.listed():
            if len(path.name) == DIGEST_LENGTH:
                yield Stored(path.name, found.st_size, found.st_mtime_ns // 1000)

    def collect(self, digest: str, before: int) -> bool:
        try:
            if self._place(digest).stat().st_mtime_ns // 1000 >= before:
                return False
        except FileNotFoundError:
            return True
        self.delete(digest)
        return True

    def _place(self, digest: str) -> ObjectPath:
        return self.folder / checked_digest(digest)[:2] / digest

    def _is_whole(self, digest: str, size: int | None) -> bool:
        # By size too: what an interrupted upload left under a blob's name must not stand for it for ever. And by age,
        # which cannot be set: an old blob is written again, so that nobody collects it before it is referred to.
        try:
            found = self._place(digest).stat()
        except FileNotFoundError:
            return False
        return size in (None, found.st_size) and time.time() - found.st_mtime_ns / 1e9 < YOUNG_SECONDS


def _missing(digest: str) -> NotFound:
    return NotFound("blob", digest, hint="`bascule doctor` tells what needs it.")
