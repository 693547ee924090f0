"""What goes out on an HTTP/2 connection: answers in frames, as the client's windows let them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from bascule.serving.http2 import frames
from bascule.serving.http2.call import PREFIX
from bascule.serving.http2.frames import Http2Problem, frame

if TYPE_CHECKING:
    from bascule.serving.http.server import HttpServer
    from bascule.serving.http2.call import Call

_TOO_WIDE = "a window of more bytes than there can be"


class Outflow:
    """Writes answers, and keeps what a window holds back.

    Attributes:
        transport: where to; it is given once there is one.
        silent: nothing more is written.
        window: bytes that the client takes now, of all calls.
        call_window: those that a new call may send.
        most_frame: bytes of the largest frame that it takes.

    Args:
        done: is told of each call whose last frame was written.
    """

    def __init__(self, server: HttpServer, done: Callable[[Call], None]) -> None:
        self._server, self._done = server, done
        self._blocked: dict[int, Call] = {}
        self.transport: Any = None
        self.silent = False
        self.window = self.call_window = frames.FIRST_WINDOW
        self.most_frame = frames.FIRST_FRAME

    def write(self, data: bytes) -> None:
        """Write frames, unless the connection is at its end."""
        transport = self.transport
        if not self.silent and not transport.is_closing():
            transport.write(data)

    def resize(self, window: int, calls: Iterable[Call]) -> None:
        """Give each call the window that the client now says.

        Raises:
            Http2Problem: there can be no such window.
        """
        if window > frames.MOST_WINDOW:
            raise Http2Problem(frames.FLOW_CONTROL, _TOO_WIDE)
        for call in calls:
            call.window += window - self.call_window
        self.call_window = window

    def widen(self, more: int) -> None:
        """Let all calls send more.

        Raises:
            Http2Problem: there can be no such window.
        """
        self.window += more
        if self.window > frames.MOST_WINDOW:
            raise Http2Problem(frames.FLOW_CONTROL, _TOO_WIDE)
        self.push_all()

    def widen_call(self, call: Call, more: int) -> None:
        """Let one call send more.

        Raises:
            Http2Problem: there can be no such window.
        """
        call.window += more
        if call.window > frames.MOST_WINDOW:
            raise Http2Problem(frames.FLOW_CONTROL, _TOO_WIDE)
        if call.left:
            self.push(call)

    def forget(self, call: Call) -> None:
        """A call has ended."""
        self._blocked.pop(call.number, None)

    def forget_all(self) -> None:
        """All calls have ended."""
        self._blocked.clear()

    def answer(self, call: Call, message: bytes, headers: bytes, trailers: bytes) -> None:
        """Send the only message of a call and end it."""
        size = len(message)
        prefix = size.to_bytes(PREFIX, "big")
        tail = frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, call.number, trailers)
        head = frame(frames.HEADERS, frames.END_HEADERS, call.number, headers)
        if size + PREFIX <= min(self.window, call.window, self.most_frame):
            self.window -= size + PREFIX
            self.write(b"".join((head, frame(frames.DATA, 0, call.number, prefix + message), tail)))
            self._done(call)
            return
        self.write(head)
        call.left += (prefix, memoryview(message))
        call.tail = tail
        call.since = self._server.now
        self.push(call)

    def open_answer(self, call: Call, headers: bytes) -> None:
        """Begin the answers of a stream."""
        self.write(frame(frames.HEADERS, frames.END_HEADERS, call.number, headers))

    def close_answer(self, call: Call, trailers: bytes) -> None:
        """End a stream when all its answers were sent."""
        call.tail = frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, call.number, trailers)
        self.push(call)

    def push(self, call: Call) -> None:
        """Send what the windows let through."""
        left, flow = call.left, frames.DATA
        while left:
            room = min(self.window, call.window, self.most_frame)
            if room <= 0:
                self._blocked[call.number] = call
                return
            part = left.popleft()
            if len(part) > room:
                left.appendleft(memoryview(part)[room:])
                part = memoryview(part)[:room]
            self.window -= len(part)
            call.window -= len(part)
            call.since = self._server.now
            self.write(frame(flow, 0, call.number, bytes(part)))
        self._blocked.pop(call.number, None)
        if call.tail is not None:
            self.write(call.tail)
            self._done(call)

    def end_with(self, call: Call, headers: bytes) -> None:
        """End a call by headers alone."""
        self.write(frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, call.number, headers))
        self._done(call)

    def refuse_plainly(self, call: Call, headers: bytes, text: bytes) -> None:
        """Answer what is no gRPC call."""
        self.write(
            frame(frames.HEADERS, frames.END_HEADERS, call.number, headers)
            + frame(frames.DATA, frames.END_STREAM, call.number, text)
        )
        self.window -= len(text)
        self._done(call)

    def push_all(self) -> None:
        """Send what waits, as far as the windows let it."""
        for call in list(self._blocked.values()):
            self.push(call)
