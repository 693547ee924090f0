"""What a request that sends rows or events says of them: their form, and a key under which they come in once."""

from __future__ import annotations

from typing import Any

from bascule.errors import InputError
from bascule.project.pushing import ARROW, JSON
from bascule.server.answers import Refused
from bascule.server.routes import Call

ROWS_BYTES = 64 << 20
KEY_LENGTH = 200


def sent_as(call: Call[Any, bytes]) -> tuple[str, str]:
    """Return the content type and the Idempotency-Key, which is empty when none was sent.

    Raises:
        Refused: with 415, of a type that is neither JSON nor Arrow.
        InputError: the key is too long, or has signs that cannot be printed.
    """
    kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (*JSON, *ARROW):
        known = ", ".join((*JSON, *ARROW))
        raise Refused(415, InputError(f"The content type is {kind or 'not told'}.", hint=f"Send one of: {known}."))
    once = call.request.headers.get("idempotency-key", "")
    if len(once) > KEY_LENGTH or not once.isprintable():
        raise InputError(
            f"The Idempotency-Key is longer than {KEY_LENGTH} signs, or has odd ones.", hint="Send a UUID."
        )
    return kind, once
