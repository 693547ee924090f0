"""The server: a socket, its connections, the clock they share, and the threads for what takes long."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple, Protocol

from bascule.errors import EnvironmentProblem, InputError
from bascule.serving.http.connection import Connection
from bascule.serving.http.heads import Heads
from bascule.serving.http.hosts import HostCheck, is_loopback
from bascule.serving.http.limits import Limits
from bascule.serving.http.message import (
    Deferred,
    Handler,
    HttpProblem,
    Quick,
    Request,
    Response,
    error_response,
)
from bascule.serving.http.threads import Threads
from bascule.serving.http.turn import Turn
from bascule.serving.http.wire import Clock

SWEEP_S = 0.1
THREADS = 4
BACKLOG = 1_024
LAST_PORT = (1 << 16) - 1


class Client(Protocol):
    """A connection, as the server sees it: an asyncio protocol that can be told to end."""

    @property
    def deadline(self) -> float:
        """When it is to `expire`, on the loop's clock."""
        ...

    def expire(self) -> None:
        """The deadline has passed."""
        ...

    def drain(self) -> None:
        """The server stops: close when nothing is under way."""
        ...

    def abort(self) -> None:
        """Close now."""
        ...


class Also(NamedTuple):
    """A further port, for clients of another protocol, under the same limits.

    Attributes:
        port: 0 for a free one.
        made: makes what talks to a client.
        option: what chooses the port on the command line.
    """

    port: int
    made: Callable[[], asyncio.Protocol]
    option: str


class HttpServer:
    """Answers HTTP/1.1 on one loopback address.

    Attributes:
        now: the loop's time at the last sweep; deadlines are set by it, so they are true to a tenth of a second.
        buffered: bytes of request bodies that are being read, over all connections.
        draining: the server takes no more work.
        statuses: how many answers had which code.
        late: how many answers took longer than their client, or the server, waits.
        idle_until: the deadline of a connection that was answered now.
        ticks: called some ten times a second, on the event loop.

    Args:
        handler: answers a request; it runs on the event loop, so it must be quick or give a `Deferred`.
        quick: tells, of a request with a head that will be remembered, what answers others with that head.
    """

    def __init__(
        self,
        handler: Handler,
        limits: Limits | None = None,
        quick: Callable[[Request], Quick | None] = lambda request: None,
    ) -> None:
        self.handler = handler
        self.quick = quick
        self.limits = limits or Limits()
        self.hosts = HostCheck()
        self.heads = Heads()
        self.clock = Clock()
        self.now = self.idle_until = 0.0
        self.buffered = 0
        self.draining = False
        self.ticks: list[Callable[[], None]] = []
        self.connections: set[Client] = set()
        self.deferred = 0
        self.late = 0
        self.statuses: Counter[int] = Counter()
        self.goaways: Counter[str] = Counter()  # connections of HTTP/2 that were ended, by why
        self.turn: Turn
        self._loop: asyncio.AbstractEventLoop
        self._listening: list[asyncio.Server] = []
        self._pool = Threads(THREADS, "answer")
        self._single = Threads(1, "unfold")
        self._sweeping: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event

    async def start(self, host: str, port: int, also: Also | None = None) -> tuple[int, int]:
        """Listen, and return the ports: the given ones, or free ones for 0; without `also` the second is 0.

        Nobody is answered before all ports are taken.

        Raises:
            InputError: the host is not this machine's loopback, or there is no such port.
            EnvironmentProblem: a port is taken, or may not be used.
        """
        self._loop = asyncio.get_running_loop()
        self._empty = asyncio.Event()
        self.turn = Turn(self._loop)
        with ExitStack() as unless:
            listeners = [unless.enter_context(_listener(host, port))]
            made: list[Callable[[], asyncio.Protocol]] = [lambda: Connection(self)]
            if also is not None:
                listeners.append(unless.enter_context(_listener(host, also.port, also.option)))
                made.append(also.made)
            unless.pop_all()
        for listener, client in zip(listeners, made, strict=True):
            self._listening.append(await self._loop.create_server(client, sock=listener, backlog=BACKLOG))
        self._sweep()
        bound = [int(listener.getsockname()[1]) for listener in listeners]
        return bound[0], bound[1] if also else 0

    async def stop(self) -> None:
        """Take no more connections, answer what was asked, and close; after `drain_s` close all the same.

        What threads are still doing then has `linger_s` to come to an end, and is left.
        """
        self.draining = True
        for listening in self._listening:
            listening.close()
        for connection in list(self.connections):
            connection.drain()
        if self.connections:
            try:
                await asyncio.wait_for(self._empty.wait(), self.limits.drain_s)
            except TimeoutError:
                for connection in list(self.connections):
                    connection.abort()
        self.turn.finish()
        if self._sweeping is not None:
            self._sweeping.cancel()
        # Whoever waits for what was not begun is gone, and nobody for a version that hangs while it is loaded.
        for pool in (self._pool, self._single):
            await self._loop.run_in_executor(None, pool.end, self.limits.linger_s)

    def admit(self, connection: Client) -> bool:
        """Count a connection; False when there are as many as may be."""
        self.connections.add(connection)
        return len(self.connections) <= self.limits.connections

    def forget(self, connection: Client) -> None:
        """A connection has gone."""
        self.connections.discard(connection)
        if self.draining and not self.connections:
            self._empty.set()

    def defer(self, deferred: Deferred, done: Callable[[Response], None]) -> None:
        """Make an answer in a thread; `done` gets it on the event loop, or an error's answer."""
        begin = deferred.begin
        if begin is None and self.deferred >= self.limits.waiting:
            busy = HttpProblem(429, "The server has as much work as it takes.", extra=b"retry-after: 1\r\n")
            self._loop.call_soon(done, error_response(busy))
            return
        counted = int(begin is None)
        self.deferred += counted
        most = self.limits.request_s
        seconds = most if deferred.seconds is None else min(deferred.seconds, most)
        begun = self._loop.time()
        late: list[bool] = []

        def finished(future: asyncio.Future[object]) -> None:
            self.deferred -= counted
            timer.cancel()
            if late:
                future.exception()
                return
            try:
                response = deferred.finish(_result(future, deferred))
            except Exception as error:  # every failure becomes an answer
                response = error_response(error)
                error.__traceback__ = None  # see `_result`
            if isinstance(response, Deferred):
                response.seconds = seconds - (self._loop.time() - begun)
                self.defer(response, done)
            else:
                done(response)

        def give_up() -> None:
            late.append(True)
            self.late += 1
            problem = HttpProblem(504, f"The answer took longer than {seconds:.3g} s.")
            done(_given_up(deferred, problem))

        def work() -> object:
            if late:  # nobody waits any more: what was not begun need not be
                return None
            return deferred.work()

        timer = self._loop.call_later(max(seconds, 0.0), give_up)
        if begin is None:
            pool = self._single if deferred.single else self._pool
            self._loop.run_in_executor(pool, work).add_done_callback(finished)
            return
        awaited: asyncio.Future[object] = self._loop.create_future()
        awaited.add_done_callback(finished)
        try:
            begin(awaited)
        except Exception as error:  # every failure becomes an answer
            if not awaited.done():
                awaited.set_exception(error)

    def _sweep(self) -> None:
        self.now = self._loop.time()
        self.idle_until = self.now + self.limits.idle_s
        self.clock.tick()
        for tick in self.ticks:
            tick()
        late = [connection for connection in self.connections if connection.deadline < self.now]
        for connection in late:
            connection.expire()
        self._sweeping = self._loop.call_later(SWEEP_S, self._sweep)


