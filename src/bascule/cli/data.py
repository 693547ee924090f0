"""Commands over data: ingest, contract."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from bascule.cli.options import COMMON, Common
from bascule.cli.output import answer, moment, say
from bascule.cli.tabling import pairs

contract = App(name="contract", help="Data contracts: suggest one from a table, check a table against its own.")


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
    from bascule.errors import InputError
    from bascule.project.words import counted

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
    held = f"{len(batch.checks.results)} checks kept" if batch.checks else "no contract"
    rows = counted(batch.report.rows, "row")
    text = f"{batch.commit.short}  {rows} into {table} on {project.place.branch}, {held}."
    if batch.report.rejected:
        text += f"\n{counted(len(batch.report.rejected), 'record')} could not be read and went to quarantine: "
        text += f'bascule sql "select * from quarantine where \\"table\\" = \'{table}\'"'
    answer(common, document, text)


@contract.command
def suggest(
    table: str,
    /,
    *,
    write: Annotated[Path | None, Parameter(help="Write it to this file instead of printing it.")] = None,
    common: Common = COMMON,
) -> None:
    """Suggest a contract that the table of the current branch keeps, as commented text to review.

    Args:
        table: the table.
    """
    text = common.open().suggest_contract(table)
    if write is None:
        answer(common, {"table": table, "contract": text}, text)
        return
    from bascule.errors import AlreadyExists

    if write.exists():
        raise AlreadyExists("file", str(write), hint="Choose another name, or compare the two yourself.")
    write.parent.mkdir(parents=True, exist_ok=True)
    write.write_text(text, encoding="utf-8")
    answer(
        common, {"table": table, "file": str(write)}, f"Wrote {write}. Review it, then name it in [contract.{table}]."
    )


@contract.command
def history(
    table: str,
    /,
    *,
    check: Annotated[str | None, Parameter(help="Only this check, by its name.")] = None,
    batches: Annotated[bool, Parameter(negative=(), help="Of the batches that came in, not of the table.")] = False,
    common: Common = COMMON,
) -> None:
    """Show what the checks of a table measured before, and the bounds within which each value was usual.

    Args:
        table: the table.
    """
    from bascule.contracts.checks import shown_number

    found = common.open().contract_history(table, check=check, batches=batches)
    lines = []
    for name in dict.fromkeys(one.check for one in found):
        lines.append(name)
        for one in [one for one in found if one.check == name][-20:]:
            bounds = " to ".join(map(shown_number, one.usual)) if one.usual else "too few before"
            mark = "unusual" if one.unusual else "failed" if one.status != "passed" else ""
            lines.append(f"  {moment(one.at):<17}{shown_number(one.value):>16}  usually {bounds:<26}{mark}".rstrip())
    answer(common, {"table": table, "values": [one.as_dict() for one in found]}, "\n".join(lines))
