"""Places for named files: a path on this machine's disk, or a path in object storage with the same words.

`pathlib.Path` is one as it is, so a file on disk costs what it always did. `ObjectPath` has the part of its words that
the lake uses, with their meaning: what is not there raises `FileNotFoundError`, a file appears whole or not at all.
"""

from __future__ import annotations

import fnmatch
import os
import stat
import uuid
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeAlias
from urllib.parse import unquote, urlsplit

from blake3 import blake3

from bascule.errors import EnvironmentProblem, InputError

CHUNK = 1 << 20

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import fs

    from bascule.store.buckets import Bucket
    from bascule.store.cache import BlockCache


class Locks(Protocol):
    """Gives a lock by name to all who share a storage: many hold it together, or one alone.

    It is given back when its block ends, or its process does, however it ends. With `wait=False`, `BlockingIOError` is
    raised at once when it cannot be had.
    """

    def __call__(self, name: str, *, exclusive: bool, wait: bool = True) -> AbstractContextManager[None]:
        """Return a context manager that holds the lock."""
        ...


@dataclass(frozen=True, slots=True)
class Stat:
    """What is told of an object: its size in bytes, and when it was written, in nanoseconds since the epoch."""

    st_size: int
    st_mtime_ns: int


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Shelf:
    """An object storage as this process uses it.

    Attributes:
        bucket: the connection.
        temporary: a local folder for files before they are sent.
        cache: keeps blocks of what was read on the local disk.
        locks: the locks of those who share it.
    """

    bucket: Bucket
    temporary: Path
    cache: BlockCache | None = None
    locks: Locks | None = None


@dataclass(frozen=True, slots=True, order=True)
class ObjectPath:
    """A file or a folder in object storage. `str` gives the address that other engines read: `s3://bucket/key`."""

    key: str
    shelf: Shelf = field(repr=False, compare=False)

    def __str__(self) -> str:
        return f"s3://{self.key}"

    def __truediv__(self, part: str | PurePosixPath) -> ObjectPath:
        return ObjectPath(f"{self.key}/{part}", self.shelf)

    @property
    def name(self) -> str:
        """The last part."""
        return self.key.rpartition("/")[2]

    @property
    def parent(self) -> ObjectPath:
        """The folder."""
        return ObjectPath(self.key.rpartition("/")[0], self.shelf)

    def with_name(self, name: str) -> ObjectPath:
        """Return the file of another name beside this one."""
        return self.parent / name

    def as_posix(self) -> str:
        """Return the address."""
        return str(self)

    def is_relative_to(self, other: Place) -> bool:
        """Tell whether this is below a folder, or is it."""
        return isinstance(other, ObjectPath) and f"{self.key}/".startswith(f"{other.key}/")

    def relative_to(self, other: Place) -> PurePosixPath:
        """Return the way from a folder to here; `ValueError` when this is not below it."""
        if not isinstance(other, ObjectPath) or not self.is_relative_to(other):
            raise ValueError(f"{self} is not below {other}")
        return PurePosixPath(self.key[len(other.key) + 1 :])

    def exists(self) -> bool:
        """Tell whether there is such a file, or a folder with something in it."""
        return str(self.shelf.bucket.info(self.key).type.name) != "NotFound"

    def is_file(self) -> bool:
        """Tell whether there is such a file."""
        return str(self.shelf.bucket.info(self.key).type.name) == "File"

    def is_dir(self) -> bool:
        """Tell whether there is a folder with something in it."""
        return str(self.shelf.bucket.info(self.key).type.name) == "Directory"

    def stat(self) -> Stat:
        """Return what is known of the file."""
        return _stat(self.shelf.bucket.file(self.key))

    def read_bytes(self) -> bytes:
        """Return the file's content."""
        return self.shelf.bucket.read(self.key)

    def opened(self) -> pa.NativeFile:
        """Open the file for reading at any position, as Arrow does."""
        return self.shelf.bucket.opened(self.key)

    def write_bytes(self, data: bytes) -> None:
        """Write the file, whole or not at all; it is durable then."""
        self.shelf.bucket.write(self.key, data)

    def upload(self, path: Path) -> None:
        """Give the file a local one's content, whole or not at all; it is durable then."""
        self.shelf.bucket.upload(path, self.key)

    def replace(self, target: ObjectPath) -> ObjectPath:
        """Let this file take another's place: readers see that one's old content or the new. Can be repeated."""
        self.shelf.bucket.copy(self.key, target.key)
        if self.shelf.cache is not None:
            self.shelf.cache.drop(target.key)
        self.unlink()
        return target

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the file, and what the local cache holds of it."""
        try:
            self.shelf.bucket.delete(self.key)
        except FileNotFoundError:
            if not missing_ok:
                raise
        finally:
            if self.shelf.cache is not None:
                self.shelf.cache.drop(self.key)

    def remove_tree(self) -> None:
        """Delete the folder with all that is in it; silent when it is not there."""
        for path in self.rglob("*") if self.shelf.cache is not None else ():
            self.shelf.cache.drop(path.key)  # type: ignore[union-attr]
        self.shelf.bucket.delete_all(self.key)

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a folder is there when a file in it is."""

    def iterdir(self) -> Iterator[ObjectPath]:
        """List the files and folders in this one."""
        for found in self.shelf.bucket.list(self.key):
            yield ObjectPath(found.path, self.shelf)

    def glob(self, pattern: str) -> Iterator[ObjectPath]:
        """List what is in this folder and has a name that fits; only the last part of a pattern may be one."""
        below, _, last = pattern.rpartition("/")
        folder = self / below if below else self
        return (path for path in folder.iterdir() if fnmatch.fnmatchcase(path.name, last))

    def rglob(self, pattern: str) -> Iterator[ObjectPath]:
        """List the files anywhere below this folder that have a name that fits."""
        for path, _ in self.sizes():
            if fnmatch.fnmatchcase(path.name, pattern):
                yield path

    def sizes(self) -> Iterator[tuple[ObjectPath, int]]:
        """List all files below this folder with their sizes: a request for every thousand."""
        return ((path, found.st_size) for path, found in self.listed())

    def listed(self) -> Iterator[tuple[ObjectPath, Stat]]:
        """List all files below this folder with what is known of them: a request for every thousand."""
        for found in self.shelf.bucket.list(self.key, deep=True):
            if found.type.name == "File":
                yield ObjectPath(found.path, self.shelf), _stat(found)


