"""Changes of tables and contracts, judged for the readers that the history knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection

from bascule.catalog import audit
from bascule.contracts import Contract
from bascule.contracts.changes import ORDER, ContractChange, Verdict, compare_contracts
from bascule.errors import CheckFailed, InputError
from bascule.history import Change, Commit, Staged, Workspace
from bascule.history.commits import Object
from bascule.lake import Lake
from bascule.lake.comparing.schemas import ColumnChange, column_changes, same_table
from bascule.project.readers import Reader, readers

SHOWN = 8


@dataclass(frozen=True, slots=True)
class Judgement:
    """One change of a table or of its contract.

    Attributes:
        table: the table.
        change: what changed, and the verdict.
        broken: the readers that read what a breaking change takes away or alters.
        of_files: two files were compared, and no history was asked who reads.
    """

    table: str
    change: ContractChange
    broken: tuple[Reader, ...] = ()
    of_files: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The judgement as one JSON object."""
        named = [{"kind": reader.kind, "name": reader.name} for reader in self.broken]
        return {"table": self.table, **self.change.as_dict(), "readers": named}

    def text(self) -> str:
        """The judgement in a line."""
        column = f".{self.change.column}" if self.change.column is not None else ""
        told = f"{self.change.verdict}  {self.table}{column}: {self.change.what}"
        if self.change.verdict != "breaking" or self.of_files:
            return told
        if not self.broken:
            return f"{told}; nothing here reads it"
        shown = ", ".join(reader.text() for reader in self.broken[:SHOWN])
        more = f" and {len(self.broken) - SHOWN} more" if len(self.broken) > SHOWN else ""
        return f"{told}; breaks {shown}{more}"


def judge(
    workspace: Workspace, changes: Sequence[Change], entries: Callable[[str], Iterable[tuple[str, Object]]]
) -> list[Judgement]:
    """Return what changes do to readers, what breaks them first.

    Args:
        changes: of a state.
        entries: gives the paths of the state after them, with their objects: a view that was changed too, so that it
            goes without a column, is not broken.
    """
    lake = Lake(workspace)
    before = {change.path: change.before for change in changes}
    tables = sorted({path.partition("/")[2] for path in before if path.startswith(("tables/", "contracts/"))})
    told = [(name, one) for name in tables for one in _of_table(lake, name, changes)]
    if not any(one.verdict == "breaking" for _, one in told):
        return sorted((Judgement(name, one) for name, one in told), key=_order)
    after = {path.partition("/")[2]: value for path, value in entries("tables/")}

    @cache
    def columns(name: str) -> Mapping[str, str]:
        known = before.get(f"tables/{name}") or after.get(name)
        return {field["name"]: "" for field in lake.table(known).schema["fields"]} if known else {}

    known = readers(workspace, entries, columns)
    return sorted((_judged(name, one, known) for name, one in told), key=_order)


def breaking(judgements: Sequence[Judgement]) -> list[Judgement]:
    """Return those that break a reader."""
    return [one for one in judgements if one.broken]


def refuse_breaking(judgements: Sequence[Judgement], refused: str, unchanged: str) -> None:
    """Raise `CheckFailed` naming every reader that would break; do nothing when none would.

    Args:
        refused: what does not happen, as the beginning of a sentence.
        unchanged: what stays as it is, as a sentence.
    """
    found = breaking(judgements)
    if not found:
        return
    lines = "\n".join(one.text() for one in found)
    raise CheckFailed(
        f"{refused}: readers would break.\n\n{lines}",
        details=[{"breaking": one.as_dict()} for one in found],
        hint=f"{unchanged} Change the readers too, or say why it is done: bascule merge BRANCH --allow-breaking REASON",
    )


def _judged(name: str, change: ContractChange, known: Sequence[Reader]) -> Judgement:
    if change.verdict != "breaking":
        return Judgement(name, change)
    # The contract's own promises are no reader of its table.
    found = [
        one for one in known if one.uses(name, change.column) and not (one.kind == "contract" and one.name == name)
    ]
    return Judgement(name, change, tuple(found))


def _order(one: Judgement) -> tuple[int, int, str]:
    return ORDER[one.change.verdict], 0 if one.broken else 1, one.table


def _of_table(lake: Lake, name: str, changes: Sequence[Change]) -> Iterator[ContractChange]:
    by_path = {change.path: change for change in changes}
    table, contract = by_path.get(f"tables/{name}"), by_path.get(f"contracts/{name}")
    told: set[str | None] = set()
    if table is not None and table.before is not None:
        if table.after is None:
            yield ContractChange("breaking", None, "the table is gone")
            return
        for one in _columns(lake, table.before, table.after):
            told.add(one.column if one.verdict == "breaking" else None)
            yield one
    if contract is not None:
        sides = (_contract(side) for side in (contract.before, contract.after))
        # A column that is gone is told once.
        yield from (one for one in compare_contracts(*sides) if one.column is None or one.column not in told)


def _columns(lake: Lake, before: Object, after: Object) -> Iterator[ContractChange]:
    if before.get("metadata_location") == after.get("metadata_location"):
        return
    old, new = lake.table(before), lake.table(after)
    for one in column_changes(old.schema, new.schema, by_name=not same_table(old, new)):
        verdict, column, what = _column(one)
        yield ContractChange(verdict, column, what)


def _column(one: ColumnChange) -> tuple[Verdict, str, str]:
    match one.kind:
        case "added":
            return "compatible", one.column, f"a new column, {one.after}"
        case "dropped":
            return "breaking", one.column, "the column is gone"
        case "renamed":
            return "breaking", one.before, f"the column is called {one.after} now"
        case "retyped":
            return "breaking", one.column, f"type {one.before} → {one.after}"
        case "nullable" if one.after == "optional":
            return "breaking", one.column, "may be missing now"
        case "widened":
            return "compatible", one.column, f"type {one.before} → {one.after}"
        case "moved":
            return "compatible", one.column, "stands in another place"
        case _:
            return "compatible", one.column, f"{one.before} → {one.after}"


def _contract(value: Object | None) -> Contract | None:
    return Contract.parse(value["text"], file=value.get("file", "contract.yaml")) if value is not None else None


class Judge:
    """Holds one merge to its readers: what breaks them lands on a protected branch only for a reason.

    Attributes:
        found: the judgements on what was looked at last.
    """

    def __init__(self, workspace: Workspace, into: str, reason: str | None) -> None:
        """Raises InputError for a reason that says nothing."""
        if reason is not None and not reason.strip():
            raise InputError("--allow-breaking needs a reason.", hint="Say why readers may break; the audit keeps it.")
        self.workspace, self.into, self.reason = workspace, into, reason
        self.found: list[Judgement] = []

    def look(self, staged: Staged, refused: str) -> None:
        """Judge what would land, and raise `CheckFailed` when it breaks readers and nobody said why it may."""
        self.found = judge(self.workspace, staged.changes, staged.entries)
        branch = self.workspace.history.named(self.into)
        if self.reason is None and branch is not None and branch.protected:
            refuse_breaking(self.found, refused, f"{self.into!r} is unchanged.")

    def record(self, conn: Connection, commit: Commit) -> None:
        """Write into the audit log why readers were broken, in the transaction that does it."""
        found = breaking(self.found)
        if not found or self.reason is None:
            return
        detail = {"reason": self.reason, "commit": commit.id, "breaking": [one.as_dict() for one in found]}
        audit.append(conn, actor=commit.author, action="allow-breaking", subject=f"refs/{self.into}", detail=detail)
