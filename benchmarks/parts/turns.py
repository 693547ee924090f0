"""Servers side by side on a machine that others use too: short turns, one server after the other, many rounds.

Each server keeps its connections for all of its turns; while another one has its turn nothing is asked of it. What
disturbs the machine for longer than a round disturbs all alike, so what is compared is compared within a round.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from typing import NamedTuple

import numpy as np

from parts.asking import Client, GrpcClient, Pace, request_of

WARM = 2  # rounds that do not count


class Server(NamedTuple):
    """Where a server listens, and its process."""

    port: int
    process: int


class Request(NamedTuple):
    """What is asked, over HTTP or gRPC."""

    path: str
    body: bytes
    headers: str = ""
    grpc: bool = False


Figures = dict[str, float]  # requests/s, p50 and p99 in µs, and the CPU time of the server's process in µs a request


def cores() -> tuple[int, int]:
    """Return the core of the client and that of the servers, which are one where there is but one."""
    found = sorted(os.sched_getaffinity(0))
    return found[0], found[-1]


def take_turns(
    servers: dict[str, Server], request: Request, connections: int, seconds: float, rounds: int, pinned: bool = True
) -> dict[str, list[Figures]]:
    """Ask the servers in turn, from a process of its own, and return what was seen of each in each round.

    Args:
        seconds: a turn's length.
        pinned: the client stays on one core.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_rounds, (servers, request, connections, seconds, rounds, pinned))


def _rounds(
    servers: dict[str, Server], request: Request, connections: int, seconds: float, rounds: int, pinned: bool
) -> dict[str, list[Figures]]:
    import uvloop

    if pinned:
        os.sched_setaffinity(0, {cores()[0]})

    async def work() -> dict[str, list[Figures]]:
        sides = {name: await _Side.connected(server, request, connections) for name, server in servers.items()}
        found: dict[str, list[Figures]] = {name: [] for name in servers}
        for number in range(rounds + WARM):
            for name in list(sides)[:: 1 if number % 2 else -1]:
                figures = await sides[name].turn(seconds)
                if number >= WARM:
                    found[name].append(figures)
        for side in sides.values():
            side.close()
        return found

    found: dict[str, list[Figures]] = uvloop.run(work())
    return found


class _Side:
    """A server's connections."""

    def __init__(self, server: Server) -> None:
        self._clock = ~server.process << 3 | 2  # of all threads of that process, as the C library numbers it
        self._taken: list[int] = []
        self._pace = Pace()
        self._pace.over = True
        self._clients: list[Client] = []

    @classmethod
    async def connected(cls, server: Server, request: Request, connections: int) -> _Side:
        made, (whole, head) = cls(server), request_of(server.port, request.path, request.body, request.headers)

        def client() -> Client:
            if request.grpc:
                return GrpcClient(head, request.body, made._taken, made._pace)
            return Client(whole, made._taken, made._pace)

        for _ in range(connections):
            _, one = await asyncio.get_running_loop().create_connection(client, "127.0.0.1", server.port)
            made._clients.append(one)
        return made

    async def turn(self, seconds: float) -> Figures:
        """Ask for so long; all are answered in the end."""
        pace, taken = self._pace, self._taken
        taken.clear()
        pace.over, pace.resting = False, 0
        cpu, begun = time.clock_gettime(self._clock), time.perf_counter()
        for client in self._clients:
            client.ask()
        await asyncio.sleep(seconds)
        pace.over = True
        while pace.resting < len(self._clients):
            await asyncio.sleep(0)
        lasted, used = time.perf_counter() - begun, time.clock_gettime(self._clock) - cpu
        times = np.array(taken) / 1e3
        p50, p99 = np.quantile(times, [0.5, 0.99])
        return {"rate": len(times) / lasted, "p50": float(p50), "p99": float(p99), "cpu": used / len(times) * 1e6}

    def close(self) -> None:
        for client in self._clients:
            client.transport.abort()
