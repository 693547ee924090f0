"""What an ingestion did: the files that it saw, and what became of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bascule.history import Commit
from bascule.lake.objects import Object
from bascule.lake.sources import Rejected


@dataclass(frozen=True, slots=True)
class IngestedFile:
    """What became of one file: its rows were taken in, or it was skipped because its content was taken in before.

    Attributes:
        rejected: how many of its records were set aside.
        origin, version: where it came from, and what its origin said of it; see `seen.Source`.
    """

    path: Path
    digest: str
    rows: int
    status: Literal["ingested", "skipped"]
    name: str = ""
    rejected: int = 0
    origin: str = ""
    version: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The file as one JSON object."""
        told: dict[str, Any] = {"file": self.name or self.path.name, "rows": self.rows, "status": self.status}
        more = {"rejected": self.rejected, "origin": self.origin, "version": dict(self.version)}
        return {**told, **{name: value for name, value in more.items() if value}}


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingest did.

    Attributes:
        table: the table's name.
        files: what became of each file.
        rows: how many rows were taken in.
        value: the table's object afterwards.
        commit: the commit that it made; None when there was nothing to do, or it was only staged.
        assumed: what the files left open, and how it was read, a sentence each.
        rejected: the records that were set aside.
        columns: the columns that the files have.
    """

    table: str
    files: tuple[IngestedFile, ...]
    rows: int
    value: Object
    commit: Commit | None = None
    assumed: tuple[str, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    columns: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything was taken in."""
        return any(file.status == "ingested" for file in self.files)


def noted(file: IngestedFile) -> dict[str, Any]:
    """Return what a commit says of a file that it brought."""
    told = file.as_dict()
    del told["status"]
    return {**told, "digest": file.digest}
