"""What all commands share: the common options, and how an answer is printed."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from bascule.errors import BasculeError
    from bascule.project.place import Place


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

    def place(self) -> Place:
        """Find the project, the workspace and the branch."""
        from bascule.project.place import Place

        return Place(self.project, self.workspace, self.branch)


COMMON = Common()
FORM = Form()


def answer(common: Form, document: Any, text: str) -> None:
    """Print the answer: the document with `--json`, else the text."""
    if common.json:
        sys.stdout.write(json_module.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n")
    elif text:
        sys.stdout.write(text.rstrip("\n") + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Tell a person what is going on, on standard error, so that standard output stays the answer."""
    sys.stderr.write(text.rstrip("\n") + "\n")
    sys.stderr.flush()


def told(error: BasculeError) -> str:
    """Return an error as a person reads it: the message, then the next step."""
    return f"bascule: {error.message}" + (f"\n  {error.hint}" if error.hint else "")


def columns(rows: Iterable[Sequence[object]], head: Sequence[str] = (), gap: int = 2) -> str:
    """Lay rows out in aligned columns; numbers to the right."""
    body = [["" if cell is None else str(cell) for cell in row] for row in rows]
    table = [list(head), *body] if head else body
    if not table:
        return ""
    widths = [max(len(row[at]) for row in table) for at in range(len(table[0]))]
    right = [bool(body) and all(_is_number(row[at]) for row in body) for at in range(len(table[0]))]
    lines = []
    for row in table:
        cells = [cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True)]
        lines.append((" " * gap).join(cells).rstrip())
    return "\n".join(lines)


def _is_number(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").replace("-", "").replace("%", "").isdigit() or cell == ""
