"""How many files there are to come: counted beside the work, so that it can say how long it will take."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType

from bascule.lake.filesets.paths import RESERVED


class Count:
    """Counts the files below a folder in a thread while the block runs.

    Args:
        wanted: whether anybody asks; else nothing is done.
    """

    def __init__(self, folder: Path, wanted: bool) -> None:
        self._counted = 0
        self._is_whole = self._ended = False
        self._thread = threading.Thread(target=self._run, args=(str(folder),), daemon=True) if wanted else None

    def files(self) -> int | None:
        """Return how many files there are, once that is known."""
        return self._counted if self._is_whole else None

    def __enter__(self) -> Count:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        if self._thread is not None:
            self._thread.join()

    def _run(self, folder: str) -> None:
        below = [folder]
        while below and not self._ended:
            try:
                with os.scandir(below.pop()) as entries:
                    for entry in entries:
                        if not entry.is_dir(follow_symlinks=False):
                            self._counted += 1
                        elif entry.name not in RESERVED:
                            below.append(entry.path)
            except OSError:
                continue  # the walk itself tells what is wrong
        self._is_whole = not self._ended
