"""Whether a column looks like personal data, in a profile's words; `contracts.personal` finds it, as for `pii scan`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bascule.contracts.evidence import is_personal
from bascule.contracts.personal import ColumnFinding, judge

# What a profile calls the kinds that a scan finds; others are called as they are.
_WORDS = {
    "credit_card": "card number",
    "iban": "bank account",
    "national_id": "national id",
    "ip_address": "IP address",
    "mac_address": "MAC address",
    "name": "person name",
    "date_of_birth": "birth date",
}
_BY = {"checksum": "values have its form and right check digits", "pattern": "values have its form"}

SURE = 0.7  # of a number by its name alone


@dataclass(frozen=True, slots=True)
class Suspect:
    """Why a column may be personal data.

    Attributes:
        kind: such as `email`, `phone`, `card number`, `bank account`, `national id`, `person name`, `birth date`,
            `address` or `personal`; `email inside` for texts in which some are.
        share: the share of the looked-at values that have the form, 0 to 1; 0 when only the name says so.
        why: on what it rests, in words.
    """

    kind: str
    share: float
    why: str


def suspect(name: str, values: Sequence[str], type_family: str = "string") -> Suspect | None:
    """Tell whether a column looks like personal data.

    Args:
        name: the column's.
        values: some of its values as text, without nulls and repeats.
        type_family: the family of its type. Numbers are judged by checksums only, dates by the name only.

    Returns:
        What it looks like, or None.
    """
    held = [value for value in values if value.strip()]
    found = judge(name, type_family, held)
    first = found[0] if found else None
    if first is not None and first.kind in ("name", "address") and not _may_name(type_family, held):
        first = None
    if first is not None and type_family == "number" and first.confidence < SURE:
        first = None
    if first is not None:
        return _told(first)
    if type_family in ("string", "integer") and is_personal(name) and not (held and not _wordy(held)):
        return Suspect("personal", 0.0, "its name says so")
    return None


def _told(found: ColumnFinding) -> Suspect:
    plain = found.kind.partition(".")[0]
    words = _WORDS.get(plain, plain.replace("_", " ")) + (" inside" if found.kind.endswith(".inside") else "")
    counted = next((one for one in found.evidence if one.matched is not None), None)
    if counted is None or not counted.looked_at:
        return Suspect(words, 0.0, "its name says so")
    share = (counted.matched or 0) / counted.looked_at
    what = "values hold some" if words.endswith(" inside") else _BY.get(counted.by, "values have its form")
    return Suspect(words, share, f"{share:.0%} of {counted.looked_at:,} {what}")


def _may_name(family: str, values: Sequence[str]) -> bool:
    return family == "string" and (not values or _wordy(values))


def _wordy(values: Sequence[str]) -> bool:
    """Tell whether most values have letters: a `user_name` of digits names nobody."""
    return sum(any(letter.isalpha() for letter in value) for value in values) >= len(values) / 2