def _stat(found: fs.FileInfo) -> Stat:
    return Stat(int(found.size), int(found.mtime_ns))


Place: TypeAlias = Path | ObjectPath

# What this process has open, so that engines which are given addresses find the way: by bucket and prefix.
_shelves: dict[str, weakref.WeakSet[Shelf]] = {}
# Whether this process may open object storage: only then do engines need the way.
_expected = False


def expect_objects() -> None:
    """Note that this process may open object storage."""
    global _expected
    _expected = True


def expects_objects() -> bool:
    """Tell whether this process may open object storage, or has."""
    return _expected


def shelf_of(key: str) -> Shelf | None:
    """Return the storage that a key lies in, if this process has it open."""
    for root, shelves in list(_shelves.items()):
        if key.startswith(f"{root}/"):
            for shelf in shelves:
                return shelf
    return None


def _opened(shelf: Shelf) -> Shelf:
    expect_objects()
    others = _shelves.setdefault(shelf.bucket.root, weakref.WeakSet())
    if any(other.bucket.query != shelf.bucket.query for other in others):
        raise InputError(
            f"{shelf.bucket.address} is open already, at another service: one of the two would be read for the other.",
            hint="Use another bucket or prefix, or do it in another process.",
        )
    others.add(shelf)
    return shelf


def demand(place: Place) -> None:
    """Raise `EnvironmentProblem` when an object storage does not answer, or cannot be used as this is installed."""
    if isinstance(place, ObjectPath):
        from bascule.store import reading  # noqa: F401

        place.shelf.bucket.demand()


def place_named(address: str) -> Place:
    """Return the place of an address that `str` gave of one.

    Raises:
        InputError: when it is in an object storage that this process has not open.
    """
    if not address.startswith("s3://"):
        return Path(address)
    key = address.removeprefix("s3://")
    shelf = shelf_of(key)
    if shelf is None or ".." in key.split("/"):
        raise InputError(f"{address} is not in an object storage that is open.", hint="Open its workspace first.")
    return ObjectPath(key, shelf)


