"""Contract text: YAML that reads the same in YAML 1.1 and 1.2, wrapped comments, numbers rounded outwards."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 118
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Words that some YAML reader takes for a truth value or for nothing.
_TRAPS = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null", "none", "nan", "inf"])


def scalar(value: str | int | float | bool) -> str:
    """A value as YAML: plain when every reader agrees that it is that text or number, else in double quotes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _TRAPS:
        return value
    return text(value)


def text(value: str) -> str:
    """A text in double quotes."""
    return '"' + "".join(_escaped(character) for character in value) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable() and ord(character) < 0x10000:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def comment(words: str, indent: int) -> list[str]:
    """A comment, wrapped."""
    lead = " " * indent + "# "
    return textwrap.wrap(words, WIDTH, initial_indent=lead, subsequent_indent=lead, break_on_hyphens=False)


def flow_list(values: Iterable[str], indent: int) -> list[str]:
    """Texts as a YAML list in brackets, all in double quotes: one line, or lines of their own when it is long."""
    items = [text(value) for value in values]
    single = f"[{', '.join(items)}]"
    if len(single) + indent + 14 <= WIDTH:
        return [single]
    lines = [" " * indent]
    for item in items:
        if len(lines[-1]) + len(item) + 2 > WIDTH:
            lines.append(" " * indent)
        lines[-1] += f"{item}, "
    return ["[", *(line.rstrip() for line in lines), " " * (indent - 2) + "]"]


def outward(low: float, high: float, *, whole: bool) -> tuple[int | float, int | float]:
    """A range rounded outwards to two significant digits of its width."""
    width = high - low if high > low else max(abs(high), 1.0)
    exponent = math.floor(math.log10(width)) - 1
    exponent = max(exponent, 0) if whole else exponent
    step = 10.0**exponent
    ends = (math.floor(low / step) * step, math.ceil(high / step) * step)
    if exponent >= 0:
        return int(ends[0]), int(ends[1])
    return round(ends[0], -exponent), round(ends[1], -exponent)


def block(words: str, lines: Sequence[str], indent: int) -> list[str]:
    """A rule below its comment."""
    return [*comment(words, indent), *(" " * indent + line for line in lines)]


def custom_rule(check: str, body: str) -> list[str]:
    """A quality rule of our own."""
    return ["- type: custom", "  engine: bascule", f"  implementation: {{check: {check}, {body}}}"]
