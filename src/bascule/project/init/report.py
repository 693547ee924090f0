"""What `bascule init` did and assumed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class InitReport:
    """A project that was written.

    Attributes:
        folder: where it was written.
        files: what was written, relative to the folder.
        assumptions: what was assumed about the data, one sentence each, for the user to correct in the files.
        kind: the kind of data.
        task: `binary`, `multiclass` or `regression`; empty for a template, and where nothing is learned.
        label: the label's expression; empty as the task.
        first: commands to be typed before the first `bascule run`, such as the one that gets a template's data; or in
            its place, where a project has nothing for it to do.
    """

    folder: Path
    files: tuple[Path, ...]
    assumptions: tuple[str, ...] = ()
    kind: str = "tabular"
    task: str = ""
    label: str = ""
    first: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """The report as a JSON object."""
        return {
            "folder": str(self.folder),
            "files": [one.as_posix() for one in self.files],
            "assumptions": list(self.assumptions),
            "first": list(self.first),
            "kind": self.kind,
            "task": self.task,
            "label": self.label,
        }
