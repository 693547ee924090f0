"""The command that compares two states, each kind of object in its own words: diff."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from bascule.cli.options import COMMON, Common, NotNegative
from bascule.cli.output import answer, document_text, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bascule.project.comparing import Comparison
    from bascule.verbs import OpenProject

Form = Literal["text", "json", "html", "markdown"]
KINDS = (
    "tables/",
    "files/",
    "contracts/",
    "features/",
    "services/",
    "entities/",
    "labels/",
    "models/",
    "deployments/",
    "monitors/",
)


def diff(
    before: str,
    after: str | None = None,
    /,
    *paths: str,
    path: Annotated[str, Parameter(help="Only paths that begin so, such as tables/flights.")] = "",
    rows: Annotated[NotNegative, Parameter(help="Show so many rows that were added, removed and changed, each.")] = 5,
    stat: Annotated[bool, Parameter(help="Only say which paths differ. No data is read.", negative="")] = False,
    columns: Annotated[bool, Parameter(help="Show all columns, also those that did not change.", negative="")] = False,
    whole: Annotated[
        bool | None, Parameter(help="Read whole tables for each column's figures: by default only small ones.")
    ] = None,
    form: Annotated[Form, Parameter(name="--format", help="How it is written.")] = "text",
    output: Annotated[Path | None, Parameter(help="Write it to this file.")] = None,
    exit_code: Annotated[bool, Parameter(help="End with 1 when anything differs.", negative="")] = False,
    common: Common = COMMON,
) -> int:
    """Compare two states: rows and schema of tables, metrics of models, traffic of deployments, text of definitions.

    Args:
        before: a branch, a tag or a commit.
        after: another one; the current branch when not given, also when a path comes here.
        paths: only paths that begin so, such as tables/flights; the same as --path.
    """
    project = common.open()
    wanted = [*([path] if path else []), *paths]
    if after is not None and _is_path(project, after):
        wanted, after = [after, *wanted], None
    found = project.diff(before, after, path=wanted, rows=rows, stat=stat, whole=whole)
    document = [one.as_dict() for one in found]
    later = after or project.place.branch
    if output is not None:
        write(output, _formed(found, document, form, before, later, columns=columns, screen=False))
        say(f"{output} is written: {_counted(found)}.")
        answer(common, document, "")
    else:
        answer(common, document, _formed(found, document, form, before, later, columns=columns, screen=not common.json))
    return int(exit_code and bool(found))


def _is_path(project: OpenProject, word: str) -> bool:
    """Tell whether a word that stands where a state may is a path: it begins as one, and no state is called so."""
    from bascule.errors import NotFound

    if not word.startswith(KINDS):
        return False
    try:
        project.workspace.history.resolve(word)
    except NotFound:
        return True
    return False


def _formed(
    found: Sequence[Comparison], document: Any, form: Form, before: str, after: str, *, columns: bool, screen: bool
) -> str:
    from bascule.project import lines, reviewing

    if form == "json":
        return document_text(document)
    if form == "markdown":
        return reviewing.markdown(found, before, after, columns=columns)
    if form == "html":
        return reviewing.html(found, before, after)
    terminal = screen and sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else lines.WIDTH
    return reviewing.text(found, columns=columns, width=width, color=terminal and "NO_COLOR" not in os.environ)


def write(file: Path, text: str) -> None:
    """Write a report to a file.

    Raises:
        EnvironmentProblem: it cannot be written.
    """
    from bascule.errors import EnvironmentProblem

    try:
        file.write_text(text if text.endswith("\n") else f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise EnvironmentProblem(
            f"Cannot write {file}: {error.strerror or error}.",
            hint="Name a file in a folder that is there and open to you.",
        ) from error


def _counted(found: Sequence[Comparison]) -> str:
    return "nothing differs" if not found else f"{len(found)} path{'' if len(found) == 1 else 's'}"
