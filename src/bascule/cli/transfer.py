"""An addition or a checkout as a person watches it: files, bytes and the time left, on standard error."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bascule.lake.filesets import Progress

# On a terminal the line is drawn anew so often; in a log a line is written so often.
TERMINAL_SECONDS, LOG_SECONDS = 0.1, 5.0


class Transfer:
    """Call it with each `Progress`; it says something in the first second, and from then on in measure.

    Args:
        quiet: say nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.terminal = sys.stderr.isatty()
        self._begun = time.monotonic()
        self._said = 0.0
        self._line = ""

    def __call__(self, progress: Progress) -> None:
        """Draw the line anew, or write one, if it is time."""
        now = time.monotonic()
        every = TERMINAL_SECONDS if self.terminal else LOG_SECONDS
        if self.quiet or now - self._said < every:
            return
        self._said = now
        line = described(progress, now - self._begun)
        if self.terminal:
            sys.stderr.write(f"\r{line:<{len(self._line)}}")
        else:
            sys.stderr.write(f"  {line}\n")
        sys.stderr.flush()
        self._line = line

    def __enter__(self) -> Transfer:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self.terminal and self._line:
            sys.stderr.write("\r" + " " * len(self._line) + "\r")
            sys.stderr.flush()


def described(progress: Progress, seconds: float) -> str:
    """Return a moment of the work in a line: what is done, how much of how much, how fast, how long it will take."""
    doing, files, size, of_files, of_bytes = progress
    if not files:
        return f"{doing} …"
    parts = [f"{files:,}{f' of {of_files:,}' if of_files else ''} files"]
    parts += [f"{size / 1e6:,.1f} MB"] if size else []
    share = size / of_bytes if of_bytes else files / of_files if of_files else 0.0
    if seconds > 1:
        parts += [f"{size / 1e6 / seconds:,.0f} MB/s"] if size else []
        if 0 < share < 1:
            parts.append(f"{_clock(seconds * (1 - share) / share)} left")
    return f"{doing} {', '.join(parts)}"


def _clock(seconds: float) -> str:
    hours, minutes, rest = int(seconds) // 3600, int(seconds) // 60 % 60, int(seconds) % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
