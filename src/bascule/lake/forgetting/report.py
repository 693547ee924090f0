"""What a forgetting did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ForgottenFile:
    """A data file that held rows of the subject. Digests are of its content before and after; paths are in the lake."""

    path: str
    rows: int
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Rows that left a place outside of the table: an online store, a log."""

    place: str
    rows: int


@dataclass(frozen=True, slots=True)
class ForgetReport:
    """What a forgetting did, or with `dry_run` would do. It holds no value of the subject.

    Attributes:
        id: stands for it in the audit log and in the table's property `bascule.forgotten`; empty when none was made.
        table: the table.
        columns: the columns that the subject was known by.
        files: the data files that were rewritten.
        rows: how many rows left them. A row that several states keep in different files counts in each.
        commits: the ids of the commits whose state had such rows.
        branches: the branches whose head has an object with the new counts now, with the commit that set it.
        elsewhere: what hooks removed.
        dry_run: whether nothing was changed.
    """

    id: str
    table: str
    columns: tuple[str, ...]
    files: tuple[ForgottenFile, ...]
    rows: int
    commits: tuple[str, ...]
    branches: dict[str, str] = field(default_factory=dict)
    elsewhere: tuple[Forgotten, ...] = ()
    dry_run: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return {
            "id": self.id,
            "table": self.table,
            "columns": list(self.columns),
            "rows": self.rows,
            "files": [{"path": f.path, "rows": f.rows, "before": f.before, "after": f.after} for f in self.files],
            "commits": list(self.commits),
            "branches": dict(self.branches),
            "elsewhere": [{"place": place.place, "rows": place.rows} for place in self.elsewhere],
            "dry_run": self.dry_run,
        }
