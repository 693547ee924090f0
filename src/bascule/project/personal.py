"""Personal data of one branch's tables: looking for it, tagging it in the contract, saying who reads what of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bascule.contracts.masking import masks_at
from bascule.contracts.personal import ColumnFinding, scan, tagged
from bascule.contracts.personal.scanning import ROWS
from bascule.errors import InputError, NotFound
from bascule.lake import Lake
from bascule.lake.engine import opened
from bascule.project.place import Place

SURE = 0.7


@dataclass(frozen=True, slots=True)
class PersonalData:
    """What a scan found in a table.

    Attributes:
        table: its name.
        findings: columns with what they hold, in the order of the table.
        written: the contract's file, when tags were written into it.
        tagged: the columns that were tagged.
    """

    table: str
    findings: tuple[ColumnFinding, ...]
    written: str = ""
    tagged: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The result as one JSON object."""
        return {
            "table": self.table,
            "findings": [one.as_dict() for one in self.findings],
            "written": self.written,
            "tagged": list(self.tagged),
        }


@dataclass(frozen=True, slots=True)
class ColumnMask:
    """How roles read a column."""

    table: str
    column: str
    mask: str
    roles: tuple[str, ...]


def scan_table(
    place: Place,
    table: str,
    *,
    write: bool = False,
    sure: float = SURE,
    rows: int = ROWS,
    region: str | None = None,
    nlp: str | None = None,
) -> PersonalData:
    """Look for personal data in a table of the current branch, and tag its contract when told.

    Args:
        write: write `classification` and `tags` of what is found into the contract's file.
        sure: the least confidence to be tagged, from 0 to 1.
        rows: how many rows are looked at, at most.
        region: a country whose national phone numbers are known, too.
        nlp: look for names of people in free text, too, by a spaCy pipeline (`en_core_web_sm`, or a folder),
            `presidio:en`, or `module:function`; `[pii] nlp` of the project when None.

    Raises:
        NotFound: there is no such table, or no contract to write into.
        InputError: a number is out of its range.
    """
    if not 0 <= sure <= 1:
        raise InputError(f"A confidence is between 0 and 1, not {sure:g}.")
    if rows < 1:
        raise InputError(f"{rows} rows cannot be looked at.", hint="Write 1 or more.")
    obj = place.workspace.history.get(place.branch, f"tables/{table}")
    model = nlp if nlp is not None else place.file.pii.nlp if place.has_file else ""
    with opened(place.workspace.temporary_folder) as connection:
        source = Lake(place.workspace).scan(obj)
        found = scan(connection, source, rows=rows, region=region, nlp=model, folder=place.folder)
    if not write:
        return PersonalData(table, tuple(found))
    kinds: dict[str, list[str]] = {}
    for one in found:
        if one.confidence >= sure:
            kinds.setdefault(one.column, []).append(one.kind)
    return _written(place, table, found, kinds)


def _written(place: Place, table: str, found: Sequence[ColumnFinding], kinds: dict[str, list[str]]) -> PersonalData:
    settings = place.file.contract.get(table) if place.has_file else None
    if settings is None:
        raise NotFound(
            "contract of the project",
            table,
            list(place.file.contract) if place.has_file else [],
            hint=f"Write one first: bascule contract suggest {table} --write contracts/{table}.yaml, "
            f"and name it in [contract.{table}].",
        )
    file = place.folder / settings.file
    before = file.read_text(encoding="utf-8")
    after = tagged(before, table, kinds, settings.file)
    if after != before:
        fresh = file.with_name(f".{file.name}.new")
        fresh.write_text(after, encoding="utf-8")
        fresh.replace(file)
    return PersonalData(table, tuple(found), settings.file, tuple(kinds))


def masks(place: Place, table: str | None = None) -> list[ColumnMask]:
    """Return how columns of the branch's tables are masked, and for which roles.

    Raises:
        NotFound: there is no such table.
    """
    head = place.workspace.history.resolve(place.branch)
    if table is not None:
        place.workspace.history.get(head, f"tables/{table}")
    found = []
    for name, columns in sorted(masks_at(place.workspace, head).items()):
        if table in (None, name):
            for column, mask in columns.items():
                amount = f"({mask.amount:g})" if mask.amount else ""
                roles = tuple(sorted(mask.roles - {"nobody"}))
                found.append(ColumnMask(name, column, f"{mask.kind}{amount}", roles))
    return found
