"""Values that stand for nobody: addresses that no mail reaches, numbers that nobody answers, words without a sense."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in "aeio"]
_WORDS = (
    *("lorem", "ipsum", "dolor", "sit", "amet", "consectetur", "adipiscing", "elit", "sed", "do", "eiusmod", "tempor"),
    *("incididunt", "ut", "labore", "et", "dolore", "magna", "aliqua", "enim", "minim", "veniam", "quis", "nostrud"),
)
_UPPER, _LOWER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"

Random = np.random.Generator


def word(random: Random, length: int) -> str:
    """Return a made-up word of about so many letters."""
    found = ""
    while len(found) < length:
        found += _SYLLABLES[int(random.integers(len(_SYLLABLES)))]
    return found[: max(length, 1)]


def prose(random: Random, length: int) -> str:
    """Return words that mean nothing, about so many characters."""
    found: list[str] = []
    while sum(map(len, found)) + len(found) < length:
        found.append(_WORDS[int(random.integers(len(_WORDS)))])
    return " ".join(found)[: max(length, 1)].strip() or "a"


def like(random: Random, shape: str, length: int) -> str:
    """Return a text of a shape (`A-9`: see `writing.shape`), about so many characters."""
    runs = [sign for sign in shape if sign in "Aa9"]
    room = max(length - (len(shape) - len(runs)), len(runs))
    lengths = _shared(random, room, len(runs))
    found, place = "", 0
    for sign in shape:
        if sign not in "Aa9":
            found += sign
            continue
        letters = {"A": _UPPER, "a": _LOWER, "9": "0123456789"}[sign]
        found += "".join(letters[int(k)] for k in random.integers(len(letters), size=lengths[place]))
        place += 1
    return found


def private(random: Random, kind: str, shape: str, length: int) -> str:
    """Return a value of a kind of personal data that is nobody's: of reserved names where there are some."""
    number = int(random.integers(10**9))
    match kind:
        case "email":
            return f"{word(random, 6)}.{number}@example.org"
        case "phone":
            return f"+1 555 01{number % 100:02d} {number // 100 % 10**6:06d}"
        case "person name":
            return f"{word(random, 5).title()} {word(random, 8).title()}"
        case "address":
            return f"{number % 999 + 1} {word(random, 7).title()} Street"
        case "IP address":
            return f"198.51.{100 + number % 2}.{number // 2 % 256}" if number % 3 else f"2001:db8::{number:x}"
        case "MAC address":
            return "02:" + ":".join(f"{int(one):02x}" for one in random.integers(256, size=5))
        case "national id":
            return f"9{number % 100:02d}-{number // 100 % 100:02d}-{number // 10_000 % 10_000:04d}"
        case "bank account":
            return f"XX00{number:09d}{int(random.integers(10**9)):09d}"
        case "card number":
            return f"0000{number:09d}{int(random.integers(1000)):03d}"
    return like(random, shape, length) if any(sign in "Aa9" for sign in shape) else word(random, max(length, 6))


def numbered(shape: str, counts: NDArray[np.int64], length: int) -> list[str]:
    """Return different texts of a shape, one for each count: digits count, letters do where there are no digits."""
    width = max(len(str(int(counts.max(initial=0)))), 1)
    before, sign, after = shape.partition("9") if "9" in shape else (shape, "", "")
    fill = "".join("X" if one == "A" else "x" if one == "a" else one for one in before)
    rest = "".join("X" if one == "A" else "x" if one == "a" else "0" if one == "9" else one for one in after)
    room = max(width, length - len(fill) - len(rest)) if sign else width
    return [f"{fill}{int(count):0{room}d}{rest}" for count in counts]


def _shared(random: Random, total: int, parts: int) -> list[int]:
    if not parts:
        return []
    found = np.ones(parts, dtype=int)
    for place in random.integers(parts, size=max(total - parts, 0)):
        found[place] += 1
    return [int(one) for one in found]
