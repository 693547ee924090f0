"""The options that commands share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, Token

if TYPE_CHECKING:
    from bascule.verbs import OpenProject

MOST = 2**31 - 1


def _whole(least: int, most: int) -> Callable[[type, Sequence[Token]], int]:
    """Return what reads a whole number between two bounds, and nothing that only could be made one (`1.5`, `1e9`)."""

    def read(_: type, tokens: Sequence[Token]) -> int:
        text = tokens[0].value
        if not re.fullmatch(r"[+-]?[0-9]{1,20}", text) or not least <= int(text) <= most:
            raise ValueError(f"{text[:40]!r} is not a whole number from {least} to {most}.")
        return int(text)

    return read


#: Counts of things to show: none of them is below zero, and most have no use for zero.
AtLeastOne = Annotated[int, Parameter(converter=_whole(1, MOST), n_tokens=1)]
NotNegative = Annotated[int, Parameter(converter=_whole(0, MOST), n_tokens=1)]
Port = Annotated[int, Parameter(converter=_whole(0, 65_535), n_tokens=1)]

Limit = Annotated[AtLeastOne, Parameter(name=["--limit", "-n"], help="At most so many.")]


@Parameter(name="*")
@dataclass(frozen=True)
class Form:
    """The one option that every command has.

    Attributes:
        json: print one JSON document on standard output and nothing else there.
    """

    json: Annotated[bool, Parameter(help="Print one JSON document and nothing else.", negative="")] = False


@Parameter(name="*")
@dataclass(frozen=True)
class Common(Form):
    """Options of every command that works on a project.

    Attributes:
        project: the project's folder, when it is not the one you stand in.
        workspace: the workspace's folder; BASCULE_WORKSPACE does the same.
        branch: the branch to work on, when it is not the current one; BASCULE_BRANCH does the same.
    """

    project: Annotated[Path | None, Parameter(help="The project's folder, if not this one.")] = None
    workspace: Annotated[str | None, Parameter(help="The workspace's folder.")] = None
    branch: Annotated[str | None, Parameter(name=["--branch", "-b"], help="The branch, if not the current one.")] = None

    def open(self) -> OpenProject:
        """Open the project, on the workspace and the branch that were named."""
        from bascule.verbs import open as open_project

        return open_project(self.project, workspace=self.workspace, branch=self.branch)


COMMON = Common()
FORM = Form()
