"""Requests that come at a fixed rate, whether or not the last ones were answered."""

from __future__ import annotations

import ctypes
import multiprocessing
import select
import socket
import sys
import time
from array import array
from typing import NamedTuple

import numpy as np

SET_TIMER_SLACK = 29  # prctl's number: a wait ends 50 µs late by default


class Told(NamedTuple):
    """What was seen of some requests, in the order of their answers.

    Attributes:
        times: µs from when each was due to its answer.
        at: seconds after the first when it was answered.
        late: µs from when each was due until it was asked.
        lasted: seconds.
    """

    times: np.ndarray
    at: np.ndarray
    late: np.ndarray
    lasted: float


def arrive(port: int, request: bytes, rate: float, seconds: float, connections: int) -> Told:
    """Ask at a rate, evenly spaced, in a process of its own; 0 asks again on each connection once it is answered.

    A request is asked when it is due and a connection is free. Its time begins when it was due, so what holds the
    server up counts for all that had to wait, and so does what holds up the asker: `late` tells of that.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_ask, (port, request, rate, seconds, connections))


def _ask(port: int, request: bytes, rate: float, seconds: float, connections: int) -> Told:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_TIMER_SLACK, 1, 0, 0, 0)
    idle = [_connected(port) for _ in range(connections)]
    everyone = list(idle)
    times, at, late = array("d"), array("d"), array("d")
    due: dict[socket.socket, float] = {}
    clock, issued = time.perf_counter, 0
    begun = now = clock()
    while True:
        over = now - begun >= seconds
        wanted = int(min(now - begun, seconds) * rate) + (not over) if rate else issued + len(idle) * (not over)
        while idle and issued < wanted:
            one = idle.pop()
            due[one] = begun + issued / rate if rate else now
            one.send(request)
            late.append(clock() - due[one])
            issued += 1
        if over and issued >= wanted and len(idle) == connections:
            return Told(
                *(np.frombuffer(each) * scale for each, scale in ((times, 1e6), (at, 1), (late, 1e6))), now - begun
            )
        wait = begun + issued / rate - clock() if rate and idle and not over else 1.0
        for one in select.select(everyone, (), (), max(0.0, wait))[0]:
            data = one.recv(1 << 16)
            now = clock()
            assert data.startswith(b"HTTP/1.1 200"), data
            times.append(now - due[one])
            at.append(now - begun)
            idle.append(one)
        now = clock()


def _connected(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made
