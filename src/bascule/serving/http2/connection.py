"""One client's HTTP/2 connection: frames in, calls to the handler, answers out as the client's windows let them."""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bascule.serving.http.message import HttpProblem, error_response
from bascule.serving.http2 import frames
from bascule.serving.http2.call import Call
from bascule.serving.http2.frames import Http2Problem, frame
from bascule.serving.http2.hpack import HeaderReader
from bascule.serving.http2.outflow import Outflow
from bascule.serving.http2.patience import Patience

if TYPE_CHECKING:
    from bascule.serving.http.server import HttpServer
    from bascule.serving.http2.call import GrpcHandler

STREAM_WINDOW, WINDOW = 4 << 20, 16 << 20
OUR_FRAME = 1 << 18
_head = struct.Struct(">BHBBL").unpack_from
_number = struct.Struct(">L").unpack_from
_setting = struct.Struct(">HL").iter_unpack
_MASK = (1 << 31) - 1
_OTHER_PROTOCOL = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b"
)


class Http2Connection(asyncio.Protocol):
    """Reads frames and answers calls.

    Args:
        server: whose limits, threads and turn hold here too.
        handler: answers messages.
    """

    def __init__(self, server: HttpServer, handler: GrpcHandler) -> None:
        self.server = server
        self.handler = handler
        self._limits = server.limits
        self._transport: Any = None
        self._reader = HeaderReader(server.limits.header_bytes)
        self._rest = b""
        self._greeted = False
        self._calls: dict[int, Call] = {}
        self._last = 0
        self._heading: tuple[int, int, bytearray] | None = None  # a header block that goes on in the next frame
        self._credit = WINDOW  # bytes that the client may send now
        self.outflow = Outflow(server, self._done)
        self._since = server.now  # when the last call ended
        self._stalled_at = math.inf
        self._leaving = False
        self._deaf = False
        self._patience = Patience(server.now)
        self._parting = math.inf  # when a client that was told to leave is left
        self._taken: dict[int, Callable[[int, int, bytes], None]] = {
            frames.DATA: self._on_data,
            frames.HEADERS: self._on_headers,
            frames.PRIORITY: self._on_priority,
            frames.RST_STREAM: self._on_reset,
            frames.SETTINGS: self._on_settings,
            frames.PUSH_PROMISE: self._on_push,
            frames.PING: self._on_ping,
            frames.GOAWAY: self._on_goaway,
            frames.WINDOW_UPDATE: self._on_window,
            frames.CONTINUATION: self._on_continuation,
        }

    # The transport's side --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or turn the client away when there are too many."""
        self._transport = self.outflow.transport = transport
        self._since = self.server.now
        if not self.server.admit(self):
            self._give_up(Http2Problem(frames.CALM, "the server has as many connections as it takes"))

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        if self._deaf:
            return
        turn = self.server.turn
        turn.held = True
        try:
            self._rest = self._read(self._rest + data if self._rest else data)
        except Http2Problem as problem:
            self._give_up(problem)
        except Exception as error:  # a mistake of ours must not leave the turn held
            error_response(error)
            self._give_up(Http2Problem(frames.INTERNAL, "the server failed"))
        turn.release(alone=len(self.server.connections) == 1)

    def eof_received(self) -> bool:
        """The client is leaving; what it asked before is nothing that it could still read."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        self._deaf = True
        for call in self._calls.values():
            call.cancel()
        self._calls.clear()
        self.outflow.forget_all()
        self.server.forget(self)

    def pause_writing(self) -> None:
        """The client does not read its answers: do not read its questions."""
        self._stalled_at = self.server.now
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._stalled_at = math.inf
        self._transport.resume_reading()

    @property
    def deadline(self) -> float:
        """When something has been waiting for the client for too long."""
        if self._parting != math.inf:
            return self._parting
        if self._stalled_at != math.inf:
            return self._stalled_at + self._limits.write_s
        if not self._greeted or self._heading is not None:
            return self._since + self._limits.header_s
        if self._calls:
            return min(call.deadline() for call in self._calls.values())
        return self._since + self._limits.idle_s

    def expire(self) -> None:
        """The deadline has passed."""
        now = self.server.now
        if self._parting != math.inf or self._stalled_at != math.inf or not self._greeted or self._heading is not None:
            self.abort()
            return
        if not self._calls:
            self.drain()
            return
        for call in list(self._calls.values()):
            if call.deadline() < now:
                call.expire()

    def drain(self) -> None:
        """The server stops: take no further calls, and close when those under way are answered."""
        if not self._leaving:
            self._leaving = True
            self.outflow.write(frames.goaway(self._last, frames.NO_ERROR))
        if not self._calls:
            self._deaf = True
            self._transport.close()

    def abort(self) -> None:
        """Close now, whatever is under way."""
        self._deaf = True
        self._transport.abort()

    # Frames ----------------------------------------------------------------------------------------------------------

    def _read(self, data: bytes) -> bytes:
        """Read whole frames and return what is left."""
        at, end = 0, len(data)
        if not self._greeted:
            if end < len(frames.PREFACE) and frames.PREFACE.startswith(data):
                return data
            if not data.startswith(frames.PREFACE):
                self._turn_away()
                return b""
            self._greet()
            at = len(frames.PREFACE)
        while end - at >= frames.HEAD:
            high, low, kind, flags, stream = _head(data, at)
            size = high << 16 | low
            if size > OUR_FRAME:
                raise Http2Problem(frames.FRAME_SIZE, f"a frame of {size:,} bytes; the most are {OUR_FRAME:,}")
            first = at + frames.HEAD
            if end - first < size:
                break
            if self._heading is not None and kind != frames.CONTINUATION:
                raise Http2Problem(frames.PROTOCOL, "a header block was interrupted")
            taken = self._taken.get(kind)
            at = first + size
            if taken is not None:
                taken(flags, stream & _MASK, data[first:at])
            if self._deaf:
                return b""
        return data[at:]

    def _greet(self) -> None:
        self._greeted = True
        ours = {
            frames.MAX_STREAMS: self._limits.streams,
            frames.INITIAL_WINDOW: STREAM_WINDOW,
            frames.MAX_FRAME: OUR_FRAME,
            frames.MAX_HEADER_LIST: self._limits.header_bytes,
        }
        self.outflow.write(frames.settings(ours) + frames.window_update(0, WINDOW - frames.FIRST_WINDOW))

    def _on_data(self, flags: int, stream: int, payload: bytes) -> None:
        size = len(payload)
        self._credit -= size
        if self._credit < 0:
            raise Http2Problem(frames.FLOW_CONTROL, "more bytes than the window has")
        if self._credit < WINDOW // 2:
            self.outflow.write(frames.window_update(0, WINDOW - self._credit))
            self._credit = WINDOW
        last = bool(flags & frames.END_STREAM)
        if not size and not last:
            self._spend()
        call = self._calls.get(stream)
        if call is None:
            if stream == 0 or stream > self._last:
                raise Http2Problem(frames.PROTOCOL, "data on a stream that was never opened")
            self._spend()
            return
        if call.ended:
            raise Http2Problem(frames.STREAM_CLOSED, "data on a stream that was ended")
        call.credit -= size
        if call.credit < 0:
            raise Http2Problem(frames.FLOW_CONTROL, "more bytes than the stream's window has")
        if call.credit < STREAM_WINDOW // 2 and not last:
            self.outflow.write(frames.window_update(stream, STREAM_WINDOW - call.credit))
            call.credit = STREAM_WINDOW
        call.take(frames.unpadded(payload) if flags & frames.PADDED else payload, last)

    def _on_headers(self, flags: int, stream: int, payload: bytes) -> None:
        if stream % 2 == 0:
            raise Http2Problem(frames.PROTOCOL, "a stream that no client may open")
        if flags & frames.PADDED:
            payload = frames.unpadded(payload)
        if flags & frames.PRIORITIZED:
            if len(payload) < 5:
                raise Http2Problem(frames.FRAME_SIZE, "a header frame without its priority")
            payload = payload[5:]
        if flags & frames.END_HEADERS:
            self._open(flags, stream, payload)
        else:
            self._since = self.server.now
            self._heading = flags, stream, bytearray(payload)

    def _on_continuation(self, flags: int, stream: int, payload: bytes) -> None:
        if self._heading is None or self._heading[1] != stream:
            raise Http2Problem(frames.PROTOCOL, "a header block goes on that did not begin")
        first, _, block = self._heading
        block += payload
        if not payload:
            self._spend()
        if len(block) > self._limits.header_bytes:
            raise Http2Problem(frames.CALM, f"the headers have more than {self._limits.header_bytes:,} bytes")
        if flags & frames.END_HEADERS:
            self._heading = None
            self._open(first, stream, bytes(block))

    def _open(self, flags: int, stream: int, block: bytes) -> None:
        """Read a header block, also of a stream that will not be answered: the next one builds on it."""
        headers = self._reader.read(block)
        known = self._calls.get(stream)
        if known is not None:
            if known.ended or not flags & frames.END_STREAM:
                raise Http2Problem(frames.PROTOCOL, "headers within a stream")
            known.end()
            return
        if stream <= self._last or self._leaving:
            self._spend()
            return
        self._last = stream
        if len(self._calls) >= self._limits.streams:
            self._spend()
            self.outflow.write(frames.reset(stream, frames.REFUSED))
            return
        call = self._calls[stream] = Call(self, stream, self.outflow.call_window, STREAM_WINDOW)
        call.begin(headers)
        if flags & frames.END_STREAM and not call.gone:
            call.end()

    def _on_priority(self, flags: int, stream: int, payload: bytes) -> None:
        self._spend()

    def _on_push(self, flags: int, stream: int, payload: bytes) -> None:
        raise Http2Problem(frames.PROTOCOL, "a client pushes nothing")

    def _on_goaway(self, flags: int, stream: int, payload: bytes) -> None:
        self._spend()

    def _on_reset(self, flags: int, stream: int, payload: bytes) -> None:
        if len(payload) != 4 or stream == 0 or stream > self._last:
            raise Http2Problem(frames.PROTOCOL, "a reset of no stream")
        self._spend()
        call = self._calls.get(stream)
        if call is not None:
            self._patience.take_back(self.server.now)
            self._forget(call)

    def _on_ping(self, flags: int, stream: int, payload: bytes) -> None:
        if len(payload) != 8 or stream:
            raise Http2Problem(frames.FRAME_SIZE, "a ping has eight bytes and no stream")
        self._spend()
        if not flags & frames.ACK:
            self.outflow.write(frame(frames.PING, frames.ACK, 0, payload))

    def _on_settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream or len(payload) % 6 or (flags & frames.ACK and payload):
            raise Http2Problem(frames.FRAME_SIZE, "settings have six bytes each and no stream")
        self._spend()
        if flags & frames.ACK:
            return
        for name, value in _setting(payload):
            if name == frames.INITIAL_WINDOW:
                self.outflow.resize(value, self._calls.values())
            elif name == frames.MAX_FRAME:
                if not frames.FIRST_FRAME <= value <= frames.MOST_FRAME:
                    raise Http2Problem(frames.PROTOCOL, f"a largest frame of {value:,} bytes")
                self.outflow.most_frame = min(value, OUR_FRAME)
        self.outflow.write(frame(frames.SETTINGS, frames.ACK, 0))
        self.outflow.push_all()

    def _on_window(self, flags: int, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Http2Problem(frames.FRAME_SIZE, "a window's update has four bytes")
        more = _number(payload)[0] & _MASK
        self._spend()
        if not more:
            raise Http2Problem(frames.PROTOCOL, "a window grows by nothing")
        if stream == 0:
            self.outflow.widen(more)
            return
        call = self._calls.get(stream)
        if call is not None:
            self.outflow.widen_call(call, more)
        elif stream > self._last:
            raise Http2Problem(frames.PROTOCOL, "a window of a stream that was never opened")

    # What calls do ---------------------------------------------------------------------------------------------------

    def end(self, call: Call, code: int) -> None:
        """End a call without an answer; what the client made us end counts as what it took back."""
        if code == frames.CALM:
            self._patience.take_back(self.server.now)
        self.outflow.write(frames.reset(call.number, code))
        self._forget(call)

    def hold(self, size: int) -> None:
        """Count bytes of messages that are not whole among all bodies that are in memory."""
        self.server.buffered += size
        if size > 0 and self.server.buffered > self._limits.buffered_bytes:
            raise Http2Problem(frames.CALM, "the server holds as many messages as it can")

    def _done(self, call: Call) -> None:
        """A call was answered."""
        if not call.ended:
            self.outflow.write(frames.reset(call.number, frames.NO_ERROR))
        self._patience.earn()
        self._forget(call)

    def _forget(self, call: Call) -> None:
        self._calls.pop(call.number, None)
        self.outflow.forget(call)
        call.cancel()
        if not self._calls:
            self._since = self.server.now
            if self._leaving:
                self._deaf = True
                self._transport.close()

    def _spend(self) -> None:
        self._patience.spend(self.server.now)

    def _give_up(self, problem: Http2Problem) -> None:
        """End the connection: what the client sends cannot be understood, or is too much.

        What it still sends is read for a while and thrown away: closed at once, it would never read why.
        """
        self._deaf = True
        self.outflow.write(frames.goaway(self._last, problem.code, problem.message.encode()))
        for call in self._calls.values():
            call.cancel()
        self._calls.clear()
        self.outflow.forget_all()
        self.server.goaways[problem.reason] += 1
        self.outflow.silent = True
        self._parting = self.server.now + self._limits.linger_s
        transport = self._transport
        if not transport.is_closing():
            transport.write_eof()

    def _turn_away(self) -> None:
        """Answer a client that speaks HTTP/1.1, in its own words."""
        problem = error_response(
            HttpProblem(400, "This port speaks gRPC.", hint="HTTP is on another: see what the server said.")
        )
        self._deaf = True
        self.outflow.write(_OTHER_PROTOCOL % (len(problem.body), problem.body))
        self._transport.close()
