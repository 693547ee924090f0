"""The protocol of a blob store, and opening one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from blake3 import blake3

from bascule.errors import EnvironmentProblem, InputError
from bascule.store.places import Place, open_place

DIGEST_LENGTH = 64


def digest_of(data: bytes) -> str:
    """Return the name of some bytes: their BLAKE3 digest as 64 lower-case hex characters."""
    return blake3(data).hexdigest()


class Stored(NamedTuple):
    """A blob as a listing tells of it: size in bytes, and when it was last put, in microseconds since the epoch."""

    digest: str
    bytes: int
    modified: int


class BlobStore(Protocol):
    """Immutable bytes by digest.

    Guarantees of every backend: `put` returns only when the blob is durable; a reader sees a blob whole or not at all;
    `get` verifies the content against its name; putting the same bytes twice is one blob, which is as young as if it
    had been put now, so that whoever is about to refer to it need not fear garbage collection.
    """

    url: str

    def put(self, data: bytes) -> str:
        """Store bytes and return their digest. Raises `EnvironmentProblem` when they cannot be written."""
        ...

    def put_file(self, path: Path) -> str:
        """Store a file's content, streaming, and return its digest."""
        ...

    def get(self, digest: str) -> bytes:
        """Return a blob's bytes. Raises `NotFound`, or `EnvironmentProblem` when they do not match the digest."""
        ...

    def open(self, digest: str) -> BinaryIO:
        """Open a blob for reading. Raises `NotFound`."""
        ...

    def read(self, digest: str, offset: int, length: int) -> bytes:
        """Return some bytes of a blob, and nothing else of it is read. They are not verified: nothing names a part.

        Raises:
            NotFound: when there is no such blob.
            EnvironmentProblem: when it ends before them.
        """
        ...

    def local_path(self, digest: str) -> Path | None:
        """Return the blob's path when it lies on this machine's disk, for engines that read files."""
        ...

    def has(self, digest: str) -> bool:
        """Tell whether the blob exists."""
        ...

    def size(self, digest: str) -> int:
        """Return the blob's size in bytes. Raises `NotFound`."""
        ...

    def delete(self, digest: str) -> None:
        """Remove a blob; silent when it does not exist. Only `forget` calls this."""
        ...

    def digests(self) -> Iterator[str]:
        """List every blob, in no particular order."""
        ...

    def renew(self, digest: str) -> bool:
        """Make a blob as young as if it were put now, and tell whether that was done: if not, put it again."""
        ...

    def stored(self) -> Iterator[Stored]:
        """List every blob with its size and when it was last put, in no particular order."""
        ...

    def collect(self, digest: str, before: int) -> bool:
        """Remove a blob unless it was put since, and tell whether it is gone. Putting it again at any moment is safe.

        Args:
            before: microseconds since the epoch.
        """
        ...


def checked_digest(digest: str) -> str:
    """Return the digest if it has the form of one; a name from outside never becomes a path otherwise."""
    if len(digest) != DIGEST_LENGTH or not all(c in "0123456789abcdef" for c in digest):
        raise InputError(f"{digest!r} is not a blob's name.", hint="A name is 64 lower-case hexadecimal characters.")
    return digest


def cut_short(digest: str, url: str) -> EnvironmentProblem:
    """Return the error for a blob that ends before what was asked of it."""
    return EnvironmentProblem(
        f"The blob {digest[:12]} in {url} is shorter than what it should hold: it was cut off.",
        hint="Restore it from a copy; `bascule doctor --deep` lists all such blobs.",
    )


def open_store(place: str | Place) -> BlobStore:
    """Open the store at a place, or at the one that a setting names (see `open_place`).

    Raises:
        InputError: when no store can be there.
    """
    from bascule.store.local import LocalStore

    if isinstance(place, str):
        place = open_place(place, Path(tempfile.gettempdir()))
    if isinstance(place, Path):
        return LocalStore(place)
    from bascule.store.s3 import S3Store

    return S3Store(place)
