"""Commands that tell what data are like, and make up data like them: profile, mock."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from bascule.cli.options import COMMON, AtLeastOne, Common, NotNegative
from bascule.cli.output import answer, columns, say
from bascule.counting import counted


def profile(
    table: str,
    /,
    *,
    at: Annotated[str | None, Parameter(help="The state that is read; the current branch when not given.")] = None,
    against: Annotated[str | None, Parameter(help="Another state to compare with.")] = None,
    columns: Annotated[list[str] | None, Parameter(help="Only these columns.", consume_multiple=True)] = None,
    label: Annotated[
        str | None, Parameter(help="What is learned, to judge leakage by; the project's own else.")
    ] = None,
    sample: Annotated[
        NotNegative, Parameter(help="Look at about so many rows or files; 0: all rows, and 2,000 files.")
    ] = 0,
    html: Annotated[Path | None, Parameter(help="Also write a page to this file: it opens without a network.")] = None,
    common: Common = COMMON,
) -> None:
    """Tell what a table holds: types and meanings, missing values, distributions, what goes together, keys and joins.

    Also outliers, copies, gaps in time, what could be learned, what would give it away, and what looks like personal
    data: no value of such a column is shown. Texts and images have a profile of their kind.

    Args:
        table: a table, or a set of files (files/NAME where both have the name).
    """
    from bascule.project import lines, profiling

    terminal = sys.stdout.isatty()
    tell = say if sys.stderr.isatty() and not common.json else lambda text: None
    found = common.open().profile(
        table, at=at, against=against, columns=columns or (), label=label, sample=sample, tell=tell
    )
    if html is not None:
        _write(html, profiling.html(found))
    width = shutil.get_terminal_size().columns if terminal else lines.WIDTH
    text = profiling.text(found, width=width, color=False)
    if html is not None:
        text += f"\n\n{html} is written."
    answer(common, found.as_dict(), text)


def mock(
    *tables: str,
    rows: Annotated[AtLeastOne, Parameter(help="So many, of each table.")] = 1000,
    seed: Annotated[NotNegative, Parameter(help="The same one gives the same rows.")] = 0,
    at: Annotated[str | None, Parameter(help="The state that is imitated; the current branch when not given.")] = None,
    private: Annotated[
        list[str] | None, Parameter(help="A column of which no value may be copied, besides those that are marked.")
    ] = None,
    output: Annotated[
        Path | None, Parameter(help="Write a file: .parquet, .csv or .jsonl; a folder for several tables.")
    ] = None,
    into: Annotated[str | None, Parameter(help="Write them as tables to this new branch.")] = None,
    common: Common = COMMON,
) -> None:
    """Make up rows like those of tables: types, missing values, distributions, categories, keys and references.

    Keys are unique, and what refers to another table refers to rows that it has: to made-up ones, when both are named.
    Values of columns that are or look private are never copied, nor are values that fewer than five rows share.

    Args:
        tables: tables of the current branch.
    """
    from bascule.errors import InputError

    if not tables:
        raise InputError("No table is named.", hint="Name one or more: bascule mock orders customers --rows 1000")
    made = common.open().mock(tables, rows=rows, seed=seed, at=at, private=private or (), output=output, into=into)
    lines = [f"{name}: {counted(table.num_rows, 'row')} made up" for name, table in made.tables.items()]
    lines += [f"  {line}" for line in made.told]
    if made.files:
        lines += [f"{file} is written." for file in made.files]
    elif made.branch:
        lines += [f"They are the tables of the branch {made.branch}."]
    else:
        for name, table in made.tables.items():
            shown = table.slice(0, 10).to_pylist()
            lines += ["", name, columns([list(row.values()) for row in shown], list(shown[0]) if shown else ())]
        lines += ["", "Keep them with --output FILE or --into BRANCH."]
    answer(common, made.as_dict(), "\n".join(lines))


def _write(file: Path, text: str) -> None:
    from bascule.errors import EnvironmentProblem

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f"{file.name}.new")
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, file)
    except OSError as error:
        raise EnvironmentProblem(
            f"Cannot write {file}: {error.strerror or error}.",
            hint="Name a file in a folder that is open to you.",
        ) from error
