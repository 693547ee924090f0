"""Blobs in a folder: `aa/aabbcc…`, written beside their place and renamed into it."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from bascule.errors import EnvironmentProblem, NotFound
from bascule.store.blobs import DIGEST_LENGTH, Stored, checked_digest, cut_short, digest_of

CHUNK = 1 << 20


class LocalStore:
    """A blob store in one folder of a local disk. Safe for any number of processes at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = str(folder)

    def put(self, data: bytes) -> str:
        digest = digest_of(data)
        if not self.renew(digest):
            temporary = self._temporary()
            try:
                with open(temporary, "xb") as out:
                    out.write(data)
                    _settle(out)
                self._publish(temporary, digest)
            except OSError as error:
                raise _cannot_write(self.folder, error) from error
            finally:
                temporary.unlink(missing_ok=True)
        return digest

    def put_file(self, path: Path) -> str:
        """See `BlobStore.put_file`; the file is hashed while it is copied, so it is read once."""
        hasher = blake3()
        temporary = self._temporary()
        try:
            with open(path, "rb") as source, open(temporary, "xb") as out:
                while chunk := source.read(CHUNK):
                    hasher.update(chunk)
                    out.write(chunk)
                _settle(out)
            digest = hasher.hexdigest()
            if not self.renew(digest):
                self._publish(temporary, digest)
        except FileNotFoundError as error:
            raise NotFound("file", str(path)) from error
        except OSError as error:
            raise _cannot_write(self.folder, error) from error
        finally:
            temporary.unlink(missing_ok=True)
        return digest

    def get(self, digest: str) -> bytes:
        with self.open(digest) as blob:
            data = blob.read()
        if digest_of(data) != digest:
            raise EnvironmentProblem(
                f"The blob {digest[:12]} in {self.folder} does not hold what its name says: the disk changed it.",
                hint="Restore it from a copy; `bascule doctor` lists all such blobs.",
            )
        return data

    def open(self, digest: str) -> BinaryIO:
        try:
            return open(self._place(checked_digest(digest)), "rb")
        except FileNotFoundError:
            raise NotFound("blob", digest, hint="`bascule doctor` tells what needs it.") from None

    def read(self, digest: str, offset: int, length: int) -> bytes:
        with self.open(digest) as blob:
            blob.seek(offset)
            data = blob.read(length)
        if len(data) != length:
            raise cut_short(digest, self.url)
        return data

    def local_path(self, digest: str) -> Path | None:
        place = self._place(checked_digest(digest))
        return place if place.exists() else None

    def has(self, digest: str) -> bool:
        return self._place(checked_digest(digest)).exists()

    def size(self, digest: str) -> int:
        try:
            return self._place(checked_digest(digest)).stat().st_size
        except FileNotFoundError:
            raise NotFound("blob", digest) from None

    def delete(self, digest: str) -> None:
        self._place(checked_digest(digest)).unlink(missing_ok=True)

    def digests(self) -> Iterator[str]:
        if not self.folder.exists():
            return
        for shelf in self.folder.iterdir():
            if len(shelf.name) == 2:
                yield from (blob.name for blob in shelf.iterdir() if len(blob.name) == DIGEST_LENGTH)

    def renew(self, digest: str) -> bool:
        try:
            os.utime(self._place(checked_digest(digest)))
        except FileNotFoundError:
            return False
        return True

    def stored(self) -> Iterator[Stored]:
        for digest in self.digests():
            try:
                found = self._place(digest).stat()
            except FileNotFoundError:
                continue
            yield Stored(digest, found.st_size, found.st_mtime_ns // 1000)

    def collect(self, digest: str, before: int) -> bool:
        place = self._place(checked_digest(digest))
        # Taken aside first: whoever puts it from here on writes it anew, and who did before made it young.
        aside = self._temporary()
        try:
            if place.stat().st_mtime_ns // 1000 >= before:
                return False
            os.replace(place, aside)
        except FileNotFoundError:
            return True
        if aside.stat().st_mtime_ns // 1000 >= before:
            os.replace(aside, place)
            return False
        aside.unlink()
        return True

    def unfinished(self) -> Iterator[tuple[Path, int, int]]:
        """List what killed writers left: path, size in bytes, and when it was last written, microseconds."""
        for path in sorted((self.folder / "incoming").glob("*")):
            try:
                found = path.stat()
            except FileNotFoundError:
                continue
            yield path, found.st_size, found.st_mtime_ns // 1000

    def free_bytes(self) -> int:
        """Return how many bytes the disk below the store has left."""
        return shutil.disk_usage(self.folder).free

    def _place(self, digest: str) -> Path:
        return self.folder / digest[:2] / digest

    def _temporary(self) -> Path:
        # Outside the shelves, so that a blob that was cut off by a crash is never listed or read.
        folder = self.folder / "incoming"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot_write(self.folder, error) from error
        return folder / uuid.uuid4().hex

    def _publish(self, temporary: Path, digest: str) -> None:
        place = self._place(digest)
        place.parent.mkdir(exist_ok=True)
        os.replace(temporary, place)
        if hasattr(os, "O_DIRECTORY"):
            folder = os.open(place.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _settle(out: BinaryIO) -> None:
    out.flush()
    os.fsync(out.fileno())


def _cannot_write(folder: Path, error: OSError) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"Cannot write to {folder}: {error.strerror or error}.",
        hint="Free some space or check the rights, then repeat.",
    )
