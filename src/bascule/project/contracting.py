"""Contracts of one branch's tables: suggesting one, checking a table against its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bascule.contracts import Contract, Report, explain, implied, suggest
from bascule.contracts.changes import compare_contracts
from bascule.contracts.exporting import Exported, export_contract
from bascule.contracts.importing import Imported, import_contract
from bascule.contracts.words import expected_text
from bascule.errors import InputError, NotFound
from bascule.history import Commit
from bascule.history.commits import Object
from bascule.lake import Lake
from bascule.lake.engine import opened
from bascule.lake.masking import refuse_raw
from bascule.project.checking import VIEWS, check_table, check_view, relations
from bascule.project.file import ProjectFile
from bascule.project.judging import Judgement, judge
from bascule.project.pasts import BATCH, TABLE, Measurement, measurements
from bascule.project.place import Place
from bascule.project.promises import contract_of
from bascule.project.remembering import States
from bascule.project.requests import MODELS, check_requests


def suggest_contract(place: Place, table: str) -> str:
    """Return a contract that a table of the current branch keeps, as commented text.

    Raises:
        NotFound: there is no such table.
    """
    obj = place.workspace.history.get(place.branch, f"tables/{table}")
    refuse_raw(place.workspace, place.workspace.history.resolve(place.branch), table, obj, how="A suggestion")
    with opened(place.workspace.temporary_folder) as connection:
        return suggest(connection, Lake(place.workspace).scan(obj), table, tuple(obj["key"]))


def explain_contract(place: Place, table: str) -> str:
    """Return the plan by which a table of the current branch is checked: the scan, and each query beside it.

    Raises:
        NotFound: there is no such table, or it has no contract.
    """
    history = place.workspace.history
    head = history.resolve(place.branch)
    obj, found = history.get(head, f"tables/{table}"), _promised(place, head, table)
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
    looked_at = BATCH if batches else TABLE
    path = table if table.startswith((VIEWS, MODELS)) else f"tables/{table}"
    found = measurements(place.workspace, path, looked_at, at=place.branch)
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
    promised = {f"contracts/{table}": _promised(place, head, table)}
    read = lambda path: promised[path] if path in promised else history.read(head, path)  # noqa: E731
    report = check_table(place.workspace, table, read, commit=head.id)
    if report is None:
        raise _no_contract(place, table)
    return report


def edited(place: Place, project: ProjectFile, table: str) -> str:
    """Return the file of a table's contract when it says another thing than the current branch holds to; "" if not."""
    written, held = project.contract.get(table), place.workspace.history.read(place.branch, f"contracts/{table}")
    if written is None or held is None:
        return ""
    try:
        text = project.path(written.file).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    return written.file if text != held["text"] else ""


def _promised(place: Place, head: Commit, table: str) -> Object | None:
    """Return the contract of a table; the one that bascule.toml names while the branch has none, before `run`."""
    found = place.workspace.history.read(head, f"contracts/{table}")
    return found if found is not None or not place.has_file else contract_of(place.file, table)


def _no_contract(place: Place, table: str) -> NotFound:
    known = [path.partition("/")[2] for path in place.workspace.history.digests(place.branch, "contracts/")]
    return NotFound("contract", table, known)


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
    found = _promised(place, history.resolve(place.branch), table)
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
    if not file.exists():
        raise NotFound("file", str(file))
    try:
        return file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file} cannot be read as text: {getattr(error, 'strerror', None) or error}", hint="Name a file in UTF-8."
        ) from error
