"""Contracts of one branch's tables: suggesting one, checking a table against its own."""

from __future__ import annotations

from bascule.contracts import Contract, Report, explain, suggest
from bascule.errors import NotFound
from bascule.lake import Lake
from bascule.lake.engine import opened
from bascule.project.checking import VIEWS, check_table, check_view, relations
from bascule.project.pasts import BATCH, TABLE, Measurement, measurements
from bascule.project.place import Place
from bascule.project.remembering import States
from bascule.project.requests import MODELS, check_requests


def suggest_contract(place: Place, table: str) -> str:
    """Return a contract that a table of the current branch keeps, as commented text.

    Raises:
        NotFound: there is no such table.
    """
    obj = place.workspace.history.get(place.branch, f"tables/{table}")
    with opened(place.workspace.temporary_folder) as connection:
        return suggest(connection, Lake(place.workspace).scan(obj), table, tuple(obj["key"]))


def explain_contract(place: Place, table: str) -> str:
    """Return the plan by which a table of the current branch is checked: the scan, and each query beside it.

    Raises:
        NotFound: there is no such table, or it has no contract.
    """
    history = place.workspace.history
    head = history.resolve(place.branch)
    obj, found = history.get(head, f"tables/{table}"), history.read(head, f"contracts/{table}")
    if found is None:
        raise _no_contract(place, table)
    contract = Contract.parse(found["text"], file=found.get("file", f"contracts/{table}.yaml"))
    lake = Lake(place.workspace)
    related = relations(place.workspace, lake, lambda path: history.read(head, path))
    with opened(place.workspace.temporary_folder) as connection:
        return explain(
            connection,
            lake.scan(obj),
            contract,
            related=related,
            parts=lake.parts(obj),
            memory=States(place.workspace.catalog),
        )


def contract_history(place: Place, table: str, check: str | None = None, *, batches: bool = False) -> list[Measurement]:
    """Return what the checks of a table measured before, check by check, oldest first, with what was usual then.

    Args:
        check: only this one.
        batches: what they measured of the batches that came in, and not of the whole table.

    Raises:
        NotFound: the table was never checked, or has no such check that measures something.
    """
    catalog, looked_at = place.workspace.catalog, BATCH if batches else TABLE
    path = table if table.startswith((VIEWS, MODELS)) else f"tables/{table}"
    found = measurements(catalog, path, looked_at)
    if not found:
        place.workspace.history.get(place.branch, path)
        raise NotFound("value of a check of", table, hint=f"Check it first: bascule contract test {table}")
    if check is None:
        return found
    known = {one.check for one in found}
    if check not in known:
        raise NotFound("check", check, sorted(known))
    return [one for one in found if one.check == check]


def check_contract(place: Place, table: str) -> Report:
    """Check a table, a feature view (`features/NAME`) or what a model was asked (`models/NAME[@VERSION]`).

    What is checked is that of the current branch; the results are kept.

    Raises:
        NotFound: there is no such table, or it has no contract.
    """
    history = place.workspace.history
    head = history.resolve(place.branch)
    if table.startswith(MODELS):
        return check_requests(place.workspace, place.branch, table.removeprefix(MODELS))
    if table.startswith(VIEWS):
        history.get(head, table)
        view = table.removeprefix(VIEWS)
        report = check_view(place.workspace, view, lambda path: history.read(head, path), commit=head.id)
        if report is None:
            raise _no_contract(place, table)
        return report
    history.get(head, f"tables/{table}")
    report = check_table(place.workspace, table, lambda path: history.read(head, path), commit=head.id)
    if report is None:
        raise _no_contract(place, table)
    return report


def _no_contract(place: Place, table: str) -> NotFound:
    known = [path.partition("/")[2] for path in place.workspace.history.digests(place.branch, "contracts/")]
    return NotFound("contract", table, known)
