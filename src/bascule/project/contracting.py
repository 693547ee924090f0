"""Contracts of one branch's tables: suggesting one, checking a table against its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bascule.contracts import Contract, Report, implied, suggest
from bascule.contracts.changes import compare_contracts
from bascule.contracts.exporting import Exported, export_contract
from bascule.contracts.importing import Imported, import_contract
from bascule.contracts.words import expected_text
from bascule.errors import InputError, NotFound
from bascule.lake import Lake
from bascule.lake.engine import opened
from bascule.project.checking import check_table
from bascule.project.judging import Judgement, judge
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


@dataclass(frozen=True)
class Promises:
    """What a table promises.

    Attributes:
        contract: its contract, or what is implied without one.
        file: where it is written; "" when nobody wrote one.
    """

    contract: Contract
    file: str

    def as_dict(self) -> dict[str, Any]:
        """The promises as one JSON object."""
        contract = self.contract
        return {
            "table": contract.table,
            "file": self.file,
            "version": contract.version,
            "key": list(contract.key),
            "unexpected_columns": contract.unexpected,
            "columns": [
                {
                    "name": column.name,
                    "type": column.declared,
                    "key": column.name in contract.key,
                    "private": column.masked,
                    "description": column.description,
                }
                for column in contract.columns
            ],
            "checks": [
                {
                    "name": check.name,
                    "columns": list(check.columns),
                    "kind": check.kind,
                    "severity": check.severity,
                    "asked": expected_text(check, contract),
                    "line": check.line,
                }
                for check in contract.checks
            ],
            "not_run": [{"name": one.name, "reason": one.reason, "line": one.line} for one in contract.not_run],
        }


def read_contract(place: Place, table: str) -> Promises:
    """Return what a table of the current branch promises; without a contract what its key implies.

    Raises:
        NotFound: there is neither such a contract nor such a table.
    """
    history = place.workspace.history
    found = history.read(place.branch, f"contracts/{table}")
    if found is None:
        obj = history.get(place.branch, f"tables/{table}")
        return Promises(implied(table, obj["key"]), "")
    file = found.get("file", f"contracts/{table}.yaml")
    return Promises(Contract.parse(found["text"], file=file), file)


def diff_contracts(place: Place, before: str, after: str | None = None) -> list[Judgement]:
    """Judge how schemas and contracts differ between two states, or between two contract files.

    Raises:
        NotFound: there is no such state. ProjectFileError: a file is no contract.
    """
    files = [Path(one) for one in (before, after) if one is not None and _is_file(one)]
    if len(files) == 2:
        old, new = (Contract.parse(_text(file), file=file) for file in files)
        return [Judgement(new.table, one, of_files=True) for one in compare_contracts(old, new)]
    history = place.workspace.history
    later = after or place.branch
    return judge(place.workspace, history.diff(before, later), lambda prefix: history.entries(later, prefix))


def import_file(file: Path, table: str | None = None, form: str | None = None) -> Imported:
    """Make a contract from another tool's file; see `import_contract`."""
    return import_contract(_text(file), str(file), table=table, form=form)


def export(place: Place, table: str, form: str) -> Exported:
    """Return the contract of a table of the current branch in another tool's words.

    Raises:
        NotFound: there is no such contract.
    """
    found = place.workspace.history.get(place.branch, f"contracts/{table}")
    return export_contract(Contract.parse(found["text"], file=found.get("file", f"contracts/{table}.yaml")), form)


def _is_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml", ".json")) and Path(name).is_file()


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read as text: {error}", hint="Name a file in UTF-8.") from error
