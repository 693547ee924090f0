"""What the verbs of a file set return."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bascule.history import Commit
from bascule.lake.filesets.comparing import FilesDiff


@dataclass(frozen=True)
class Added:
    """What an addition did.

    Attributes:
        commit: the commit that has it; the branch's head when nothing changed.
        diff: what changed in the set.
        files, bytes: what the set has now.
        read, read_bytes: files that were read; the others were known.
        stored_bytes: what the store has more, at most.
        merged: the branch had moved on since the folder was brought to it, and both changes are in.
    """

    commit: Commit
    changed: bool
    diff: FilesDiff
    files: int
    bytes: int
    read: int
    read_bytes: int
    stored_bytes: int
    merged: bool

    def as_dict(self) -> dict[str, Any]:
        """The addition as one JSON object."""
        counts = {name: getattr(self, name) for name in ("files", "bytes", "read", "read_bytes", "stored_bytes")}
        return {
            "commit": self.commit.as_dict(),
            "changed": self.changed,
            "merged": self.merged,
            **counts,
            "diff": self.diff.as_dict(),
        }


@dataclass(frozen=True)
class FilesStatus:
    """How a folder differs from the version of a set that it was brought to.

    Attributes:
        folder: the folder.
        diff: what would be added.
        behind: the branch has another version by now: `checkout` brings it.
        partial: the patterns that the folder's checkout was limited to.
    """

    folder: Path
    diff: FilesDiff
    behind: bool
    partial: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The status as one JSON object."""
        found = {"folder": str(self.folder), "behind": self.behind, "partial": list(self.partial)}
        return {**found, "clean": self.diff.empty, **self.diff.as_dict()}


@dataclass(frozen=True, slots=True)
class FileInfo:
    """One file of a set: `link` says where a link points to; `digest` is BLAKE3 of the content, in hex."""

    path: str
    bytes: int
    digest: str
    executable: bool
    link: bool

    def as_dict(self) -> dict[str, Any]:
        """The file as one JSON object."""
        return {name: getattr(self, name) for name in ("path", "bytes", "digest", "executable", "link")}
