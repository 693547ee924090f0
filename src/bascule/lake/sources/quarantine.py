"""Records that cannot be read: set aside with file, line and reason when a share of them is tolerated, else refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bascule.errors import InputError

RAW = 2_000  # characters of a record that are kept
MOST = 1_000_000
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Rejected:
    """One record that was set aside.

    Attributes:
        file: the file, or what stands for it.
        line: its line from 1, or its row, or its offset; None when nobody knows.
        reason: why it cannot be read.
        raw: its text, of at most `RAW` characters.
        column: the column that is wrong, if one is.
    """

    file: str
    line: int | None
    reason: str
    raw: str
    column: str = ""

    def __str__(self) -> str:
        return f"{self.file}{f':{self.line}' if self.line else ''}: {self.reason}"


@dataclass(slots=True)
class Quarantine:
    """The records of one ingest that were set aside.

    Attributes:
        share: the greatest share of a file's records, from 0 to 1, that may be.
    """

    share: float = 0.0
    records: list[Rejected] = field(default_factory=list)
    names: dict[Path, str] = field(default_factory=dict)

    def add(self, found: Iterable[Rejected]) -> None:
        """Set records aside.

        Raises:
            InputError: there are more than anybody will look at.
        """
        self.records.extend(found)
        if len(self.records) > MOST:
            raise InputError(
                f"More than {MOST:,} records cannot be read; the first: {self.records[0]}",
                hint="The file is another one than it should be. Nothing of it was taken.",
            )

    def refuse_beyond(self, what: str, rejected: int, rows: int) -> None:
        """Raise `InputError` when more records of a file were set aside than are tolerated.

        Args:
            what: the file.
            rejected, rows: how many of its records were set aside, and how many were read.
        """
        if not rejected or rejected <= self.share * (rejected + rows):
            return
        first = "\n".join(str(one) for one in self.records[-rejected:][:SHOWN])
        part = 100 * rejected / (rejected + rows)
        raise InputError(
            f"{what}: {rejected:,} of {rejected + rows:,} records cannot be read ({part:.3g} %), tolerated are "
            f"{100 * self.share:.3g} %:\n{first}",
            hint="Repair them, or tolerate more; nothing of the file was taken.",
        )


def bounded(text: str | None) -> str:
    """Return a record's text, cut if it is long, without characters that no table holds."""
    shown = (text or "").replace("\x00", "\\x00").rstrip("\r\n")
    return shown if len(shown) <= RAW else f"{shown[:RAW]}…"
