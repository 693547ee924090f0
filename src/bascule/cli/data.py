"""Bringing data in: ingest."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from bascule.cli.options import COMMON, Common
from bascule.cli.output import answer, say
from bascule.cli.tabling import pairs


def ingest(
    table: str,
    source: str,
    /,
    *,
    key: Annotated[list[str] | None, Parameter(help="A key column of a table that is made now.")] = None,
    mode: Annotated[Literal["append", "replace"] | None, Parameter(help="The project's when not given.")] = None,
    dates: Annotated[
        Literal["day-first", "month-first"] | None,
        Parameter(help="How days such as 01/02/2025 are written, where the values leave it open."),
    ] = None,
    query: Annotated[str, Parameter(help="What is asked of a database.")] = "",
    cursor: Annotated[str, Parameter(help="A column that only grows: only rows beyond its last value come.")] = "",
    tolerate: Annotated[
        float | None,
        Parameter(help="The share of records, such as 0.01, that may go to the table quarantine instead."),
    ] = None,
    option: Annotated[
        list[str] | None, Parameter(help="What else a source is told: sheet=NAME, encoding=latin1.", negative="")
    ] = None,
    message: Annotated[str | None, Parameter(name=["--message", "-m"], help="The commit's message.")] = None,
    common: Common = COMMON,
) -> None:
    """Bring rows into a table: written on a branch of their own, checked there, merged when they pass.

    The same content is taken in once. A refused batch stays on its branch; the current branch is unchanged.

    Args:
        table: the table.
        source: a file, a folder, a pattern such as 'data/flights/*.csv', or an address: https://…, s3://…,
            postgresql://…, mysql://…, sqlite://…, kafka://…, python://module:function.
    """
    from bascule.counting import counted
    from bascule.errors import InputError

    if tolerate is not None and not 0 <= tolerate < 1:
        raise InputError(f"--tolerate is {tolerate:g}.", hint="Give a share from 0 to below 1, such as 0.01 for 1 %.")

    project = common.open()
    tell = say if not common.json else lambda text: None
    batch = project.ingest(
        table,
        source,
        key=key or (),
        mode=mode,
        dates=dates,
        query=query,
        cursor=cursor,
        tolerate=tolerate,
        option=pairs(option, "=", "--option sheet=NAME"),
        message=message,
        tell=tell,
    )
    document = batch.as_dict()
    if batch.commit is None:
        answer(common, document, f"{table} has all of it already; nothing was changed.")
        return
    held = f"{counted(len(batch.checks.results), 'check kept', 'checks kept')}" if batch.checks else "no contract"
    rows = counted(batch.report.rows, "row")
    text = f"{batch.commit.short}  {rows} into {table} on {project.place.branch}, {held}."
    if batch.report.rejected:
        text += f"\n{counted(len(batch.report.rejected), 'record')} could not be read and went to quarantine: "
        text += f'bascule sql "select * from quarantine where \\"table\\" = \'{table}\'"'
    answer(common, document, text)
