"""What a file set says of one file, and the object that stands for a whole set in the history.

An object is `{"kind": "files", "manifest", "offset", "length", "digest", "files", "bytes"}`: `manifest` is the blob in
which the manifest's root lies at `offset`, and `digest` is the identity of the content. Equal files have equal digests,
however they came and wherever their bytes are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from bascule.errors import InputError

Object = dict[str, Any]

KIND = "files"
PREFIX = "files/"

# What an entry is.
FILE, EXECUTABLE, LINK = 0, 1, 2
# Where its bytes are: inside a pack, in a blob of their own, or in chunks that a recipe inside a pack lists.
PACKED, WHOLE, CHUNKED = 0, 1, 2

# A digest as it lies in manifests, and a number of bytes or files.
Digest = bytes
Count = Annotated[int, Meta(ge=0)]
_NAME = re.compile(r"^[A-Za-z0-9_][\w.-]{0,99}\Z", re.ASCII)


class Entry(msgspec.Struct, array_like=True, gc=False):
    """One file of a set.

    Attributes:
        path: relative to the set, with `/`.
        mode: `FILE`, `EXECUTABLE` or `LINK`; a link's content is what it points to.
        size: of the content, in bytes.
        digest: BLAKE3 of the content.
        how: `PACKED`, `WHOLE` or `CHUNKED`.
        pack: the pack that holds the content, or the recipe; empty for `WHOLE` and for no content.
        offset, length: where in the pack it is.
    """

    path: str
    mode: Annotated[int, Meta(ge=FILE, le=LINK)]
    size: Count
    digest: Annotated[Digest, Meta(min_length=32, max_length=32)]
    how: Annotated[int, Meta(ge=PACKED, le=CHUNKED)] = PACKED
    pack: Annotated[Digest, Meta(max_length=32)] = b""
    offset: Count = 0
    length: Count = 0

    def same(self, other: Entry) -> bool:
        """Tell whether two entries are the same file, wherever its bytes are."""
        return self.digest == other.digest and self.mode == other.mode


def checked_name(name: str) -> str:
    """Return a set's name if it can be one."""
    if not _NAME.match(name):
        raise InputError(
            f"{name[:120]!r} cannot name a file set.",
            hint="Use letters, digits, _, - and dots, beginning with a letter, a digit or _.",
        )
    return name


def path_of(name: str) -> str:
    """Return where the history keeps a set's object."""
    return PREFIX + checked_name(name.removeprefix(PREFIX))


def content_of(value: Mapping[str, Any] | None) -> str:
    """Return the identity of an object's content; "" for no object."""
    return str(value["digest"]) if value else ""
