"""Step `check:TABLE`: the whole table against its contract, when either has changed."""

from __future__ import annotations

from datetime import UTC, datetime

from bascule.contracts import Contract
from bascule.contracts.checks import Freshness
from bascule.project.checking import check_table, problems, refuse
from bascule.project.receipt import Output
from bascule.project.related import functions, references, related
from bascule.project.step import Context, Outcome, Progress, Terms
from bascule.project.words import counted
from bascule.store import digest_of
from bascule.tracking import Run


def name_of(table: str) -> str:
    """Return the name of the step that checks a table."""
    return f"check:{table}"


def inputs(table: str, context: Context) -> Terms:
    """The table, the contract, the tables that it compares with, and the hour where it asks for an age."""
    terms = {
        f"input:tables/{table}": context.content(f"tables/{table}"),
        f"input:contracts/{table}": context.digest(f"contracts/{table}") or "",
    }
    obj = context.object(f"contracts/{table}")
    if obj is not None:
        contract = Contract.parse(obj["text"])
        tables = context.workspace.history.digests(context.branch, "tables/")
        for name in related(contract, [path.removeprefix("tables/") for path in tables]):
            terms[f"input:tables/{name}"] = context.content(f"tables/{name}")
        for ref in references(contract):
            terms[f"reference:{ref}"] = context.workspace.history.digest(ref, f"tables/{table}") or ""
        for function in functions(contract):
            file = context.project.path(function.partition(":")[0].replace(".", "/") + ".py")
            terms[f"code:{function}"] = digest_of(file.read_bytes()) if file.is_file() else ""
        if any(isinstance(check.rule, Freshness) for check in contract.checks):
            terms["clock:hour"] = f"{datetime.now(UTC):%Y-%m-%dT%H}"
    return terms


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
    told = f", {counted(failed, 'warning')}" if failed else ""
    summary = f"{counted(len(report.results), 'check')} of {counted(report.rows, 'row')}{told}"
    return Outcome((output,), tuple(problems(report)), {}, summary)
