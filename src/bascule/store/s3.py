"""Blobs in S3-compatible object storage, through Arrow's own client (no further package is needed)."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3
from pyarrow import ArrowException, fs

from bascule.errors import EnvironmentProblem, InputError, NotFound
from bascule.store.blobs import DIGEST_LENGTH, Stored, checked_digest, digest_of

CHUNK = 1 << 20
YOUNG_SECONDS = 3600


class S3Store:
    """A blob store below one prefix of a bucket. An object appears whole or not at all: S3 promises that itself."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._files, self._prefix = fs.FileSystem.from_uri(url)
        except (ArrowException, OSError) as error:
            raise InputError(
                f"Cannot use {url!r} as object storage: {error}",
                hint="Write s3://BUCKET/PREFIX, with endpoint_override=URL for a service of your own.",
            ) from error

    def put(self, data: bytes) -> str:
        digest = digest_of(data)
        if not self._is_young(digest):
            self._write(digest, io.BytesIO(data))
        return digest

    def put_file(self, path: Path) -> str:
        hasher = blake3()
        try:
            hasher.update_mmap(path)
        except FileNotFoundError:
            raise NotFound("file", str(path)) from None
        digest = hasher.hexdigest()
        if not self._is_young(digest):
            with open(path, "rb") as source:
                self._write(digest, source)
        return digest

    def get(self, digest: str) -> bytes:
        with self.open(digest) as blob:
            data = blob.read()
        if digest_of(data) != digest:
            raise EnvironmentProblem(
                f"The blob {digest[:12]} in {self.url} does not hold what its name says.",
                hint="Restore it from a copy; `bascule doctor --deep` lists all such blobs.",
            )
        return data

    def open(self, digest: str) -> BinaryIO:
        place = self._place(digest)
        try:
            opened: BinaryIO = self._files.open_input_file(place)
            return opened
        except FileNotFoundError:
            raise NotFound("blob", digest, hint="`bascule doctor` tells what needs it.") from None
        except OSError as error:
            raise self._unreachable(error) from error

    def local_path(self, digest: str) -> Path | None:
        return None

    def has(self, digest: str) -> bool:
        return bool(self._info(digest).type == fs.FileType.File)

    def size(self, digest: str) -> int:
        info = self._info(digest)
        if info.type != fs.FileType.File:
            raise NotFound("blob", digest)
        return int(info.size)

    def delete(self, digest: str) -> None:
        try:
            self._files.delete_file(self._place(digest))
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unreachable(error) from error

    def digests(self) -> Iterator[str]:
        selector = fs.FileSelector(self._prefix, recursive=True, allow_not_found=True)
        for info in self._files.get_file_info(selector):
            if info.type == fs.FileType.File and len(info.base_name) == DIGEST_LENGTH:
                yield info.base_name

    def stored(self) -> Iterator[Stored]:
        selector = fs.FileSelector(self._prefix, recursive=True, allow_not_found=True)
        for info in self._files.get_file_info(selector):
            if info.type == fs.FileType.File and len(info.base_name) == DIGEST_LENGTH:
                yield Stored(info.base_name, int(info.size), int(info.mtime_ns) // 1000)

    def collect(self, digest: str, before: int) -> bool:
        info = self._info(digest)
        if info.type != fs.FileType.File:
            return True
        if info.mtime_ns // 1000 >= before:
            return False
        self.delete(digest)
        return True

    def _is_young(self, digest: str) -> bool:
        # An object's age cannot be set: one that is not young is written again, which makes it so.
        info = self._info(digest)
        return bool(info.type == fs.FileType.File and time.time() - info.mtime_ns / 1e9 < YOUNG_SECONDS)

    def _place(self, digest: str) -> str:
        return f"{self._prefix}/{digest[:2]}/{checked_digest(digest)}"

    def _info(self, digest: str) -> fs.FileInfo:
        try:
            return self._files.get_file_info(self._place(digest))
        except OSError as error:
            raise self._unreachable(error) from error

    def _write(self, digest: str, source: BinaryIO) -> None:
        try:
            with self._files.open_output_stream(self._place(digest)) as out:
                while chunk := source.read(CHUNK):
                    out.write(chunk)
        except OSError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: OSError) -> EnvironmentProblem:
        return EnvironmentProblem(
            f"Object storage {self.url.split('?')[0]} does not answer as it should: {error}",
            hint="Check the address, the bucket and the credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY).",
        )
