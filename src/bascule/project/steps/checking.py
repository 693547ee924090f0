"""Step `check:TABLE`: the whole table against its contract, when either has changed."""

from __future__ import annotations

from bascule.project.checking import check_table, problems, refuse
from bascule.project.receipt import Output
from bascule.project.step import Context, Outcome, Progress, Terms
from bascule.tracking import Run


def name_of(table: str) -> str:
    """Return the name of the step that checks a table."""
    return f"check:{table}"


def inputs(table: str, context: Context) -> Terms:
    """The table's state and the contract."""
    return {
        f"input:tables/{table}": context.digest(f"tables/{table}") or "",
        f"input:contracts/{table}": context.digest(f"contracts/{table}") or "",
    }


def work(table: str, context: Context, run: Run, progress: Progress) -> Outcome:
    """Check, and keep every result.

    Raises:
        CheckFailed: a critical check does not hold.
    """
    head = context.head
    version = context.digest(f"tables/{table}") or ""
    run.reads(f"tables/{table}", version)
    report = check_table(
        context.workspace, table, lambda path: context.workspace.history.read(head, path), commit=head.id, run=run.id
    )
    if report is None:
        return Outcome(summary="there is nothing to check")
    refuse([report], f"{table} does not keep its contract", "Repair the data, or change the contract and say why.")
    failed = len(report.problems)
    output = Output(name=table, version=version, uri=f"bascule:tables/{table}", rows=report.rows)
    told = f", {failed} warnings" if failed else ""
    return Outcome(
        (output,), tuple(problems(report)), {}, f"{len(report.results)} checks of {report.rows:,} rows{told}"
    )
