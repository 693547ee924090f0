"""Pages of a long answer: a token says where the next one begins, and to which question it belongs."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from bascule.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some of what was asked for; `token` leads to more, and is empty on the last page."""

    found: list[T]
    token: str = ""


def next_token(offset: int, question: str = "") -> str:
    """Return the token of the page that begins at an offset."""
    told = {"offset": offset} | ({"question": question} if question else {})
    return base64.urlsafe_b64encode(msgspec.json.encode(told)).decode()


def foreign_token(token: str) -> InputError:
    """Return the error for a token that is none of ours."""
    return InputError(
        f"The page token {token[:60]!r} is none of this server's.",
        hint="Ask for the first page again, without one.",
    )


def offset_of(token: str, question: str = "") -> int:
    """Return where a token's page begins.

    Raises:
        InputError: when it is none of ours, or belongs to another question.
    """
    if not token:
        return 0
    try:
        told = msgspec.json.decode(base64.b64decode(token, altchars=b"-_", validate=True), type=dict[str, int | str])
        offset = told["offset"]
        if not isinstance(offset, int) or not 0 <= offset < 2**62:
            raise ValueError
    except (binascii.Error, msgspec.MsgspecError, ValueError, KeyError, UnicodeDecodeError):
        raise foreign_token(token) from None
    if told.get("question", "") != question:
        raise InputError("The page token belongs to another search.", hint="Ask for the first page of this one.")
    return offset
