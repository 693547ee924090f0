"""How one contract differs from an earlier one, judged for whoever reads the table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from bascule.contracts import checks
from bascule.contracts.checks import Check
from bascule.contracts.contract import Column, Contract
from bascule.contracts.document import Node, parse_document
from bascule.contracts.families import accepts
from bascule.contracts.rules import custom_properties

Verdict = Literal["breaking", "compatible", "documentation"]
ORDER: dict[Verdict, int] = {"breaking": 0, "compatible": 1, "documentation": 2}
#: What says which values there may be at all; a reader may rely on it.
_DOMAIN = (checks.NotNull, checks.Unique, checks.OneOf)
_MEANING = ("semanticType", "unit")


@dataclass(frozen=True, slots=True)
class ContractChange:
    """One difference.

    Attributes:
        verdict: `breaking` when a reader of the earlier state may fail or be wrong, `compatible` when none is, and
            `documentation` when only words differ.
        column: the column, or None for the table.
        what: the difference, as half a sentence.
        line: where the later contract says it; 0 when it says nothing of it.
    """

    verdict: Verdict
    column: str | None
    what: str
    line: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The difference as one JSON object."""
        return {"verdict": self.verdict, "column": self.column, "what": self.what, "line": self.line}


def compare_contracts(before: Contract | None, after: Contract | None) -> list[ContractChange]:
    """Return how a contract differs from an earlier one, what breaks readers first.

    Stricter promises break no reader; they may refuse the next batch. A promise that is withdrawn breaks those who rely
    on it where it says which values there are: that a value is there, that it is unique, which ones are accepted.
    """
    if before is None or after is None:
        if before is None and after is None:
            return []
        return [
            ContractChange("compatible", None, "a contract begins", 1)
            if before is None
            else ContractChange("breaking", None, "the contract is gone, and all that it promised")
        ]
    found = [*_columns(before, after), *_key(before, after), *_checks(before, after), *_meaning(before, after)]
    if not found and before.text != after.text:
        found.append(ContractChange("documentation", None, "words that no check reads", 1))
    return sorted(found, key=lambda change: ORDER[change.verdict])


def _columns(before: Contract, after: Contract) -> Iterator[ContractChange]:
    old, new = ({column.name: column for column in one.columns} for one in (before, after))
    for name, column in old.items():
        if name not in new:
            yield ContractChange("breaking", name, "is not promised any more")
        else:
            yield from _column(column, new[name])
    for name, column in new.items():
        if name not in old:
            yield ContractChange("compatible", name, "is promised now", column.line)


def _column(old: Column, new: Column) -> Iterator[ContractChange]:
    if old.family != new.family:
        fits = old.family is None or (new.family is not None and accepts(old.family, new.family))
        yield ContractChange(
            "compatible" if fits else "breaking", old.name, f"type {old.declared} → {new.declared}", new.line
        )
    if old.masked != new.masked:
        yield ContractChange("compatible", old.name, "is private now" if new.masked else "is not private now", new.line)
    if old.description != new.description:
        yield ContractChange("documentation", old.name, "is described otherwise", new.line)


def _key(before: Contract, after: Contract) -> Iterator[ContractChange]:
    if before.key != after.key:
        names = [", ".join(one.key) or "none" for one in (before, after)]
        verdict: Verdict = "breaking" if before.key else "compatible"
        yield ContractChange(verdict, None, f"key {names[0]} → {names[1]}", 1)


def _checks(before: Contract, after: Contract) -> Iterator[ContractChange]:
    gone = {column.name for column in before.columns} - {column.name for column in after.columns}
    old, new = _by_subject(before), _by_subject(after)
    for subject, check in old.items():
        now = new.get(subject)
        if set(check.columns) & gone:
            continue  # told of the column
        if now is None:
            yield _withdrawn(check, "is not checked any more", 0)
        else:
            yield from _check(check, now)
    for subject, check in new.items():
        if subject not in old and not isinstance(check.rule, checks.Declared):
            yield ContractChange("compatible", _column_of(check), f"{_named(check)} is checked now", check.line)


