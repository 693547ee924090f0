"""What verbs are bound to: a project, its workspace and the current branch."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from bascule.history import Workspace
    from bascule.project import ProjectFile
    from bascule.project.place import Place


class Asked(NamedTuple):
    """What was said of where to work: the folder, and the workspace and the branch if they were named."""

    start: Path
    workspace: str | None = None
    branch: str | None = None


class Bound:
    """What the verbs are bound to: a place with its project file and its workspace, opened when first asked for."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.asked.start)!r})"

    @cached_property
    def place(self) -> Place:
        """Where a verb works."""
        from bascule.project.place import Place

        return Place(*self.asked)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back the connections to the workspace; the next verb opens them anew."""
        if "place" in self.__dict__:
            self.place.close()

    @property
    def folder(self) -> Path:
        """The project's folder."""
        return self.place.folder

    @property
    def file(self) -> ProjectFile:
        """The project file, read and checked."""
        return self.place.file

    @property
    def workspace(self) -> Workspace:
        """The workspace."""
        return self.place.workspace
