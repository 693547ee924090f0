"""Step `check:TABLE`: the whole table against its contract, when either has changed."""

from __future__ import annotations

from datetime import UTC, datetime

from bascule.contracts import Contract, Report
from bascule.contracts.checks import Freshness
from bascule.counting import counted
from bascule.project.checking import VIEWS, check_table, check_view, problems, refuse
from bascule.project.definitions import view_tables
from bascule.project.receipt import Output
from bascule.project.related import functions, references, related
from bascule.project.step import Context, Outcome, Progress, Terms
from bascule.store import digest_of
from bascule.tracking import Run


def name_of_view(view: str) -> str:
    """Return the name of the step that checks a feature view."""
    return f"check:{VIEWS[:-1]}.{view}"


def inputs_of_view(view: str, context: Context) -> Terms:
    """The view, its contract and the tables that either reads."""
    path = VIEWS + view
    obj = context.object(f"contracts/{path}")
    contract = Contract.parse(obj["text"]) if obj is not None else None
    terms = {f"input:{p}": context.digest(p) or "" for p in (path, f"contracts/{path}")}
    tables = [p.removeprefix("tables/") for p in context.workspace.history.digests(context.branch, "tables/")]
    named = related(contract, tables) if contract is not None else ()
    for table in sorted({*view_tables(context.project, view), *named}):
        terms[f"input:tables/{table}"] = context.content(f"tables/{table}")
    return terms | (_elsewhere(contract, context, "") if contract is not None else {})


def work_of_view(view: str, context: Context, run: Run, progress: Progress) -> Outcome:
    """Check the view's rows, and keep every result.

    Raises:
        CheckFailed: a critical check does not hold.
    """
    head, path = context.head, VIEWS + view
    version = context.digest(path) or ""
    run.reads(path, version)
    report = check_view(
        context.workspace, view, lambda place: context.workspace.history.read(head, place), commit=head.id, run=run.id
    )
    if report is None:
        return Outcome(summary="there is nothing to check")
    return _outcome(report, path, version)


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
        terms |= _elsewhere(contract, context, table)
    return terms


def _elsewhere(contract: Contract, context: Context, table: str) -> Terms:
    """What a contract looks at besides tables of the branch: other states, the project's code, the clock."""
    terms = {}
    for ref in references(contract):
        terms[f"reference:{ref}"] = context.workspace.history.digest(ref, f"tables/{table}") or "" if table else ""
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
    return _outcome(report, f"tables/{table}", version)


def _outcome(report: Report, path: str, version: str) -> Outcome:
    name = path.removeprefix("tables/")
    refuse([report], f"{name} does not keep its contract", "Repair the data, or change the contract and say why.")
    failed = len(report.problems)
    output = Output(name=name, version=version, uri=f"bascule:{path}", rows=report.rows)
    told = f", {counted(failed, 'warning')}" if failed else ""
    summary = f"{counted(len(report.results), 'check')} of {counted(report.rows, 'row')}{told}"
    return Outcome((output,), tuple(problems(report)), {}, summary)
