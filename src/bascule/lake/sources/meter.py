"""How far an ingest is: rows, bytes, and how long the rest takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bascule.lake.rows import Rows
from bascule.lake.sources.discovery import COMPRESSIONS
from bascule.sizes import format_size

EVERY_SECONDS = 2.0
PEEK_BYTES = 1 << 16


class Meter:
    """Counts what goes through, and tells of it every two seconds: nothing of what is over sooner.

    Args:
        paths: the files, in the order in which they come.
    """

    def __init__(self, paths: Sequence[Path], tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._bytes = {path: path.stat().st_size for path in paths}
        self._total = sum(self._bytes.values())
        self._done = 0  # bytes of files that are through
        self._current = 0  # bytes of the one that is read
        self._rows = 0
        self._path: Path | None = None
        self._began = self._told = time.monotonic()

    def counted(self, rows: Rows, path: Path) -> Rows:
        """Return the rows of a file so that they are counted as they are read."""
        for_row = _bytes_of_row(path)
        self._done += self._current if path != self._path else 0  # it may be read a second time
        self._current, self._path = self._bytes[path], path
        of_file = 0

        def count(number: int) -> None:
            nonlocal of_file
            of_file += number
            self._rows += number
            now = time.monotonic()
            if now - self._told >= EVERY_SECONDS:
                self._told = now
                self._say(self._done + min(int(of_file * for_row), self._current), now - self._began)

        rows.count = count
        return rows

    def _say(self, done: int, seconds: float) -> None:
        rate = f"{self._rows:,} rows, {self._rows / seconds:,.0f} rows/s"
        left = f"about {seconds * (self._total - done) / done:,.0f} s left" if done else "time left unknown"
        self._tell(f"{rate}, {format_size(done)} of {format_size(self._total)}, {left}")


def _bytes_of_row(path: Path) -> float:
    """Return about how many bytes of a file a row takes; exact where the file says it, 0 where nothing does."""
    if path.suffix in (".parquet", ".pq"):
        import pyarrow.parquet as pq

        found = pq.read_metadata(path).num_rows
        return path.stat().st_size / found if found else 0.0
    if path.suffix.lower() in COMPRESSIONS:
        return 0.0
    with path.open("rb") as file:
        start = file.read(PEEK_BYTES)
    return len(start) / max(start.count(b"\n"), 1)
