"""What one call of an expression computes, on values that are not null.

Each function mirrors DuckDB's to the bit where C allows it, and is total: a result that does not exist (division by
zero, a logarithm of nothing, an overflow) is None. No NaN or infinity comes out of any of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

BIGINT_MIN, BIGINT_MAX = -(2**63), 2**63 - 1
EPOCH = datetime(1970, 1, 1)
MICROSECOND = timedelta(microseconds=1)
_INTEGER = re.compile(r" *[+-]?[0-9]+ *")
_DECIMAL = re.compile(r" *[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)? *")
_TIME = re.compile(
    r" *([0-9]{4}-[0-9]{2}-[0-9]{2}(?:[ T](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?)?)Z? *"
)


def bigint(value: int) -> int | None:
    """An integer when it fits 64 bits."""
    return value if BIGINT_MIN <= value <= BIGINT_MAX else None


def finite(value: float) -> float | None:
    """A double when it is a number."""
    return value if math.isfinite(value) else None


def divide(a: float, b: float) -> float | None:
    """a / b as doubles."""
    return finite(a / b) if b else None


def divide_integers(a: int, b: int) -> int | None:
    """a // b, towards zero."""
    if not b:
        return None
    quotient = abs(a) // abs(b)
    return bigint(quotient if (a < 0) == (b < 0) else -quotient)


def modulo_integers(a: int, b: int) -> int | None:
    """a % b with the sign of a."""
    if not b or (a == BIGINT_MIN and b == -1):
        return None
    remainder = abs(a) % abs(b)
    return remainder if a >= 0 else -remainder


def modulo(a: float, b: float) -> float | None:
    """a % b with the sign of a, of doubles."""
    return math.fmod(a, b) if b else None


def round_half_away(value: float) -> float:
    """The nearest integer as a double; halves go away from zero, as C's round does."""
    size = abs(value)
    whole = math.floor(size)
    return math.copysign(whole + 1 if size - whole >= 0.5 else whole, value)


def rounding(digits: int) -> Callable[[float], float | None]:
    """A function that rounds to some decimal digits as DuckDB does: scale, round, scale back."""
    scale = math.pow(10, digits)

    def rounded(value: float) -> float:
        scaled = value * scale
        return round_half_away(scaled) / scale if math.isfinite(scaled) else value

    return rounded


def floor(value: float) -> float:
    """The largest integer not above, as a double."""
    return float(math.floor(value))


def ceil(value: float) -> float:
    """The smallest integer not below, as a double."""
    return float(math.ceil(value))


def ln(value: float) -> float | None:
    """The natural logarithm."""
    return math.log(value) if value > 0 else None


def log10(value: float) -> float | None:
    """The decimal logarithm."""
    return math.log10(value) if value > 0 else None


def log(base: float, value: float) -> float | None:
    """The logarithm to a base."""
    if base <= 0 or value <= 0 or base == 1:
        return None
    return finite(math.log10(value) / math.log10(base))


def exp(value: float) -> float | None:
    """e to a power."""
    try:
        return math.exp(value)
    except OverflowError:
        return None


def sqrt(value: float) -> float | None:
    """The square root."""
    return math.sqrt(value) if value >= 0 else None


def power(a: float, b: float) -> float | None:
    """a to the power of b."""
    try:
        return math.pow(a, b)
    except (OverflowError, ValueError):
        return None


def upper(text: str) -> str:
    """Upper case, character by character: a text keeps its length."""
    return text.upper() if text.isascii() else "".join(map(_upper, text))


def lower(text: str) -> str:
    """Lower case, character by character: a text keeps its length."""
    return text.lower() if text.isascii() else "".join("i" if c == "İ" else c.lower() for c in text)


def _upper(character: str) -> str:
    # Unicode's simple mapping: Python knows only the full one, where ß becomes SS.
    if character == "ß":
        return "ẞ"
    return next((form for form in (character.upper(), character.title()) if len(form) == 1), character)


def to_bigint(value: float) -> int | None:
    """A double as an integer; halves go to the even one."""
    return bigint(round(value))


def parse_bigint(text: str) -> int | None:
    """Text as an integer."""
    return bigint(int(text)) if _INTEGER.fullmatch(text) else None


def parse_double(text: str) -> float | None:
    """Text as a double."""
    return finite(float(text)) if _DECIMAL.fullmatch(text) else None


def parse_timestamp(text: str) -> datetime | None:
    """Text as a time in UTC."""
    found = _TIME.fullmatch(text)
    try:
        return datetime.fromisoformat(found[1]) if found else None
    except ValueError:
        return None


def text_of_boolean(value: bool) -> str:
    """`true` or `false`."""
    return "true" if value else "false"


def text_of_timestamp(value: datetime) -> str:
    """`2013-01-31 05:00:00`, with the fraction of a second only when there is one."""
    text = value.isoformat(sep=" ")
    return text.rstrip("0") if value.microsecond else text


def microseconds(value: datetime) -> int:
    """A time without zone as microseconds since 1970."""
    return (value - EPOCH) // MICROSECOND


def from_microseconds(value: int) -> datetime:
    """The reverse of `microseconds`."""
    return EPOCH + timedelta(microseconds=value)


def naive(value: datetime) -> datetime:
    """A time in UTC without its zone; a time without zone is in UTC already."""
    return value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)


def epoch(value: datetime) -> float:
    """Seconds since 1970."""
    return microseconds(value) / 1e6


DATE_PARTS: dict[str, Callable[[datetime], int]] = {
    "year": lambda t: t.year,
    "quarter": lambda t: (t.month + 2) // 3,
    "month": lambda t: t.month,
    "week": lambda t: t.isocalendar()[1],
    "day": lambda t: t.day,
    "dayofyear": lambda t: t.timetuple().tm_yday,
    "dow": lambda t: (t.weekday() + 1) % 7,
    "isodow": lambda t: t.weekday() + 1,
    "hour": lambda t: t.hour,
    "minute": lambda t: t.minute,
    "second": lambda t: t.second,
}


def _boundaries(unit: timedelta) -> Callable[[datetime, datetime], int]:
    return lambda a, b: (b - EPOCH) // unit - (a - EPOCH) // unit


DATE_DIFFS: dict[str, Callable[[datetime, datetime], int]] = {
    "second": _boundaries(timedelta(seconds=1)),
    "minute": _boundaries(timedelta(minutes=1)),
    "hour": _boundaries(timedelta(hours=1)),
    "day": _boundaries(timedelta(days=1)),
    "month": lambda a, b: (b.year - a.year) * 12 + b.month - a.month,
    "year": lambda a, b: b.year - a.year,
}
