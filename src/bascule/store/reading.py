"""Object storage as DuckDB reads it: through Python, block by block, only below what this process has opened."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from bascule.errors import MissingExtra
from bascule.store.cache import BlockCache, is_immutable
from bascule.store.places import Shelf, shelf_of

try:
    from fsspec import AbstractFileSystem
except ModuleNotFoundError as missing:
    raise MissingExtra("Reading tables in object storage", "s3") from missing

# What never changes was never modified: DuckDB asks, to know whether what it has in memory still holds.
ALWAYS = datetime(2000, 1, 1, tzinfo=UTC)


class ReadOnlyObjects(AbstractFileSystem):  # type: ignore[misc]
    """An fsspec file system for `s3://` that reads what lies below the places that are open, and nothing else."""

    protocol = "s3"
    cachable = False

    def open(self, path: str, mode: str = "rb", **_: Any) -> io.RawIOBase:
        """Open an object for reading."""
        if mode not in ("r", "rb"):
            raise PermissionError(f"{path}: tables are written through the lake only")
        key, shelf = self._find(path)
        if shelf.cache is not None and is_immutable(key):
            cache: BlockCache = shelf.cache
            return _Reader(cache.size(key), lambda start, count: cache.read(key, start, count))
        source = shelf.bucket.opened(key)
        return _Reader(source.size(), lambda start, count: bytes(source.read_at(count, start)))

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return an object's size."""
        key, shelf = self._find(path)
        cached = shelf.cache is not None and is_immutable(key)
        size = shelf.cache.size(key) if shelf.cache is not None and cached else shelf.bucket.size(key)
        return {"name": path, "size": size, "type": "file"}

    def modified(self, path: str) -> datetime:
        """Return when an object changed."""
        key, shelf = self._find(path)
        if is_immutable(key):
            return ALWAYS
        found: datetime = shelf.bucket.info(key).mtime
        return found

    def exists(self, path: str, **_: Any) -> bool:
        """Tell whether there is such an object."""
        try:
            return bool(self.info(path))
        except FileNotFoundError:
            return False

    isfile = exists

    def glob(self, path: str, **_: Any) -> list[str]:
        """Return the path itself: a scan names its files one by one."""
        return [path]

    def _find(self, path: str) -> tuple[str, Shelf]:
        key = path.removeprefix("s3://")
        shelf = shelf_of(key)
        if shelf is None or ".." in key.split("/"):
            raise FileNotFoundError(2, "Not below an open place", path)
        return key, shelf


class _Reader(io.RawIOBase):
    """An object that several threads read: DuckDB gives them one handle, and each seeks and then reads.

    Every thread has its own position, because another one may come between its two calls.
    """

    def __init__(self, size: int, read_at: Callable[[int, int], bytes]) -> None:
        self.size = size
        self._read_at = read_at
        self._at: dict[int, int] = {}

    def read(self, count: int = -1) -> bytes:
        thread = threading.get_ident()
        start = self._at.get(thread, 0)
        data = self._read_at(start, count if count >= 0 else max(self.size - start, 0))
        self._at[thread] = start + len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        thread = threading.get_ident()
        found = self._at[thread] = offset + (0, self._at.get(thread, 0), self.size)[whence]
        return found

    def tell(self) -> int:
        return self._at.get(threading.get_ident(), 0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True
