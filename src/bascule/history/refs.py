"""Names for commits: branches, tags, and the ways to write a point in the past."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from bascule.errors import InputError

NAME_LIMIT = 250
# As git's, and for git's reasons: these characters have a meaning in a ref, a URL, a shell or SQL.
_BAD = re.compile(r"[\x00-\x20\x7f~^:?*\[\]\\@'\"`;]|\.\.|//|^[-/.]|[/.]$|\.lock$")
_PARENT = re.compile(r"^(?P<name>.+)~(?P<count>\d*)$")
Kind = Literal["branch", "tag"]


@dataclass(frozen=True, slots=True)
class Ref:
    """A branch or a tag. Times are microseconds since the epoch."""

    name: str
    kind: Kind
    head: str
    protected: bool
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class RefText:
    """A ref as it was written, taken apart: a name, at a time or a commit of it, so many commits back."""

    name: str
    at: int | str | None
    back: int


def checked_name(name: str) -> str:
    """Return a name that a branch or a tag may have, or raise `InputError` saying what is wrong with it."""
    bad = _BAD.search(name)
    if not name or len(name) > NAME_LIMIT or bad:
        what = f"{bad.group()!r}" if bad else ("nothing in it" if not name else f"{len(name)} characters")
        raise InputError(
            f"{name[:60]!r} cannot name a branch or a tag: it has {what}.",
            hint=f"Use letters, digits and - _ . / +, at most {NAME_LIMIT}.",
        )
    if name.upper() == "HEAD" or name.lower().startswith("refs/"):
        raise InputError(
            f"{name[:60]!r} cannot name a branch or a tag: git means something else by it.",
            hint=f"Take another name, such as {name.rpartition('/')[2].lower() + '-1'}.",
        )
    return name


def parse_ref(text: str) -> RefText:
    """Take `main`, `v1.2~3`, `main@2026-03-01T00:00Z` or `main@3f9ab2c1` apart.

    Raises:
        InputError: when what follows `@` is neither a time nor a commit.
    """
    back = 0
    if match := _PARENT.match(text):
        text, back = match["name"], int(match["count"] or 1)
    name, at, moment = text.partition("@")
    if not at:
        return RefText(text, None, back)
    if re.fullmatch(r"[0-9a-f]{4,64}", moment):
        return RefText(name, moment, back)
    try:
        when = datetime.fromisoformat(moment)
    except ValueError:
        raise InputError(
            f"{moment!r} in {text!r} is neither a time nor a commit.",
            hint="Write a time such as main@2026-03-01T00:00Z, or a commit id.",
        ) from None
    return RefText(name, int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1e6), back)
