"""Answers as bytes."""

from __future__ import annotations

import time
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from bascule.serving.http.message import JSON, Response

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
CLOSE = b"connection: close\r\n"
KEEP = b"connection: keep-alive\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Clock:
    """The `date` header, made once a second at most, and the head of the commonest answer with it."""

    def __init__(self) -> None:
        self.date = b""
        self.json_ok = b""
        self.tick()

    def tick(self) -> None:
        """Look at the time. Call it a few times a second."""
        date = b"date: %b\r\n" % formatdate(time.time(), usegmt=True).encode()
        if date != self.date:
            self.date = date
            self.json_ok = b"HTTP/1.1 200 OK\r\ncontent-type: " + JSON + b"\r\n" + date + b"content-length: "


def encode_response(response: Response, clock: Clock, connection: bytes = b"", head_only: bool = False) -> bytes:
    """Return an answer as it goes over the wire.

    Args:
        connection: the `connection` header line, or nothing.
        head_only: leave the body out, as HEAD asks; its length is still told.
    """
    body = response.body
    plain = response.status == 200 and response.content_type is JSON and not response.extra
    if plain and not connection and not head_only:
        return b"%b%d\r\n\r\n%b" % (clock.json_ok, len(body), body)
    head = b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\n%b%b%bcontent-length: %d\r\n\r\n" % (
        response.status,
        _REASONS.get(response.status, b"Unknown"),
        response.content_type,
        clock.date,
        response.extra,
        connection,
        len(body),
    )
    return head if head_only else head + body


def hang_up(transport: Any) -> None:
    """Say that nothing more will be sent, and close where that cannot be said."""
    if not transport.is_closing():
        end = transport.write_eof if transport.can_write_eof() else transport.close
        end()
