"""One client's connection: bytes in, requests to the handler, answers out in the order of the questions."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING, Any

import httptools

from bascule.serving.http import wire
from bascule.serving.http.codings import SMALL, packed, unpacked_first, unpacked_small
from bascule.serving.http.heads import Head, demand_chunks, demand_continue, demand_no_proxy, without_upgrade
from bascule.serving.http.message import JSON, Deferred, HttpProblem, Request, Response, error_response
from bascule.serving.http.names import KNOWN, SINGLE_HEADERS, remember
from bascule.serving.http.sizes import Sizes

if TYPE_CHECKING:
    from bascule.serving.http.server import HttpServer

NEVER = math.inf
EMPTY_LINE = b"\r\n\r\n"
WHOLE = 192 << 10  # bytes of a request that is looked for by its head: of more the copies cost more than they spare


class Connection(asyncio.Protocol):
    """Reads requests one after the other and answers them in order.

    Args:
        server: whose handler answers, and whose limits hold.
    """

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        self.deadline = NEVER
        self._limits = server.limits
        self._right_hosts = server.hosts.right
        self._heads = server.heads
        self._transport: Any = None
        self._parser: Any = None
        self._data = b""  # what is being parsed, when it began with a request
        self._upgrading = False  # the client offers another protocol
        self._method = b""
        self._partial = False  # the first byte of a request came, its last did not
        self._heading = False  # its headers are not whole
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._sizes = Sizes(server.limits, server)
        self._counting = False  # these bytes may hold more headers than are allowed
        self._body: bytes | list[bytes] = b""
        self._waiting: deque[tuple[Request, bool, bytes]] = deque()
        self._busy = False  # an answer is being made in a thread
        self._stalled = False  # the client does not read
        self._reading = True
        self._deaf = False  # what comes is thrown away
        self._closing = False  # no more answers; what was said is being sent
        self._eof = False  # the client sends no more
        self._epilogue: BaseException | None = None  # told after the answers that are due

    @property
    def alone(self) -> bool:
        """Whether no other client is connected."""
        return len(self.server.connections) == 1

    # The transport's side --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or turn the client away when there are too many."""
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)
        self.deadline = self.server.now + self._limits.header_s
        if not self.server.admit(self):
            self._refuse(
                HttpProblem(503, "The server has as many connections as it takes.", extra=b"retry-after: 1\r\n")
            )

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        if self._deaf:
            return
        partial, heading = self._partial, self._heading
        if not partial and not self._busy and len(data) <= WHOLE:
            head, _, body = data.partition(EMPTY_LINE)
            known = self._heads.get(head)
            if known is not None and len(body) == known.length and not self._waiting and not self.server.draining:
                self._answer_known(known, body)
                return
            self._data = data
        turn = self.server.turn
        self._counting = partial or len(data) > self._limits.header_bytes
        turn.held = True
        try:
            self._parser.feed_data(data)
            if partial and self._partial:
                whole = len(self._body) if isinstance(self._body, bytes) else 0
                problem = self._sizes.unshown(len(data), (heading, self._heading), whole)
                if problem is not None:
                    self._refuse(problem)
        except (httptools.HttpParserUpgrade, httptools.HttpParserError) as error:
            self._stumble(error, data)
        self._data = b""
        turn.release(self.alone)

    def _answer_known(self, known: Head, body: bytes) -> None:
        """Answer a request whose head was read before: in the quickest way if there is one that takes it."""
        said = None
        try:
            if known.quick is not None:
                said = known.quick(body)
        except Exception as error:  # as in `_answer`
            self._answer_at_length(known, body, error_response(error))
            return
        if said is None:
            self._answer_at_length(known, body, None)
            return
        text, kind, extra, kept = said
        if kind is not JSON or extra or known.connection or len(text) >= SMALL:
            self._answer_at_length(known, body, Response(text, 200, kind, extra, kept, True))
            return
        server = self.server
        server.statuses[200] += 1
        self.deadline = server.idle_until
        data = b"%b%d\r\n\r\n%b" % (server.clock.json_ok, len(text), text)
        server.turn.say(self, data, kept, len(server.connections) == 1)

    def _answer_at_length(self, known: Head, body: bytes, response: Response | None) -> None:
        """Answer a request whose head was read before, by the handler unless its answer is there."""
        turn = self.server.turn
        turn.held = True
        request = Request(known.method, known.path, known.headers, body)
        if response is None:
            request.link = self
            self._answer(request, False, known.connection)
        else:
            self._put(request, response, False, known.connection)
        turn.release(self.alone)

    def _stumble(self, error: Exception, data: bytes) -> None:
        """The parser stopped in the midst of what came."""
        if isinstance(error, httptools.HttpParserUpgrade):
            try:
                self._parser = httptools.HttpRequestParser(self)
                head = without_upgrade(self._method, self._url, self._headers)
                self._upgrading, self._url = False, b""
                self._parser.feed_data(head + data[error.args[0] :])
            except (httptools.HttpParserUpgrade, httptools.HttpParserError) as second:
                self._stumble(second, b"")
        elif isinstance(error, httptools.HttpParserCallbackError):
            self._refuse(error.__context__ or error)
        else:
            self._refuse(HttpProblem(400, f"This is not an HTTP/1.1 request: {error}."))

    def eof_received(self) -> bool:
        """The client sends no more: answer what it asked, then close."""
        self._deaf = self._eof = True
        if self._busy or self._waiting:
            return True
        self.server.turn.finish()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        self._deaf = self._closing = True
        self._parser = None  # it points back here
        self._waiting.clear()
        self._sizes.forget()
        self.server.forget(self)

    def pause_writing(self) -> None:
        """The client does not read its answers: do not read its questions."""
        self._stalled = True
        self._regulate()
        self.deadline = self.server.now + self._limits.write_s

    def resume_writing(self) -> None:
        """The client reads again."""
        self._stalled = False
        self.deadline = self.server.now + (self._limits.linger_s if self._closing else self._limits.idle_s)
        self._regulate()

    # The parser's side -----------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._headers = {}
        self._sizes.begin()
        self._partial = self._heading = True
        self.deadline = self.server.now + self._limits.header_s

    def on_url(self, url: bytes) -> None:
        """A part of the target came."""
        self._url += url
        if self._counting:
            self._sizes.url(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A whole header came."""
        if self._counting:
            self._sizes.header(len(name) + len(value))
        known = KNOWN.get(name)
        if known is None:
            known = remember(name)
        if known and self._heading:  # a trailer changes nothing
            if known in self._headers:
                if known in SINGLE_HEADERS:
                    raise HttpProblem(400, f"The header {known.decode()} was sent twice.")
                value = self._headers[known] + b"," + value
            self._headers[known] = value

    def on_headers_complete(self) -> None:
        """All headers came: refuse now what need not be read."""
        self._heading, headers = False, self._headers
        if self._parser.should_upgrade():
            self._method = self._parser.get_method()
            demand_no_proxy(self._method)
            self._upgrading = True
            return
        host = headers.get(b"host")
        if host is None and self._parser.get_http_version() == "1.1":
            raise HttpProblem(400, "The request has no host header.")
        if host not in self._right_hosts or b"origin" in headers:
            self.server.hosts.check(host, headers.get(b"origin"))
        length = headers.get(b"content-length")
        if length is not None and len(length) > 4:
            self._sizes.announced(int(length))
        if b"transfer-encoding" in headers:
            demand_chunks(headers[b"transfer-encoding"])
        if b"expect" in headers:
            demand_continue(headers[b"expect"])
            if self._parser.get_http_version() == "1.1" and not self._busy and not self._waiting:
                self.server.turn.add(self, wire.CONTINUE)

    def on_body(self, data: bytes) -> None:
        """A part of the body came."""
        if not self._body:
            self._body = data  # most bodies come whole
            return
        if isinstance(self._body, bytes):
            self._body = [self._body]
            self.deadline = self.server.now + self._limits.body_s
            self._sizes.part(len(self._body[0]))
        self._body.append(data)
        self._sizes.part(len(data))

    def on_message_complete(self) -> None:
        """A request is whole."""
        if self._upgrading:
            return
        self._partial = False
        if self._deaf:
            return
        body, self._body = self._body, b""
        url, self._url = self._url, b""
        if not isinstance(body, bytes):
            body = b"".join(body)
            self._sizes.forget()
        headers = self._headers
        parser = self._parser
        request = Request(parser.get_method(), url, headers, body)
        request.link = self
        if b"content-encoding" in headers:
            body = unpacked_small(request, self._limits.body_bytes)
        last = not parser.should_keep_alive() or self.server.draining
        connection = wire.CLOSE if last else (wire.KEEP if b"connection" in headers else b"")
        if not last and self._data and len(body) == int(headers.get(b"content-length", 0)):
            self._learn(Head(request.method, url, headers, len(body), connection))
        if self._busy or self._waiting:
            self._waiting.append((request, last, connection))
            self._regulate()
            return
        self._answer(request, last, connection)

    def _learn(self, found: Head) -> None:
        """Remember the head of a request that came alone, and whole."""
        head, _, body = self._data.partition(EMPTY_LINE)
        if len(body) == found.length and self._heads.keep(head, found):
            found.quick = self.server.quick(Request(found.method, found.path, found.headers, body))

    # Answering -------------------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send bytes to the client, if it is still there."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def encode(self, response: Response, last: bool, instead: bytes = b"") -> bytes:
        """Count an answer and return it as bytes; `instead` of one that was counted before and does not leave."""
        statuses = self.server.statuses
        statuses[response.status] += 1
        if instead:
            statuses[int(instead[9:12])] -= 1  # HTTP/1.1 200
        return wire.encode_response(response, self.server.clock, wire.CLOSE if last else b"")

    def expire(self) -> None:
        """The deadline has passed."""
        if self._stalled or self._closing:
            self.abort()
        elif self._partial:
            what = "headers" if self._heading else "body"
            self._refuse(HttpProblem(408, f"The request's {what} did not come in time."))
        else:
            self._deaf = self._closing = True
            self._transport.close()

    def drain(self) -> None:
        """The server stops: close when nothing is under way."""
        if not self._partial and not self._busy and not self._waiting:
            self._deaf = self._closing = True
            self._transport.close()

    def abort(self) -> None:
        """Close now, whatever is under way."""
        self._deaf = self._closing = True
        self._transport.abort()

    def _answer(self, request: Request, last: bool, connection: bytes) -> None:
        try:
            most, handler = self._limits.body_bytes, self.server.handler
            found = unpacked_first(request, most, handler) if request.packed else handler(request)
        except Exception as error:  # every failure becomes an answer: a client never waits for one that will not come
            found = error_response(error)
        if isinstance(found, Deferred):
            self._busy = True
            self.deadline = NEVER
            self.server.defer(found, lambda response: self._finish(request, response, last, connection))
        else:
            self._put(request, found, last, connection)

    def _finish(self, request: Request, response: Response, last: bool, connection: bytes) -> None:
        """Give an answer that was made in a thread, then go on with what was asked meanwhile."""
        self._busy = False
        if self._closing or self._transport.is_closing():
            return
        self._put(request, response, last, connection)
        while self._waiting and not self._busy and not self._closing:
            self._answer(*self._waiting.popleft())
        if self._busy or self._closing:
            return
        if self._epilogue is not None:
            self._tell(self._epilogue)
        elif self._eof:
            self._end()
        else:
            self._regulate()

    def _put(self, request: Request, response: Response, last: bool, connection: bytes) -> None:
        if response.packable and b"accept-encoding" in request.headers:
            packed(response, request.headers[b"accept-encoding"])
        self.server.statuses[response.status] += 1
        data = wire.encode_response(response, self.server.clock, connection, request.method == b"HEAD")
        self.server.turn.add(self, data, response.kept, last)
        if last:
            self._end()
        elif not self._partial:
            self.deadline = self.server.now + self._limits.idle_s

    def _refuse(self, error: BaseException | None) -> None:
        """Stop listening: what the client sends next cannot be understood. Answers that are due come first."""
        self._sizes.forget()
        if self._deaf:
            return
        self._deaf = True
        if self._busy or self._waiting:
            self._epilogue = error
            self._eof = True
        elif error is None:
            self._end()
        else:
            self._tell(error)

    def _tell(self, error: BaseException) -> None:
        if not self._transport.is_closing():
            self.server.turn.add(self, self.encode(error_response(error), True), None, True)
        self._end()

    def _end(self) -> None:
        """Close once everything was sent, reading on for a while so that the client sees the answer."""
        if self._closing:
            return
        self._deaf = self._closing = True
        self._partial = False
        self._waiting.clear()
        self.deadline = self.server.now + self._limits.linger_s
        self._regulate()
        self.server.turn.end(self)

    def _regulate(self) -> None:
        """Read while there is room for what comes, or while it is thrown away."""
        reading = not self._stalled and (self._closing or not self._waiting)
        if reading != self._reading and not self._transport.is_closing():
            self._reading = reading
            if reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def hang_up(self) -> None:
        """Say that nothing more will be sent."""
        wire.hang_up(self._transport)
