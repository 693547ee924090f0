"""Which paths a history holds: some become files and addresses, so none leads out, and none has two spellings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from bascule.errors import InputError

LONGEST = 4096  # bytes
# What nearly all paths are: nothing in them needs a second look.
_PLAIN = re.compile(r"(?:\w[\w. -]*/)*\w[\w. -]*", re.ASCII).fullmatch
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def demand(paths: Iterable[str]) -> None:
    """Raise `InputError` for a path that is absolute, leads out, is too long or is not normal Unicode."""
    for path in paths:
        if why := _fault(path):
            shown = path if len(path) <= 120 else f"{path[:100]}… ({len(path)} characters)"
            raise InputError(
                f"{shown!r} cannot be a path of the history: {why}. Nothing was changed.",
                hint="Write names with / between them, such as tables/flights.",
            )


def _fault(path: str) -> str:
    if len(path) <= LONGEST and _PLAIN(path):
        return ""
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "it is not UTF-8"
    if size > LONGEST:
        return f"it is longer than {LONGEST} bytes"
    if bad := _CONTROL.search(path):
        return f"it has {bad.group()!r} in it"
    if any(name in ("", ".", "..") for name in path.split("/")):
        return "it is not relative, or a name in it is empty, '.' or '..'"
    return "" if unicodedata.is_normalized("NFC", path) else "it is not normal Unicode (NFC)"
