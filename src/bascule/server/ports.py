"""Listening on a port, and what to say when it is taken."""

from __future__ import annotations

import errno
import random
import socket

from bascule.errors import EnvironmentProblem, InputError

BACKLOG = 1024
LAST_PORT = (1 << 16) - 1
TRIES = 50
QUIET = range(20_000, 32_000)  # systems take the ports of outgoing connections from 32768 on (Linux) or 49152
NEXT = 2  # inference listens on the port after the page's, gRPC on the one after that


def listen(host: str, port: int, *, with_next: bool = False) -> socket.socket:
    """Return a listening socket.

    Args:
        port: 0 takes any free port.
        with_next: the two following ports must be free as well.

    Raises:
        InputError: there is no such port.
        EnvironmentProblem: the port is taken; it names the port and a free one.
    """
    last = LAST_PORT - NEXT * with_next
    if not 0 <= port <= last:
        raise InputError(
            f"There is no port {port} to listen on.", hint=f"Take one from 1 to {last}; 0 is any free one."
        )
    for _ in range(TRIES if port == 0 else 1):
        sock = _bound(host, port)
        following = range(sock.getsockname()[1] + 1, sock.getsockname()[1] + 1 + NEXT * with_next)
        used = [one for one in following if not is_free(host, one)]
        if not used:
            return sock
        taken = used[0]
        sock.close()
    raise _taken(host, taken, with_next)


def is_free(host: str, port: int) -> bool:
    """Return whether one could listen there now."""
    if not 0 < port <= LAST_PORT:
        return False
    try:
        with _open(host, port):
            return True
    except OSError:
        return False


def free_port(host: str, *, with_next: bool = False) -> int:
    """Return a port on which one could listen now, if possible one that no outgoing connection will be given."""
    for first in random.sample(QUIET, TRIES):
        if all(is_free(host, one) for one in range(first, first + 1 + NEXT * with_next)):
            return first
    with listen(host, 0, with_next=with_next) as sock:
        return int(sock.getsockname()[1])


def _bound(host: str, port: int) -> socket.socket:
    try:
        return _open(host, port)
    except socket.gaierror as error:
        raise EnvironmentProblem(
            f"{host!r} is no address of this machine: {error.strerror}.",
            hint="Use 127.0.0.1, or an address that this machine has.",
        ) from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise _taken(host, port, True) from error
        raise EnvironmentProblem(
            f"Cannot listen on {host}:{port}: {error.strerror}.", hint="Choose another port or host."
        ) from error


def _open(host: str, port: int) -> socket.socket:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Lets a restarted server take its port back at once. Windows gives the option another meaning.
        if hasattr(socket, "SO_REUSEPORT"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _taken(host: str, port: int, with_next: bool) -> EnvironmentProblem:
    free = free_port(host, with_next=with_next)
    return EnvironmentProblem(
        f"Port {port} on {host} is taken by another program.", hint=f"Take a free one: bascule up --port {free}"
    )
