"""A contract in the making, from which text is written that `Contract.parse` reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bascule.contracts.rules import unreadable
from bascule.contracts.writing import comment, scalar

#: What Python's and JavaScript's patterns can say and RE2 cannot.
_BEYOND_RE2 = re.compile(r"\(\?(?:=|!|<=|<!|>|P=|\()|(?<!\\)(?:\\\\)*\\[1-9]|[*+?}]\+")


@dataclass(frozen=True, slots=True)
class NotImported:
    """Something that another tool asks and the contract does not, with the reason."""

    where: str
    what: str
    why: str

    def text(self) -> str:
        """It as a sentence."""
        return f"{self.where}: {self.what}: {self.why}"


@dataclass(frozen=True, slots=True)
class Imported:
    """A contract that was made from another tool's file.

    Attributes:
        form: the tool.
        table: what the contract is of.
        text: the contract.
        left_out: what it does not ask although the file did.
    """

    form: str
    table: str
    text: str
    left_out: tuple[NotImported, ...]

    def as_dict(self) -> dict[str, Any]:
        """It as one JSON object."""
        lost = [{"where": one.where, "what": one.what, "why": one.why} for one in self.left_out]
        return {"form": self.form, "table": self.table, "contract": self.text, "left_out": lost}


@dataclass
class Draft:
    """A contract in the making.

    Attributes:
        table: the table.
        columns: each column's parts in the standard's words.
        rules: rules of the table.
        unexpected: what is done about other columns.
    """

    table: str
    form: str
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    rules: list[dict[str, Any]] = field(default_factory=list)
    unexpected: str = "allow"
    description: str = ""
    left_out: list[NotImported] = field(default_factory=list)

    def column(self, name: str) -> dict[str, Any]:
        """Return a column's parts; it is made when it is not there."""
        return self.columns.setdefault(name, {"name": name})

    def rule(self, column: str | None, rule: Mapping[str, Any]) -> None:
        """Add a rule to a column, or to the table."""
        (self.rules if column is None else self.column(column).setdefault("quality", [])).append(dict(rule))

    def ours(self, column: str | None, check: str, labels: Mapping[str, Any], **asked: Any) -> None:
        """Add a rule of Bascule's own."""
        asked = {key: value for key, value in asked.items() if value is not None}
        rule = {"type": "custom", "engine": "bascule", **labels, "implementation": {"check": check, **asked}}
        self.rule(column, rule)

    def refuse(self, where: str, what: str, why: str) -> None:
        """Note what is not imported."""
        self.left_out.append(NotImported(where, what, why))

    def describe(self, column: str, text: Any) -> None:
        """Set a column's description when there is one."""
        if isinstance(text, str) and text.strip():
            self.column(column)["description"] = " ".join(text.split())

    def pattern(self, where: str, what: str, pattern: Any) -> str | None:
        """Return a pattern that RE2 reads as it was meant; None, and a note, when it can't."""
        if not isinstance(pattern, str) or not pattern:
            self.refuse(where, what, "it has no pattern")
        elif _BEYOND_RE2.search(pattern):
            self.refuse(where, what, f"the pattern {pattern[:60]!r} looks around, refers back or is possessive")
        elif wrong := unreadable(pattern):
            self.refuse(where, what, f"the pattern {pattern[:60]!r} is none that RE2 reads: {wrong}")
        else:
            return pattern
        return None

    def text(self) -> str:
        """Return the contract as text."""
        told = f"Made from {self.form}. What it could not say is in the report of the import; read it over."
        lines = [*comment(told, 0), "apiVersion: v3.1.0", "kind: DataContract", f"id: {scalar(self.table)}"]
        lines += [f"name: {scalar(self.table)}", "version: 1.0.0", "status: draft", "schema:"]
        described = {"description": self.description} if self.description else {}
        table: dict[str, Any] = {
            "name": self.table,
            "physicalType": "table",
            **described,
            "customProperties": [{"property": "unexpectedColumns", "value": self.unexpected}],
        }
        if self.rules:
            table["quality"] = self.rules
        table["properties"] = list(self.columns.values())
        return "\n".join([*lines, *_listed([table], 2)]) + "\n"


def sql_name(column: str) -> str:
    """Return a column as SQL names it."""
    return '"' + column.replace('"', '""') + '"'


def sql_value(value: Any) -> str:
    """Return a plain value as SQL writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, int | float) else "'" + str(value).replace("'", "''") + "'"


def tolerated(share: float) -> str | None:
    """Return a tolerated share of rows as a contract writes it; None for none."""
    return f"{_digits(100 * share)} %" if share > 0 else None


def percent(share: float) -> int | float:
    """Return a share as a percentage without the noise of floating point."""
    return float(_digits(100 * share)) if share else 0


def _digits(number: float) -> str:
    return f"{number:.10f}".rstrip("0").rstrip(".")


def plain(values: Any) -> list[Any] | None:
    """Return a list of plain values; None when it is none."""
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        return None
    return list(values) if all(isinstance(one, str | int | float | bool) for one in values) else None


def _listed(items: Iterable[Any], indent: int) -> list[str]:
    lines: list[str] = []
    for item in items:
        inner = _block(item, indent + 2) if isinstance(item, dict) else [" " * (indent + 2) + scalar(item)]
        lines += [" " * indent + "- " + inner[0].lstrip(), *inner[1:]]
    return lines


def _block(value: Mapping[str, Any], indent: int) -> list[str]:
    lines: list[str] = []
    for key, one in value.items():
        lead = " " * indent + f"{scalar(str(key))}:"
        if isinstance(one, Mapping):
            lines += [lead, *_block(one, indent + 2)]
        elif isinstance(one, list | tuple):
            if all(not isinstance(item, dict | list) for item in one):
                lines.append(f"{lead} [{', '.join(scalar(item) for item in one)}]")
            else:
                lines += [lead, *_listed(one, indent + 2)]
        else:
            lines.append(f"{lead} {scalar(one)}")
    return lines
