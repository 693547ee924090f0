"""One gRPC call: a stream of HTTP/2 whose bytes are messages, each with a flag and its length in front."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

import msgspec

from bascule.serving.http.codings import unpacked
from bascule.serving.http.message import Deferred, HttpProblem, Request, Response, error_response
from bascule.serving.http2 import frames
from bascule.serving.http2.hpack import Header, literal

if TYPE_CHECKING:
    from bascule.serving.http2.connection import Http2Connection

PREFIX = 5
MOST_TEXT = 2_000  # of an error, in a trailer: clients take 8 kB of those
MOST_WAITING = 64  # messages of a stream that wait for the one before them
OK_HEADERS = b"\x88\x0f\x10\x10application/grpc" + literal(b"grpc-accept-encoding", b"identity,deflate,gzip")
OK_TRAILERS = literal(b"grpc-status", b"0")
NOT_GRPC = b"\x8d\x0f\x10\x0atext/plain"  # status 404

# HTTP's codes as gRPC's: the same errors in the words of either.
_STATUS = {400: 3, 403: 7, 404: 5, 408: 4, 409: 10, 413: 8, 415: 12, 429: 8, 501: 12, 503: 14, 504: 4}
_UNKNOWN_METHOD = b"12"
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_KEPT = (b"traceparent", b"x-bascule-caller", b"x-bascule-branch")


class GrpcHandler(Protocol):
    """What answers calls. A request's path is the method's, its body one message; a refusal is a `Response` whose
    status is not 200, in HTTP's words."""

    def handle(self, request: Request) -> Response | Deferred:
        """Answer one message; it runs on the event loop."""
        ...

    def streams(self, path: bytes) -> bool:
        """Return whether a method takes and gives many messages."""
        ...

    def told(self, response: Response) -> bytes:
        """Return a refusal as a message, for methods that stream: the call goes on after it."""
        ...


