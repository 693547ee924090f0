"""Which files of a set are meant: by path, by folder or by pattern."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from bascule.errors import InputError


def chosen(patterns: Sequence[str]) -> Callable[[str], bool] | None:
    """Return what tells whether a path is meant by one of some patterns; None when there are none: all are.

    A pattern is a path, a folder (everything below it), or has `*` and `?` (not across `/`), `[…]` or `**` (any
    folders) in it. One without `/` that has a wildcard means files of that name anywhere: `*.jpg`.
    """
    expressions = [_expression(pattern) for pattern in patterns]
    if not expressions:
        return None
    try:
        match = re.compile("|".join(f"(?:{one})" for one in expressions)).fullmatch
    except re.error as error:
        raise InputError(f"{', '.join(patterns)!r} is no pattern: {error}.", hint="[…] holds characters.") from None
    return lambda path: match(path) is not None


def _expression(pattern: str) -> str:
    plain = pattern.strip("/").removeprefix("./")
    if not plain:
        raise InputError(f"{pattern!r} is no path and no pattern.", hint="Write a path, a folder or *.jpg.")
    if not any(one in plain for one in "*?["):
        return re.escape(plain) + "(?:/.*)?"
    anywhere = "" if "/" in plain else "(?:.*/)?"
    return anywhere + _glob(plain) + ("/.*" if pattern.endswith("/") else "")


def _glob(pattern: str) -> str:
    out, at = "", 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            out, at = out + "(?:.*/)?", at + 3
        elif pattern.startswith("**", at):
            out, at = out + ".*", at + 2
        elif pattern[at] == "[" and (end := pattern.find("]", at + 2)) > 0:
            inside = pattern[at + 1 : end].replace("\\", r"\\").replace("[", r"\[")
            out, at = out + f"[{'^' + inside[1:] if inside[0] in '!^' else inside}]", end + 1
        else:
            out += {"*": "[^/]*", "?": "[^/]"}.get(pattern[at], re.escape(pattern[at]))
            at += 1
    return out
