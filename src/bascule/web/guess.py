"""What somebody may have meant who asked for a page, or by a name, that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from urllib.parse import quote

import msgspec

from bascule.web.sections import SECTIONS

MOST, CLOSE = 3, 0.7
# Words that people type for a section, beside those that are near to its name.
ALSO = {"table": "data", "tables": "data", "log": "history", "branches": "history", "drift": "monitoring"}
# Where an address may end after its first word, and where more must follow.
LISTS = (*(path.strip("/") for path, _ in SECTIONS[1:]), "compare", "preview", "releases")
BELOW = ("commits", "alerts")


def near_pages(path: str) -> list[str]:
    """Return the addresses that are near to one that leads nowhere, the nearest first; none when none is near."""
    first, _, rest = path.strip("/").partition("/")
    word = first.lower()
    known = (*LISTS, *BELOW) if rest else LISTS
    names = [ALSO[word]] if word in ALSO else difflib.get_close_matches(word, known, MOST, CLOSE)
    found = [f"/{name}/{quote(rest)}" if rest and name != word else f"/{name}" for name in names]
    return [address for address in found if address != path]


def unknown_names(asked: Iterable[str], query: object) -> list[tuple[str, str]]:
    """Return the query's names that a page does not know, each with the nearest that it knows or an empty string."""
    known = [field.encode_name for field in msgspec.structs.fields(query)] if isinstance(query, msgspec.Struct) else []
    unknown = sorted({name for name in asked if name not in known})
    return [(name, next(iter(difflib.get_close_matches(name, known, 1)), "")) for name in unknown]
