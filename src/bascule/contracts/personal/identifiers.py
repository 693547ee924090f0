"""The kinds of personal data that a value shows by itself: a pattern, and a check where the kind has one."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from bascule.contracts.personal import checksums


@dataclass(frozen=True, slots=True)
class Identifier:
    """A kind of value.

    Attributes:
        kind: what it is, such as `email` or `national_id.de`.
        pattern: all of a value, without the characters of `ignored`.
        ignored: separators that people write.
        check: what else must hold.
        chance: how often a random value with this pattern passes the check; 1 means the pattern proves nothing.
        inside: what finds such values within longer text, if they can be told there.
        named: whether the column's name must say so, too.
    """

    kind: str
    pattern: re.Pattern[str]
    ignored: str = ""
    check: Callable[[str], bool] | None = None
    chance: float = 0.0
    inside: re.Pattern[str] | None = None
    named: bool = False

    def is_one(self, text: str) -> bool:
        """Tell whether a value is of this kind."""
        return self.fits(text.strip().translate(_without(self.ignored)))

    def fits(self, plain: str) -> bool:
        """Tell whether a value is of this kind, of which the blanks around it and the separators are gone."""
        return bool(self.pattern.fullmatch(plain)) and (self.check is None or self.check(plain))

    def count(self, values: Mapping[str, int], plain: dict[str, Counter[str]]) -> int:
        """Count the values of this kind.

        Args:
            values: each value that there is, with how often it is.
            plain: the same without the separators of an identifier, by these; filled here, so that identifiers that
                share them read the values once.
        """
        if self.ignored not in plain:
            without, seen = _without(self.ignored), Counter[str]()
            for text, often in values.items():
                seen[text.strip().translate(without)] += often
            plain[self.ignored] = seen
        return sum(often for text, often in plain[self.ignored].items() if self.fits(text))

    def is_within(self, text: str) -> bool:
        """Tell whether a longer text holds one."""
        return self.inside is not None and any(self.is_one(match[0]) for match in self.inside.finditer(text))

    @property
    def by(self) -> Literal["checksum", "pattern"]:
        """What the evidence is."""
        return "checksum" if self.check is not None and self.chance else "pattern"


@cache
def _without(separators: str) -> dict[int, None]:
    return {ord(one): None for one in separators}


def _address(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text).is_unspecified
    except ValueError:
        return False


@cache
def _numbers() -> Any:
    try:
        import phonenumbers
    except ImportError:
        return None
    return phonenumbers


def _phone(text: str) -> bool:
    numbers = _numbers()
    if numbers is None:
        return True  # the pattern of E.164 alone
    try:
        return bool(numbers.is_valid_number(numbers.parse(text, None)))
    except numbers.NumberParseException:
        return False


def national_phone(region: str) -> Identifier:
    """Return what tells phone numbers as they are written inside a country.

    Args:
        region: its code, such as DE.

    Raises:
        MissingExtra: the library of numbering plans is not installed.
        InputError: there is no such region.
    """
    from bascule.errors import InputError, MissingExtra

    numbers = _numbers()
    if numbers is None:
        raise MissingExtra("National phone numbers", "pii")
    if region.upper() not in numbers.SUPPORTED_REGIONS:
        raise InputError(f"{region!r} is no region of phone numbers.", hint="Write a country's code, such as DE or US.")

    def check(text: str) -> bool:
        try:
            return bool(numbers.is_valid_number(numbers.parse(text, region.upper())))
        except numbers.NumberParseException:
            return False

    return Identifier("phone", re.compile(r"[+(]?\d[\d() ./-]{5,22}"), "", check, 0.2)


def _id(country: str, pattern: str, check: Callable[[str], bool], chance: float, ignored: str = " .-/") -> Identifier:
    return Identifier(f"national_id.{country}", re.compile(pattern), ignored, check, chance)


IDENTIFIERS: tuple[Identifier, ...] = (
    Identifier(
        "email",
        re.compile(r"[^@\s<>(),;:\"]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,24}"),
        inside=re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    ),
    Identifier(
        "phone",
        re.compile(r"\+[1-9]\d{6,14}"),
        " ()-./",
        _phone,
        0.02,
        inside=re.compile(r"\+[1-9][\d ()./-]{6,20}\d"),
    ),
    Identifier(
        "credit_card",
        re.compile(r"\d{13,19}"),
        " -",
        checksums.card,
        0.06,
        inside=re.compile(r"\b(?:\d[ -]?){12,18}\d\b"),
    ),
    Identifier(
        "iban",
        re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}"),
        " -",
        checksums.iban,
        0.01,
        inside=re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"),
    ),
    Identifier("ip_address", re.compile(r"[0-9A-Fa-f:.]{3,45}"), "", _address),
    Identifier("mac_address", re.compile(r"(?:[0-9A-Fa-f]{2}([:-]))(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}")),
    Identifier("passport", re.compile(r"[A-Z]{0,2}\d{6,9}|[A-Z0-9]{9}"), " ", named=True),
    _id("de", r"\d{11}", checksums.german_tax, 0.02),
    _id("es", r"[XYZ\d]\d{7}[A-Z]", checksums.spanish, 0.045),
    _id("fr", r"[12378]\d{4}(?:\d\d|2A|2B)\d{8}", checksums.french, 0.01),
    _id("it", r"[A-Z]{6}\d\d[A-EHLMPR-T]\d\d[A-Z]\d{3}[A-Z]", checksums.italian, 0.04),
    _id("nl", r"\d{9}", checksums.dutch, 0.09),
    _id("gb", r"\d{10}", checksums.british_health, 0.09),
    _id("br", r"\d{11}", checksums.brazilian, 0.01),
    _id("pl", r"\d{11}", checksums.polish, 0.02),
    _id("se", r"(?:\d\d)?\d{6}[-+]?\d{4}", lambda text: checksums.swedish(re.sub(r"\D", "", text)), 0.03, " "),
    _id("no", r"\d{11}", checksums.norwegian, 0.003),
    _id("in", r"[2-9]\d{11}", checksums.indian, 0.1),
    _id("cn", r"\d{17}[\dX]", checksums.chinese, 0.01),
    _id("ch", r"756\d{10}", checksums.swiss, 0.1),
    _id("be", r"\d{11}", checksums.belgian, 0.01),
    _id("fi", r"\d{6}[-+A-FU-Y]\d{3}[0-9A-Y]", checksums.finnish, 0.03, " "),
    Identifier(
        "national_id.us", re.compile(r"\d{3}-\d{2}-\d{4}"), "", lambda t: checksums.american(t.replace("-", ""))
    ),
)
