"""Numbers with their nouns, as people read them."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """Return `1 row`, `2,400 rows`; `many` where the plural has no plain s, but `y` after a consonant is known."""
    if not many:
        many = f"{one[:-1]}ies" if one.endswith("y") and one[-2:-1] not in tuple("aeiou") else f"{one}s"
    return f"{number:,} {one if number == 1 else many}"
