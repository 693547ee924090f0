"""How an answer is printed: one JSON document, or text that a person reads; and what is said beside it."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bascule.cli.options import Form
    from bascule.errors import BasculeError

DIGITS = 6
# All control characters but the line's end and the tab, and the marks that turn the direction of a text.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def answer(common: Form, document: Any, text: str) -> None:
    """Print the answer: the document with `--json`, else the text."""
    if common.json:
        sys.stdout.write(document_text(document))
    elif text:
        sys.stdout.write(printable(text).rstrip("\n") + "\n")
    sys.stdout.flush()


def printable(text: str) -> str:
    """Return a text without what moves a terminal's cursor, colours it or turns its direction: shown as `\\x1b`."""
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def indented(text: str, indent: str) -> str:
    """Return the lines of a text that others wrote, so far in that no line of it can be taken for one of ours."""
    return f"\n{indent}".join(text.splitlines())


def document_text(document: Any) -> str:
    """Return a document as JSON that every reader takes: a number that JSON does not have (NaN) is null."""
    return json.dumps(_finite(document), indent=2, ensure_ascii=False, default=_text, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple | set | frozenset) else value


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def say(text: str) -> None:
    """Tell a person what is going on, on standard error, so that standard output stays the answer."""
    sys.stderr.write(printable(text).rstrip("\n") + "\n")
    sys.stderr.flush()


def told(error: BasculeError) -> str:
    """Return an error as a person reads it: the message, then the next step."""
    return f"bascule: {error.message}" + (f"\n  {error.hint}" if error.hint else "")


def not_in_service(name: str, command: str | None) -> str:
    """Return the sentence about a deployment that serves nothing, with the command that brings it there, if any."""
    return f"{name} is not in service on this branch" + (f"; bring it there with: {command}" if command else "")


def columns(
    rows: Iterable[Sequence[object]],
    head: Sequence[str] = (),
    *,
    none: str = "",
    digits: int = DIGITS,
    gap: int = 2,
    widest: int | None = None,
) -> str:
    """Lay rows out in aligned columns; numbers to the right.

    Args:
        none: what is said when there are no rows.
        digits: how many digits of a number with a point are shown.
        widest: how many signs a cell has at most; a longer one ends with …
    """
    body = [[_cut(cell(one, digits), widest) for one in row] for row in rows]
    if not body:
        return none
    table = [list(head), *body] if head else body
    widths = [max(len(row[at]) for row in table) for at in range(len(table[0]))]
    right = [all(_is_number(row[at]) for row in body) for at in range(len(table[0]))]
    lines = []
    for row in table:
        cells = [one.rjust(w) if r else one.ljust(w) for one, w, r in zip(row, widths, right, strict=True)]
        lines.append((" " * gap).join(cells).rstrip())
    return "\n".join(lines)


def on_terminal() -> bool:
    """Whether somebody reads what is printed, and no file or program."""
    return sys.stdout.isatty()


def _cut(text: str, widest: int | None) -> str:
    return text if widest is None or len(text) <= widest else f"{text[: widest - 1]}…"


def cell(value: object, digits: int = DIGITS) -> str:
    """Return a value as a table shows it, in one line."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {cell(one, digits)}" for key, one in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(cell(one, digits) for one in value)
    return " ".join(str(value).splitlines())


def moment(at: datetime | int) -> str:
    """Return a moment as `2026-03-01 12:00:00`, in UTC.

    Args:
        at: microseconds since 1970, to whole seconds; or a time, which is left as it is when it has no zone.
    """
    found = datetime.fromtimestamp(at // 1_000_000, UTC) if isinstance(at, int) else at
    found = found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found
    return found.isoformat(sep=" ")


def _is_number(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").replace("-", "").replace("%", "").isdigit() or cell == ""