def _result(future: asyncio.Future[object], deferred: Deferred) -> object:
    """Return what the work made, or raise its error.

    Whoever handles the error takes its traceback away: its frames hold the future, which holds the error, and such a
    ring keeps what the work held, like an unfolded body, until the collector comes by.
    """
    try:
        return future.result()
    except Exception as error:
        if deferred.rescue is None:
            raise
        found = deferred.rescue(error)
        error.__traceback__ = None
        return found


def _given_up(deferred: Deferred, problem: HttpProblem) -> Response:
    """Return the answer to who waits no longer: what rescues the work may have more to tell, and to log."""
    if deferred.rescue is None:
        return error_response(problem)
    try:
        response = deferred.finish(deferred.rescue(problem))
    except Exception as error:  # every failure becomes an answer
        error.__traceback__ = None
        return error_response(error)
    return error_response(problem) if isinstance(response, Deferred) else response


def _listener(host: str, port: int, option: str = "--port") -> socket.socket:
    if not is_loopback(host):
        raise InputError(
            f"Inference listens on loopback only; {host!r} is reachable from elsewhere.",
            hint="Use --host 127.0.0.1 and put a gateway that authenticates in front of it.",
        )
    if not 0 <= port <= LAST_PORT:
        raise InputError(f"There is no port {port} to listen on.", hint=f"Take one from 1 to {LAST_PORT}.")
    family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, proto)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _cannot_listen(host, port, error, option) from error
    listener.setblocking(False)
    return listener


def _cannot_listen(host: str, port: int, error: OSError, option: str) -> EnvironmentProblem:
    if error.errno == errno.EADDRINUSE:
        return EnvironmentProblem(
            f"Port {port} on {host} is in use by another process.",
            hint=f"Choose another with {option}, or {option} 0 for any free one; `ss -ltnp` shows who holds it.",
        )
    return EnvironmentProblem(
        f"Cannot listen on {host}:{port}: {error.strerror}.", hint=f"Choose another port with {option}."
    )