def below(path: Place, folder: Place) -> str | None:
    """Return the way from a folder to a file in it, with `/` between the parts, or None when it is not in it."""
    if isinstance(path, ObjectPath):
        return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else None
    if isinstance(folder, ObjectPath) or not path.is_relative_to(folder):
        return None
    return path.relative_to(folder).as_posix()


def copy(source: Place, target: Place) -> str:
    """Give a file another's content, streamed, and return its BLAKE3. It appears whole or not at all.

    Raises:
        EnvironmentProblem: when a disk or a storage does not do it.
    """
    hasher = blake3()
    try:
        if isinstance(source, Path) and isinstance(target, ObjectPath):
            hasher.update_mmap(source)
            target.upload(source)
            return hasher.hexdigest()
        folder = target.parent if isinstance(target, Path) else target.shelf.temporary
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f"{target.name}.{uuid.uuid4().hex[:8]}.unfinished"
        try:
            with _reading(source) as given, open(temporary, "xb") as out:
                while chunk := given.read(CHUNK):
                    hasher.update(chunk)
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
            if isinstance(target, ObjectPath):
                target.upload(temporary)
            else:
                os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise EnvironmentProblem(
            f"Cannot copy {source} to {target}: {error.strerror or error}.", hint="Free some space, then repeat."
        ) from error
    return hasher.hexdigest()


def _reading(path: Place) -> BinaryIO | pa.NativeFile:
    return path.opened() if isinstance(path, ObjectPath) else open(path, "rb")


def named(folder: Place, pattern: str) -> list[Place]:
    """Return what is in a folder and has a name that fits, in order."""
    found: list[Place] = [*folder.glob(pattern)]
    return sorted(found, key=str)


def sizes(folder: Place) -> Iterator[tuple[Place, int]]:
    """List all files below a folder with their sizes in bytes; none when there is no such folder."""
    if isinstance(folder, ObjectPath):
        yield from folder.sizes()
        return
    for path in folder.rglob("*"):
        if path.is_file():
            yield path, path.stat().st_size


def listed(folder: Place) -> Iterator[tuple[Place, int, int]]:
    """List all files below a folder: each with its size in bytes, and when it was written, in microseconds.

    A file that goes while they are listed is left out.
    """
    if isinstance(folder, ObjectPath):
        for place, known in folder.listed():
            yield place, known.st_size, known.st_mtime_ns // 1000
        return
    for path in folder.rglob("*"):
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        if stat.S_ISREG(found.st_mode):
            yield path, found.st_size, found.st_mtime_ns // 1000


def open_place(url: str, temporary: Path, *, cache: Path | None = None, locks: Locks | None = None) -> Place:
    """Return the place that a setting names.

    Args:
        url: a folder, `file:///folder`, or `s3://bucket/prefix[?endpoint_override=…&region=…]`.
        temporary: a local folder for files before they are sent; made when it is needed.
        cache: a local folder for blocks of what is read from object storage.
        locks: the locks of those who share an object storage.

    Raises:
        InputError: for any other scheme, or an address that cannot be one.
    """
    parts = urlsplit(url)
    if parts.scheme == "s3":
        from bascule.store.buckets import Bucket
        from bascule.store.cache import BlockCache

        bucket = Bucket(url)
        kept = BlockCache(cache, bucket) if cache is not None else None
        return ObjectPath(bucket.root, _opened(Shelf(bucket, temporary, kept, locks)))
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    if parts.scheme == "" or len(parts.scheme) == 1:  # one letter is a Windows drive
        return Path(url)
    raise InputError(f"No store speaks {parts.scheme!r} (in {url!r}).", hint="Use a folder, file:/// or s3://.")


def locked(place: ObjectPath, *, exclusive: bool, wait: bool = True) -> AbstractContextManager[None]:
    """Hold the lock of a place in object storage for the length of a block."""
    if place.shelf.locks is None:
        raise EnvironmentProblem(f"{place} has no locks.", hint="Open it through its workspace.")
    return place.shelf.locks(place.key, exclusive=exclusive, wait=wait)
