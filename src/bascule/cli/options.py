"""The options that commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

if TYPE_CHECKING:
    from bascule.verbs import OpenProject

#: Counts of things to show: none of them is below zero, and most have no use for zero.
AT_LEAST_ONE = Number(gte=1)
NOT_NEGATIVE = Number(gte=0)

Limit = Annotated[int, Parameter(name=["--limit", "-n"], help="At most so many.", validator=AT_LEAST_ONE)]


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
