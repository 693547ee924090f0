"""Requests, answers, and what stands between them."""

from __future__ import annotations

import asyncio
import secrets
import sys
import traceback
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from bascule.errors import BasculeError, CheckFailed, Conflict, EnvironmentProblem, InputError, NotFound

JSON = b"application/json"
_encode = msgspec.json.Encoder().encode


class Request:
    """A whole request.

    Attributes:
        method: in capitals.
        path: the target without its query, still percent-encoded.
        headers: those that anyone here reads, by lower-case name.
        body: decompressed, when it is handled.
        seconds: how long the client waits for the answer; None when it does not say.
        packed: the body still has its content coding.
        link: the connection that it came by, which waits for its answer; None when nobody says.
    """

    __slots__ = ("body", "headers", "link", "method", "packed", "path", "seconds")

    def __init__(self, method: bytes, path: bytes, headers: dict[bytes, bytes], body: bytes) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.seconds: float | None = None
        self.packed = False
        self.link: object = None


class Kept(Protocol):
    """Something that must be kept before an answer may be sent."""

    def commit(self) -> None:
        """Keep what was appended, or raise `EnvironmentProblem` and keep nothing of it."""
        ...

    @property
    def base(self) -> object:
        """What really keeps it: several may say differently what becomes of an answer when that fails."""
        ...

    def spares(self) -> bool:
        """Return whether an answer may leave though it could not be kept, and count it."""
        ...


class Response:
    """An answer.

    Attributes:
        extra: further header lines, each ended by CRLF.
        kept: what must be kept before this answer is sent; when that fails, the client is told so instead.
        packable: it may be compressed for a client that takes that. Off unless said: Triton's asynchronous client asks
            for compression everywhere and can read it in answers to inference only.
    """

    __slots__ = ("body", "content_type", "extra", "kept", "packable", "status")

    def __init__(
        self,
        body: bytes,
        status: int = 200,
        content_type: bytes = JSON,
        extra: bytes = b"",
        kept: Kept | None = None,
        packable: bool = False,
    ) -> None:
        self.body = body
        self.status = status
        self.content_type = content_type
        self.extra = extra
        self.kept = kept
        self.packable = packable


class Deferred:
    """An answer that takes long: `work` runs in a thread, then `finish` makes the answer on the event loop.

    `finish` may defer again. With `begin`, nothing runs here: it is given a future that somebody else completes.

    Attributes:
        begin: is called on the event loop with the future of the result; what bounds its queue is its own affair.
        single: one such work runs at a time, so that many together cannot take all memory.
        rescue: makes a result of the error that `work` or the future ended with, or raises it again.
        seconds: how long the client waits: after that it is answered 504, and what comes later is dropped. None for as
            long as the server lets any request take.
    """

    __slots__ = ("begin", "finish", "rescue", "seconds", "single", "work")

    def __init__(
        self,
        work: Callable[[], Any],
        finish: Callable[[Any], Response | Deferred],
        seconds: float | None = None,
        *,
        begin: Callable[[asyncio.Future[Any]], None] | None = None,
        rescue: Callable[[Exception], Any] | None = None,
        single: bool = False,
    ) -> None:
        self.begin = begin
        self.single = single
        self.rescue = rescue
        self.work = work
        self.finish = finish
        self.seconds = seconds


Handler = Callable[[Request], Response | Deferred]
# An answer of status 200 in parts: its body, content type and further header lines, and what must be kept before it is
# sent. It may be compressed for a client that takes that.
Said = tuple[bytes, bytes, bytes, Kept]
Quick = Callable[[bytes], Said | None]  # answers a body; None leaves the request to the handler


class HttpProblem(BasculeError):
    """A request that HTTP itself refuses.

    Args:
        status: the answer's code.
        extra: further header lines.
    """

    def __init__(self, status: int, message: str, *, hint: str = "", extra: bytes = b"") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.extra = extra


_STATUS: tuple[tuple[type[BasculeError], int], ...] = (
    (NotFound, 404),
    (InputError, 400),
    (Conflict, 409),
    (CheckFailed, 409),
    (EnvironmentProblem, 503),
)


def json_response(value: Any, status: int = 200, *, kept: Kept | None = None) -> Response:
    """Return an answer that is a JSON document."""
    return Response(_encode(value), status, kept=kept)


def error_response(error: BaseException, kept: Kept | None = None) -> Response:
    """Return the answer for an error: `{"error": text}` and a code. It never shows a traceback.

    An error that nobody foresaw is told by a number that stands beside its traceback on standard error.
    """
    if isinstance(error, HttpProblem):
        return Response(_envelope(error), error.status, extra=error.extra, kept=kept)
    if isinstance(error, BasculeError):
        status = next((code for kind, code in _STATUS if isinstance(error, kind)), getattr(error, "status", 500))
        return Response(_envelope(error), status, kept=kept)
    incident = secrets.token_hex(6)
    print(f"bascule serve: incident {incident}", file=sys.stderr)
    traceback.print_exception(error, file=sys.stderr)
    sys.stderr.flush()
    text = f"The server failed on this request; its log tells more at incident {incident}."
    return Response(_encode({"error": text}), 500, kept=kept)


def _envelope(error: BasculeError) -> bytes:
    text = f"{error.message} {error.hint}".strip()
    return _encode({"error": text.encode("utf-8", "replace").decode()})