def _check(old: Check, new: Check) -> Iterator[ContractChange]:
    if isinstance(old.rule, checks.OneOf) and isinstance(new.rule, checks.OneOf):
        known = set(old.rule.values)
        added = [value for value in new.rule.values if value not in known]
        lost = [value for value in old.rule.values if value not in set(new.rule.values)]
        if added:
            verdict: Verdict = "breaking" if old.severity == "critical" else "compatible"
            yield ContractChange(verdict, old.rule.column, f"accepts {_listed(added)} too", new.line)
        if lost:
            yield ContractChange("compatible", old.rule.column, f"accepts {_listed(lost)} no more", new.line)
    elif old.rule != new.rule:
        yield ContractChange("compatible", _column_of(new), f"{_named(new)} asks something else", new.line)
    if old.severity == "critical" and new.severity != "critical":
        yield _withdrawn(old, f"is only {new.severity} now", new.line)
    elif old.severity != new.severity:
        yield ContractChange("compatible", _column_of(new), f"{_named(new)} is {new.severity} now", new.line)
    if old.bound != new.bound or old.minimum_rows != new.minimum_rows:
        yield ContractChange("compatible", _column_of(new), f"{_named(new)} has another bound", new.line)
    if (old.description, old.quality) != (new.description, new.quality):
        yield ContractChange("documentation", _column_of(new), f"{_named(new)} is described otherwise", new.line)


def _withdrawn(check: Check, what: str, line: int) -> ContractChange:
    domain = isinstance(check.rule, _DOMAIN) and check.severity == "critical" and check.where is None
    return ContractChange("breaking" if domain else "compatible", _column_of(check), f"{_named(check)} {what}", line)


def _by_subject(contract: Contract) -> dict[tuple[Any, ...], Check]:
    """The checks by what they are about; twins are told apart by their order."""
    found: dict[tuple[Any, ...], Check] = {}
    for check in contract.checks:
        if isinstance(check.rule, checks.Declared):
            continue
        if isinstance(check.rule, checks.Unique) and check.rule.columns == contract.key:
            continue  # told of the key
        rule = check.rule
        subject = (check.kind, check.columns, check.where, getattr(rule, "function", None), getattr(rule, "at", None))
        written = check.name if not check.columns else ""
        found.setdefault((*subject, written, sum(key[: len(subject)] == subject for key in found)), check)
    return found


def _meaning(before: Contract, after: Contract) -> Iterator[ContractChange]:
    old, new = _meanings(before), _meanings(after)
    for name in old.keys() & new.keys():
        for word in _MEANING:
            was, now = old[name].get(word), new[name].get(word)
            if was != now:
                verdict: Verdict = "breaking" if was is not None else "compatible"
                yield ContractChange(verdict, name, f"{word} {was or 'none'} → {now or 'none'}", new[name]["line"])


def _meanings(contract: Contract) -> dict[str, dict[str, Any]]:
    """What each column's values mean, where the contract says it: `semanticType`, and a custom property `unit`."""
    if not contract.text:
        return {}
    names = {column.name for column in contract.columns}
    found: dict[str, dict[str, Any]] = {}
    for table in parse_document(contract.text, contract.file).require("schema").items():
        listed = table.get("properties")
        for prop in listed.items() if listed else []:
            name = (prop.get("physicalName") or prop.require("name")).text()
            if name in names:
                found[name] = _meaning_of(prop)
    return found


def _meaning_of(prop: Node) -> dict[str, Any]:
    semantic, unit = prop.get("semanticType"), custom_properties(prop).get("unit")
    told: dict[str, Any] = {"line": prop.line}
    if semantic is not None:
        told["semanticType"] = semantic.text()
    if unit is not None:
        told["unit"] = unit.text()
    return told


def _column_of(check: Check) -> str | None:
    return check.columns[0] if len(check.columns) == 1 else None


def _named(check: Check) -> str:
    return check.name or check.kind.replace("_", " ")


def _listed(values: list[Any]) -> str:
    shown = ", ".join(repr(value) for value in values[:5])
    return f"{shown} and {len(values) - 5} more" if len(values) > 5 else shown