class Call:
    """Reads the messages of one stream, one after the other, and answers each. It is an outlet of the server's turn.

    Attributes:
        number: the stream's.
        window: how many bytes the client takes now.
        credit: how many it may send now.
        left: payloads that wait for the window.
        tail: the frame that ends the stream once they are sent.
        since: when the call began, or last got on; on the loop's clock.
        ended: the client sends no more.
    """

    def __init__(self, connection: Http2Connection, number: int, window: int, credit: int) -> None:
        self.connection = connection
        self.number = number
        self.window = window
        self.credit = credit
        self.left: deque[bytes | memoryview] = deque()
        self.tail: bytes | None = None
        self.since = connection.server.now
        self.ended = False
        self._path = b""
        self._headers: dict[bytes, bytes] = {}
        self._coding = b""
        self._seconds: float | None = None
        self._streaming = False
        self._parts: list[bytes] = []
        self._held = 0
        self._messages: deque[bytes] = deque()
        self._flags: deque[int] = deque()
        self._busy = False  # an answer is being made, or waits for its turn
        self._answered = False  # the stream's headers were sent
        self._reply: Response | None = None
        self.gone = False

    # What comes ------------------------------------------------------------------------------------------------------

    def begin(self, headers: list[Header]) -> None:
        """Read the headers of the call, and refuse what is none."""
        found = dict(headers)
        server = self.connection.server
        if found.get(b":method") != b"POST" or not found.get(b"content-type", b"").startswith(b"application/grpc"):
            self.connection.outflow.refuse_plainly(self, NOT_GRPC, b"This port speaks gRPC.\n")
            return
        self._path = found.get(b":path", b"")
        self._streaming = self.connection.handler.streams(self._path)
        self._coding = found.get(b"grpc-encoding", b"identity")
        for name in _KEPT:
            if name in found:
                self._headers[name] = found[name]
        try:
            host = found.get(b":authority") or found.get(b"host")
            if host not in server.hosts.right or b"origin" in found:
                server.hosts.check(host, found.get(b"origin"))
            if b"grpc-timeout" in found:
                self._seconds = seconds_of(found[b"grpc-timeout"])
        except HttpProblem as problem:
            self._put(error_response(problem))

    def take(self, data: bytes, last: bool) -> None:
        """Read bytes of the client's messages."""
        if self._reply is not None and not self._streaming:
            return  # refused already
        self.since = self.connection.server.now
        most = self.connection.server.limits.body_bytes + PREFIX
        if last and not self._parts and not self._streaming and len(data) <= most and _is_whole(data):  # most come so
            self.ended = True
            self._begin(data[0], data[PREFIX:])
            return
        if data:
            self._parts.append(data)
            self._held += len(data)
            self.connection.hold(len(data))
        if self._held > most:
            self._drop()
            self._put(error_response(HttpProblem(413, f"The message has more than {most - PREFIX:,} bytes.")))
            return
        if self._streaming:
            self._cut()
        if last and not self.gone:
            self.end()

    def end(self) -> None:
        """The client sends no more."""
        self.ended = True
        if self._streaming:
            if not self._busy and not self._messages:
                self._finish_stream()
            return
        if self._reply is not None or self._busy:
            return
        whole = b"".join(self._parts)
        self._drop()
        if not _is_whole(whole):
            self._put(error_response(HttpProblem(400, "The call is not one message.")))
            return
        self._begin(whole[0], whole[PREFIX:])

    def cancel(self) -> None:
        """The client is gone, or wants no answer any more."""
        self.gone = True
        self._drop()
        self._messages.clear()
        self.left.clear()

    def deadline(self) -> float:
        """Return when the call has been waiting for its client for too long."""
        limits = self.connection.server.limits
        if self.left:
            return self.since + limits.write_s
        if self._busy:
            return math.inf
        if self.ended:
            return math.inf
        return self.since + (limits.idle_s if self._streaming else limits.body_s)

    def expire(self) -> None:
        """The deadline has passed."""
        if self.left or self._streaming:
            self.connection.end(self, frames.CANCEL)
        else:
            self._drop()
            self._put(error_response(HttpProblem(408, "The message did not come in time.")))

    def _cut(self) -> None:
        """Take whole messages off the front of what came."""
        while self._held >= PREFIX:
            if len(self._parts) > 1 and len(self._parts[0]) < PREFIX:
                self._parts = [b"".join(self._parts)]
            size = int.from_bytes(self._parts[0][1:PREFIX], "big") + PREFIX
            if size - PREFIX > self.connection.server.limits.body_bytes:
                self.connection.end(self, frames.CALM)
                return
            if self._held < size:
                return
            whole = b"".join(self._parts)
            self._drop()
            if len(whole) > size:
                self._parts = [whole[size:]]
                self._held = len(whole) - size
                self.connection.hold(self._held)
            if len(self._messages) >= MOST_WAITING:
                self.connection.end(self, frames.CALM)
                return
            self._begin(whole[0], whole[PREFIX:size])

    def _drop(self) -> None:
        self.connection.hold(-self._held)
        self._parts = []
        self._held = 0

    # Answering -------------------------------------------------------------------------------------------------------

    def _begin(self, flag: int, message: bytes) -> None:
        if self._busy:
            self._messages.append(message)
            self._flags.append(flag)
            return
        self._busy = True
        server = self.connection.server
        try:
            if flag:
                message = self._plain(flag, message)
            request = Request(b"POST", self._path, self._headers, message)
            request.seconds = self._seconds
            found = self.connection.handler.handle(request)
        except Exception as error:  # every failure becomes an answer
            found = error_response(error)
        if isinstance(found, Deferred):
            server.defer(found, self._put)
        else:
            self._put(found)

    def _plain(self, flag: int, message: bytes) -> bytes:
        if flag != 1 or self._coding == b"identity":
            raise HttpProblem(400, "The message is flagged as compressed, and the call names no coding.")
        try:
            return unpacked(message, self._coding, self.connection.server.limits.body_bytes)
        except HttpProblem as problem:
            raise HttpProblem(501 if problem.status == 415 else problem.status, problem.message) from None

    def _put(self, response: Response) -> None:
        """Give an answer to the turn."""
        self._busy = True
        self._reply = response
        if not self.gone:
            self.connection.server.turn.add(self, b"", response.kept)

    def encode(self, response: Response, last: bool, instead: bytes) -> bytes:
        """Take another answer in place of the one that could not be kept."""
        self._reply = response
        return b""

    def send(self, data: bytes) -> None:
        """The turn came: the answer may leave."""
        response = self._reply
        if self.gone or response is None:
            return
        connection = self.connection
        connection.server.statuses[response.status] += 1
        if self._streaming:
            self._send_one(response)
        elif response.status != 200:
            connection.outflow.end_with(self, OK_HEADERS + refusal(response))
        else:
            self._busy = False
            connection.outflow.answer(self, response.body, OK_HEADERS, OK_TRAILERS)

    def hang_up(self) -> None:
        """Nothing: a stream is ended by its answer."""

    def abort(self) -> None:
        """Close the connection now."""
        self.connection.abort()

    def _send_one(self, response: Response) -> None:
        """Send one answer of a stream and take its next message up."""
        self._busy = False
        self._reply = None
        connection = self.connection
        message = response.body if response.status == 200 else connection.handler.told(response)
        if not self._answered:
            self._answered = True
            connection.outflow.open_answer(self, OK_HEADERS)
        self.since = connection.server.now
        self.left += (len(message).to_bytes(PREFIX, "big"), message)
        connection.outflow.push(self)
        if self.gone:
            return
        if self._messages:
            self._begin(self._flags.popleft(), self._messages.popleft())
        elif self.ended:
            self._finish_stream()

    def _finish_stream(self) -> None:
        if self._answered:
            self.connection.outflow.close_answer(self, OK_TRAILERS)
        else:
            self.connection.outflow.end_with(self, OK_HEADERS + OK_TRAILERS)


def _is_whole(data: bytes) -> bool:
    """Return whether bytes are one message."""
    return len(data) >= PREFIX and int.from_bytes(data[1:PREFIX], "big") == len(data) - PREFIX


def refusal(response: Response) -> bytes:
    """Return an error as the trailers of a call that gives nothing else."""
    code = _STATUS.get(response.status, 13)
    text = error_text(response)[:MOST_TEXT]
    found = literal(b"grpc-status", b"%d" % code) + literal(b"grpc-message", quote(text, safe=_SAFE).encode())
    if b"retry-after: " in response.extra:
        seconds = response.extra.partition(b"retry-after: ")[2].partition(b"\r\n")[0]
        found += literal(b"grpc-retry-pushback-ms", b"%d" % (int(seconds) * 1000))
    return found


_SAFE = "".join(chr(code) for code in range(0x20, 0x7F) if code != 0x25)


def error_text(response: Response) -> str:
    """Return what an error's answer says."""
    found: dict[str, str] = msgspec.json.decode(response.body)
    return found["error"]


def seconds_of(value: bytes) -> float:
    """Return a call's timeout: up to eight digits and a unit.

    Raises:
        HttpProblem: it is something else.
    """
    digits, unit = value[:-1], value[-1:]
    if not digits.isdigit() or len(digits) > 8 or unit not in _UNITS:
        raise HttpProblem(400, f"The timeout {value[:20].decode('latin-1')!r} is none.")
    return int(digits) * _UNITS[unit]
