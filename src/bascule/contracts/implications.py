"""What a table promises without a contract: its key names one row, and the columns that it has keep coming."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bascule.contracts.checks import Check, Declared, NotNull, Unique
from bascule.contracts.contract import Column, Contract
from bascule.contracts.families import family_of


def implied(table: str, key: Sequence[str], columns: Mapping[str, str] | None = None) -> Contract:
    """Return the contract that a table has when nobody wrote one.

    Args:
        table: its name.
        key: the columns that name a row; none are asked to when it is empty.
        columns: the columns that it has, with SQL types: each must come again. New ones may come.
    """
    found = tuple(_column(name, kind) for name, kind in (columns or {}).items())
    checks = (*(Check(f"{c.name}: column", Declared(c.name, c.family)) for c in found), *_key_checks(key))
    return Contract(
        text="", file="", table=table, version="", columns=found, key=tuple(key), checks=checks, unexpected="allow"
    )


def _column(name: str, kind: str) -> Column:
    family = family_of(kind)
    known = family if family not in ("other", "empty") else None
    return Column(name, known, known or "any type", False, None, "", 0)


def _key_checks(key: Sequence[str]) -> Iterable[Check]:
    yield from (Check(f"{name}: not null", NotNull(name)) for name in key)
    if key:
        yield Check(f"{', '.join(key)}: key is unique", Unique(tuple(key)))
