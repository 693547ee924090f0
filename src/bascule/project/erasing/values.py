"""Finding a subject's values in text and bytes that nobody wrote as a table: reports, JSON, database pages."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

INSTEAD = "(forgotten)"
# Shorter texts and numbers stand in too many places by chance to be replaced wherever they stand.
LEAST_LETTERS, LEAST_DIGITS = 4, 6
_BLOCK = 1 << 20


class Shared(str):
    """A value of a key that others have too, such as the town beside a name: it names nobody without the rest."""

    __slots__ = ()

    def __str__(self) -> str:
        return self  # what is asked of a key's values as texts is still known of them


def distinctive(value: str) -> bool:
    """Tell whether a value names its subject wherever it stands, also without its column."""
    if isinstance(value, Shared):
        return False
    plain = value.strip()
    least = LEAST_DIGITS if re.fullmatch(r"[\d.,+-]*", plain) else LEAST_LETTERS
    return len(plain) >= least


def bounded(value: str) -> str:
    """Return a regular expression for a value that is not a part of a longer word or number.

    A plain word ends where an identifier does: `anna` is not in `anna_karenina`. Any other value, as an address or a
    number, ends at an underscore as it does at a hyphen: it is in `copy_of_ann@example.org.csv`. The letter of an
    escape such as `\\n`, as code and JSON write it, is no part of the word behind it.
    """
    inner = r"\w" if value.isalpha() else r"[^\W_]"
    return rf"(?:(?<!{inner})|(?<=\\[abfnrtv0])){re.escape(value)}(?!{inner})"


def without(text: str, key: Mapping[str, Any]) -> str:
    """Return text without a subject: its rows leave lists, and its distinctive values are replaced.

    JSON stays JSON. Text that does not name the subject is returned as it is.
    """
    values = [str(value) for value in key.values()]
    if not any(value in text or escaped(value) in text for value in values):
        return text
    if text[:1] in "[{":
        try:
            document = json.loads(text)
        except ValueError:
            document = None
        if document is not None:
            cleaned = _cleaned(document, {c.casefold(): str(v) for c, v in key.items()})
            return text if cleaned == document else json.dumps(cleaned, ensure_ascii=False)
    return _replaced(text, values)


def names_subject(row: Mapping[str, Any], key: Mapping[str, Any]) -> bool | None:
    """Tell whether a row is the subject's; None when it does not have all columns of the key."""
    cells = {str(name).casefold(): value for name, value in row.items()}
    if not all(column.casefold() in cells for column in key):
        return None
    return all(str(cells[column.casefold()]) == str(value) for column, value in key.items())


def needles(key: Mapping[str, Any]) -> list[bytes]:
    """Return the bytes that distinctive values of a subject can have in files: as UTF-8 and as JSON writes them."""
    found = {}
    for value in map(str, key.values()):
        if distinctive(value):
            found.update(dict.fromkeys([value.encode(), escaped(value).encode()]))
    return list(found)


def holds(path: Path, wanted: list[bytes]) -> bool:
    """Tell whether a file has one of some byte strings in it. A file that is not there has none."""
    if not wanted:
        return False
    overlap = max(map(len, wanted)) - 1
    try:
        with path.open("rb") as source:
            tail = b""
            while block := source.read(_BLOCK):
                window = tail + block
                if any(one in window for one in wanted):
                    return True
                tail = window[-overlap:] if overlap else b""
    except FileNotFoundError:
        return False
    return False


def escaped(value: str) -> str:
    """Return a text as it stands between the quotes of JSON."""
    return json.dumps(value)[1:-1]


def forms_of(values: Iterable[str]) -> list[str]:
    """Return how values may stand in a text: as they are, and as JSON writes them; each once, in order."""
    return list(dict.fromkeys(form for value in values for form in (value, escaped(value))))


def cleaner(forms: Sequence[str]) -> Callable[[str], str]:
    """Return what puts `INSTEAD` for each form of a value in a text."""
    patterns = [re.compile(bounded(form)) for form in forms]

    def clean(text: str) -> str:
        for form, pattern in zip(forms, patterns, strict=True):
            if form in text:
                text = pattern.sub(INSTEAD, text)
        return text

    return clean


def _replaced(text: str, values: list[str]) -> str:
    for value in values:
        if distinctive(value):
            text = re.sub(bounded(value), INSTEAD, text)
    return text


def _is_own(own: str | None, value: Any) -> bool:
    return own is not None and not isinstance(own, Shared) and own == str(value)


def _cleaned(value: Any, key: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_cleaned(one, key) for one in value if not (isinstance(one, dict) and names_subject(one, key))]
    if isinstance(value, dict):
        return {
            _replaced(name, list(key.values())): (
                INSTEAD if _is_own(key.get(name.casefold()), one) else _cleaned(one, key)
            )
            for name, one in value.items()
        }
    return _replaced(value, list(key.values())) if isinstance(value, str) else value
