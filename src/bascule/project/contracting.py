"""Contracts of one branch's tables: suggesting one, checking a table against its own."""

from __future__ import annotations

from bascule.contracts import Report, suggest
from bascule.errors import NotFound
from bascule.lake import Lake
from bascule.lake.engine import opened
from bascule.project.checking import check_table
from bascule.project.place import Place


def suggest_contract(place: Place, table: str) -> str:
    """Return a contract that a table of the current branch keeps, as commented text.

    Raises:
        NotFound: there is no such table.
    """
    obj = place.workspace.history.get(place.branch, f"tables/{table}")
    with opened(place.workspace.temporary_folder) as connection:
        return suggest(connection, Lake(place.workspace).scan(obj), table, tuple(obj["key"]))


def check_contract(place: Place, table: str) -> Report:
    """Check a table of the current branch against its contract, and keep the results.

    Raises:
        NotFound: there is no such table, or it has no contract.
    """
    history = place.workspace.history
    head = history.resolve(place.branch)
    history.get(head, f"tables/{table}")
    report = check_table(place.workspace, table, lambda path: history.read(head, path), commit=head.id)
    if report is None:
        known = [path.partition("/")[2] for path in history.digests(head, "contracts/")]
        raise NotFound("contract", table, known)
    return report
