"""Numbers with their nouns, as people read them."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return `1 row`, `2,400 rows`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
