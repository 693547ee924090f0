"""A bounded cache of blocks on the local disk, for files in object storage that never change.

Data files are named by their content, so a block that was read once is right for ever, and no request asks whether it
still is. What a query does not read is not fetched, and a block may go at any time: it is fetched again.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

if TYPE_CHECKING:
    import pyarrow as pa

    from bascule.store.buckets import Bucket

BLOCK = 1 << 20
AT_ONCE = 32  # blocks of one request, at most
READERS = 16
SMALL = 4 * BLOCK
OPEN_FILES = 128
FRESH_SECONDS = 600  # a block that is read again within this time is not noted anew as read
GIGABYTES = "BASCULE_CACHE_GB"
USUAL_GIGABYTES = 10.0
CONTENT_NAMED = re.compile(r"^[0-9a-f]{64}-[0-9a-f]{8}\.parquet$")


def is_immutable(key: str) -> bool:
    """Tell whether a key's last part says the content, as the names of data files do."""
    return CONTENT_NAMED.match(key.rpartition("/")[2]) is not None


class BlockCache:
    """Reads immutable objects by way of blocks in a folder. Safe for any number of threads and processes.

    Args:
        folder: where blocks lie, one folder a file; made when it is needed.
        bucket: where they come from.
        limit: how many bytes stay, nearly; the blocks that were not read for the longest time go first.
    """

    def __init__(self, folder: Path, bucket: Bucket, limit: int | None = None) -> None:
        self.folder = folder
        self.bucket = bucket
        self.limit = limit if limit is not None else int(float(os.environ.get(GIGABYTES) or USUAL_GIGABYTES) * 1e9)
        self.heeded = float("-inf")  # when it was last told what to let go of
        self._sizes: dict[str, int] = {}
        self._after: dict[str, tuple[int, int]] = {}  # where the last request of an object ended, and its blocks
        self._open: OrderedDict[str, pa.NativeFile] = OrderedDict()
        self._lock = threading.Lock()
        self._fetched: int | None = None  # bytes since the last look at what there is; None before the first

    def size(self, key: str) -> int:
        """Return an object's size in bytes; `FileNotFoundError` when there is none."""
        known = self._sizes.get(key)
        if known is None:
            note = self._folder(key) / "size"
            try:
                known = int(note.read_text("ascii"))
            except (OSError, ValueError):
                known = int(self._handle(key).size())
                self._keep(note, str(known).encode())
            self._sizes[key] = known
        return known

    def read(self, key: str, start: int, count: int) -> bytes:
        """Return some bytes of an object, fewer where it ends."""
        size = self.size(key)
        end = min(start + count, size)
        if end <= start:
            return b""
        parts: list[bytes] = []
        number, last = start // BLOCK, (end - 1) // BLOCK
        while number <= last:
            low, high = max(start - number * BLOCK, 0), min(end - number * BLOCK, BLOCK)
            found = self._kept(key, number, size, low, high)
            if found is not None:
                parts.append(found)
                number += 1
                continue
            for block in self._fetch(key, number, last, size):
                low, high = max(start - number * BLOCK, 0), min(end - number * BLOCK, BLOCK)
                parts.append(block[low:high])
                number += 1
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def warm(self, keys: Iterable[str]) -> None:
        """Fetch small objects, and of others the last block, where Parquet has its footer, many at once.

        Failures show when they are read.
        """

        def fetch(key: str) -> None:
            with suppress(Exception):
                size = self.size(key)
                self.read(key, 0 if size <= SMALL else size - 1, size)

        cold = [key for key in keys if is_immutable(key) and key not in self._sizes]
        if len(cold) > 1:
            with ThreadPoolExecutor(READERS, thread_name_prefix="bascule-cache") as readers:
                list(readers.map(fetch, cold))

    def whole(self, key: str, mark: str) -> bytes:
        """Return the content of a small object that never changes while something else is `mark`."""
        path = self._folder(key) / f"whole-{blake3(mark.encode()).hexdigest()[:16]}"
        try:
            return path.read_bytes()
        except OSError:
            data = self.bucket.read(key)
        self._keep(path, data)
        self._count(len(data))
        return data

    def drop(self, key: str) -> None:
        """Forget an object that was deleted."""
        with self._lock:
            self._open.pop(key, None)
        self._sizes.pop(key, None)
        self._after.pop(key, None)
        folder = self._folder(key)
        with suppress(OSError):
            for block in list(folder.iterdir()):
                block.unlink(missing_ok=True)
            folder.rmdir()

    def drop_named(self, names: Iterable[str]) -> None:
        """Forget objects by the last part of their keys, wherever they lay."""
        for name in names:
            self.drop(name)

    def drop_wholes(self) -> None:
        """Forget all objects that `whole` gave."""
        for path in self.folder.glob("??/*/whole-*"):
            path.unlink(missing_ok=True)

    # Inside ----------------------------------------------------------------------------------------------------------

    def _folder(self, key: str) -> Path:
        name = key.rpartition("/")[2]
        return self.folder / name[:2] / name

    def _kept(self, key: str, number: int, size: int, low: int, high: int) -> bytes | None:
        path = self._folder(key) / str(number)
        try:
            with open(path, "rb", buffering=0) as block:
                status = os.fstat(block.fileno())
                if status.st_size != min(BLOCK, size - number * BLOCK):  # cut by a crash: it is fetched again
                    return None
                if time.time() - status.st_mtime > FRESH_SECONDS:
                    os.utime(path)
                block.seek(low)
                return block.read(high - low)
        except OSError:
            return None

    def _fetch(self, key: str, first: int, last: int, size: int) -> Iterator[bytes]:
        folder = self._folder(key)
        end, until = first + 1, min(max(last, first + self._ahead(key, first) - 1), (size - 1) // BLOCK)
        while end <= until and end - first < AT_ONCE and not (folder / str(end)).exists():
            end += 1
        self._after[key] = (end, end - first)
        with self.bucket.told():
            data = bytes(self._handle(key).read_at(min(end * BLOCK, size) - first * BLOCK, first * BLOCK))
        blocks = [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]
        for number, block in enumerate(blocks, first):
            self._keep(folder / str(number), block)
        self._count(len(data))
        yield from blocks[: last - first + 1]

    def _ahead(self, key: str, first: int) -> int:
        """Return how many blocks to ask for: twice as many each time that one goes on where the last ended."""
        end, count = self._after.get(key, (None, 0))
        return min(2 * count, AT_ONCE) if end == first else 1

    def _handle(self, key: str) -> pa.NativeFile:
        with self._lock:
            known = self._open.get(key)
            if known is not None:
                self._open.move_to_end(key)
                return known
        opened = self.bucket.opened(key)
        with self._lock:
            self._open[key] = opened
            while len(self._open) > OPEN_FILES:
                self._open.popitem(last=False)
        return opened

    def _keep(self, path: Path, data: bytes) -> None:
        temporary = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            os.replace(temporary, path)
        except OSError:  # a full disk only makes reading slower
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _count(self, fetched: int) -> None:
        with self._lock:
            due = self._fetched is None or self._fetched > self.limit // 20
            self._fetched = 0 if due else (self._fetched or 0) + fetched
        if due:
            self._shrink()

    def _shrink(self) -> None:
        blocks = []
        for path in self.folder.glob("??/*/*"):
            with suppress(OSError):  # another process removed it
                status = path.stat()
                blocks.append((status.st_mtime_ns, status.st_size, path))
        excess = sum(size for _, size, _ in blocks) - self.limit
        for _, size, path in sorted(blocks):
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            excess -= size
