"""The comment on a pull request: failures first, whole sections, within what the forge takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: How a comment of ours begins; it is not seen.
MARKER = "<!-- bascule: ci -->"
_ROOM = 400


@dataclass(frozen=True)
class Section:
    """A part of the comment.

    Attributes:
        title: told when there is no room for it.
        texts: the section as it is written, longest first; the longest one that fits is taken.
    """

    title: str
    texts: tuple[str, ...]


def compose(head: str, sections: Sequence[Section], limit: int, *, marker: str = MARKER, more: str = "") -> str:
    """Return the comment: the head, then every section that fits, in their order; what does not is named.

    Args:
        head: the verdict; cut if it alone is too long.
        limit: how many characters the forge takes. Characters beyond the first plane count twice, as they may there.
        more: where all of it is, for whoever misses something.
    """
    text = f"{marker}\n{head.rstrip()}\n"
    left_out: list[str] = []
    room = limit - _ROOM - sum(length(section.title) + 4 for section in sections)
    text = cut(text, room)
    for section in sections:
        fitting = next((one for one in section.texts if one and length(text) + length(one) + 2 <= room), None)
        if fitting is not None:
            text += f"\n{fitting.rstrip()}\n"
        elif any(section.texts):
            left_out.append(section.title)
    if left_out:
        told = f" {more}" if more else ""
        text += f"\n**Left out for length**: {', '.join(left_out)}.{told}\n"
    return cut(text, limit)


def length(text: str) -> int:
    """Return how long a text is in the strictest way of counting."""
    return len(text) + sum(ord(character) > 0xFFFF for character in text)


def cut(text: str, limit: int) -> str:
    """Return a text of at most so many characters."""
    if length(text) <= limit:
        return text
    kept = text[: max(limit - 1, 0)]
    while length(kept) > limit - 1:
        kept = kept[: -(length(kept) - limit + 1)]
    return kept + "…"
