"""Whether a column looks like personal data: patterns and checksums over some of its values, and what its name says.

A small detector on purpose: it names the columns to look at, it does not search texts for what hides in them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from bascule.contracts.evidence import is_personal

# So much of the values must look alike; a checksum that chance passes once in ten needs nearly all.
ENOUGH = 0.8
FEWEST = 5

_EMAIL = re.compile(r"[^@\s,;]{1,64}@[A-Za-z0-9.-]+\.[A-Za-z]{2,24}")
_PHONE = re.compile(r"(\+|00)\d[\d ()./-]{6,18}\d|\(?0?\d{2,4}\)?[ ./-]\d{2,4}[ ./-]?\d{3,5}([ ./-]\d{2,4})?")
_DATE = re.compile(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}( .*)?")
_CARD = re.compile(r"\d(?:[ -]?\d){12,18}")
_IBAN = re.compile(r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}")
_SSN = re.compile(r"(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}")
_MAC = re.compile(r"([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}")
_SPLIT = re.compile(r"[_\W]+|(?<=[a-z0-9])(?=[A-Z])")

# What a column is called, word by word. Names alone are weak: they are told as what they are.
_PEOPLE = {"first", "last", "full", "given", "family", "middle", "customer", "patient", "person", "employee", "contact"}
_NAMED: tuple[tuple[str, set[str], set[str]], ...] = (
    ("email", {"email", "mail", "emailaddress"}, set()),
    ("phone", {"phone", "telephone", "mobile", "fax", "msisdn", "phonenumber"}, set()),
    ("person name", {"surname", "lastname", "firstname", "forename", "fullname", "middlename", "maiden"}, set()),
    ("person name", {"name"}, {*_PEOPLE, "user", "member"}),
    ("birth date", {"birthdate", "dob", "birthday", "dateofbirth", "born"}, set()),
    ("birth date", {"birth"}, {"date", "day"}),
    ("address", {"address", "street", "addr"}, set()),
    ("national id", {"ssn", "nin", "passport", "taxid", "nationalid", "cpf", "bsn", "nif", "steuerid"}, set()),
    ("bank account", {"iban", "accountnumber"}, set()),
    ("card number", {"cardnumber", "pan"}, set()),
    ("IP address", {"ip", "ipaddress", "ipaddr"}, set()),
)


@dataclass(frozen=True, slots=True)
class Suspect:
    """Why a column may be personal data.

    Attributes:
        kind: `email`, `phone`, `card number`, `bank account`, `national id`, `IP address`, `MAC address`,
            `person name`, `birth date`, `address` or `personal`.
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
    checks: Sequence[tuple[str, Callable[[str], bool], str]] = _CHECKS if type_family == "string" else _DIGITS
    named = _named(name, type_family)
    if type_family in ("string", "integer") and len(values) >= FEWEST:
        for kind, test, what in checks:
            share = sum(map(test, values)) / len(values)
            if share >= (ENOUGH if kind != "phone" or named == "phone" else 0.95):
                return Suspect(kind, share, f"{share:.0%} of {len(values):,} values {what}")
    if named in ("person name", "address") and type_family == "string" and values and not _wordy(values):
        return None
    return Suspect(named, 0.0, "its name says so") if named else None


def _named(name: str, family: str) -> str:
    parts = [one.lower() for one in _SPLIT.split(name) if one]
    words = {*parts, "".join(parts)}
    for kind, any_of, with_one_of in _NAMED:
        if words & any_of and (not with_one_of or words & with_one_of):
            if kind == "birth date" and family not in ("date", "timestamp", "string"):
                continue
            if kind in ("person name", "address", "email") and family != "string":
                continue
            if kind != "birth date" and family not in ("string", "integer"):
                continue
            return kind
    return "personal" if family in ("string", "integer") and is_personal(name) else ""


def _wordy(values: Sequence[str]) -> bool:
    """Tell whether most values have letters: a `user_name` of digits names nobody."""
    return sum(any(letter.isalpha() for letter in value) for value in values) >= len(values) / 2


def luhn(text: str) -> bool:
    """Tell whether the digits of a text end in their Luhn check digit (ISO/IEC 7812-1)."""
    digits = [int(one) for one in text if one.isdigit()][::-1]
    total = sum(digits[::2]) + sum(sum(divmod(2 * one, 10)) for one in digits[1::2])
    return total % 10 == 0


def iban(text: str) -> bool:
    """Tell whether a text is an IBAN whose check digits are right (ISO 13616, mod 97)."""
    plain = text.replace(" ", "").upper()
    if not _IBAN.fullmatch(plain):
        return False
    turned = plain[4:] + plain[:4]
    return int("".join(str(int(one, 36)) for one in turned)) % 97 == 1


def _card(text: str) -> bool:
    digits = "".join(one for one in text if one.isdigit())
    # 13 to 19 digits, and a first one that networks use: a count in milliseconds begins with 1.
    return bool(_CARD.fullmatch(text)) and digits[0] in "3456" and luhn(digits)


def _phone(text: str) -> bool:
    return bool(_PHONE.fullmatch(text)) and not _DATE.fullmatch(text) and sum(one.isdigit() for one in text) >= 7


def _ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return "." in text or ":" in text


_CHECKS: tuple[tuple[str, Callable[[str], bool], str], ...] = (
    ("email", lambda text: bool(_EMAIL.fullmatch(text.strip())), "are e-mail addresses"),
    ("bank account", lambda text: iban(text.strip()), "are IBANs with right check digits"),
    ("card number", lambda text: _card(text.strip()), "are card numbers with right check digits"),
    ("national id", lambda text: bool(_SSN.fullmatch(text.strip())), "are written as US social security numbers"),
    ("IP address", lambda text: _ip(text.strip()), "are IP addresses"),
    ("MAC address", lambda text: bool(_MAC.fullmatch(text.strip())), "are MAC addresses"),
    ("phone", lambda text: _phone(text.strip()), "are written as phone numbers"),
)
_DIGITS = (("card number", _card, "are card numbers with right check digits"),)
