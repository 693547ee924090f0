"""How many one-row predictions a second are answered and logged durably for a long time, and how long each takes.

    python benchmarks/sustained.py [--seconds 600] [--rate 10000] [--connections 32]

First it is seen how fast one worker answers when each connection asks again at once (`--rate 0` goes on like that). Then
requests come at a fixed rate for the given time, and at half of the highest rate for a tenth of it. They come whether or
not the last ones were answered, and a request's time begins when it was due, so a stall counts for all that it holds up.
In the end the log is read: each answer must be in it, once. A record takes 320 bytes: ten minutes at 10,000 a second
are 2 GB below the temporary folder (`TMPDIR`).
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import tempfile
import time
from array import array
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from parts.models import make_workspace, request_body
from parts.servers import cpu_seconds, running

TICK_S = 0.001


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=10_000.0, help="predictions a second; 0 for as many as go")
    parser.add_argument("--connections", type=int, default=32)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_workspace(Path(folder))
        with running(Path(folder), "tensor", ("bascule",), False) as servers:
            port, process = servers["bascule"]
            head = f"{'':<26}{'requests/s':>12}{'slowest second':>16}{'p50 µs':>10}{'p99 µs':>11}{'p99.9':>11}{'CPU µs':>8}{'CPU':>7}"
            print(head, flush=True)
            run(port, process, 0.0, 1.0, given.connections)  # warms up
            highest = told("as fast as it goes, 5 s", run(port, process, 0.0, 5.0, given.connections))
            told(
                f"{given.rate:,.0f}/s, {given.seconds:,.0f} s" if given.rate else f"all, {given.seconds:,.0f} s",
                run(port, process, given.rate, given.seconds, given.connections),
            )
            half = max(5.0, given.seconds / 10)
            told(f"half of the highest, {half:,.0f} s", run(port, process, highest / 2, half, given.connections))
        print(f"in the log: {logged(Path(folder)):,} of {run.answered:,} answers, each once")  # type: ignore[attr-defined]


def run(port: int, process: int, rate: float, seconds: float, connections: int) -> dict[str, Any]:
    """Ask at a rate, in a process of its own."""
    before, begun = cpu_seconds(process), time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        figures: dict[str, Any] = pool.apply(ask, (port, rate, seconds, connections))
    figures["cpu"] = cpu_seconds(process) - before
    figures["lasted"] = time.perf_counter() - begun
    run.answered = getattr(run, "answered", 0) + figures["count"]  # type: ignore[attr-defined]
    return figures


def told(name: str, found: dict[str, Any]) -> float:
    print(
        f"{name:<26}{found['rate']:>12,.0f}{found['slowest']:>16,.0f}{found['p50']:>10,.0f}{found['p99']:>11,.0f}"
        f"{found['p999']:>11,.0f}{found['cpu'] / found['count'] * 1e6:>8.1f}{found['cpu'] / found['lasted']:>7.0%}",
        flush=True,
    )
    return float(found["rate"])


class Client(asyncio.Protocol):
    """One connection: it asks what is due, one request at a time."""

    def __init__(self, load: Load) -> None:
        self.load = load

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.load.idle.append(self)

    def ask(self, due: float) -> None:
        self.due = due
        self.transport.write(self.load.request)

    def data_received(self, data: bytes) -> None:
        assert data.startswith(b"HTTP/1.1 200"), data
        load = self.load
        now = time.perf_counter()
        load.taken.append(int((now - self.due) * 1e9))
        load.at.append(int(now - load.begun))
        if load.due:
            self.ask(load.due.popleft())
        elif not load.rate and not load.over:
            self.ask(now)
        else:
            load.idle.append(self)


class Load:
    """What is asked, and when."""

    def __init__(self, request: bytes, rate: float) -> None:
        self.request, self.rate = request, rate
        self.due: deque[float] = deque()
        self.idle: list[Client] = []
        self.taken, self.at = array("q"), array("i")
        self.issued, self.over = 0, False
        self.begun = time.perf_counter()

    def tick(self) -> None:
        """Ask what has become due."""
        until = int((time.perf_counter() - self.begun) * self.rate)
        for number in range(self.issued, until):
            self.due.append(self.begun + (number + 1) / self.rate)
        self.issued = max(until, self.issued)
        while self.due and self.idle:
            self.idle.pop().ask(self.due.popleft())


def ask(port: int, rate: float, seconds: float, connections: int) -> dict[str, float]:
    import uvloop

    body = request_body("tensor")[0]
    head = f"POST /v2/models/tensor/infer HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-length: {len(body)}\r\n\r\n"
    load = Load(head.encode() + body, rate)

    async def work() -> float:
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            await loop.create_connection(lambda: Client(load), "127.0.0.1", port)
        load.begun = time.perf_counter()
        if not rate:
            for client in load.idle:
                client.ask(load.begun)
            load.idle.clear()
            await asyncio.sleep(seconds)
        while rate and time.perf_counter() - load.begun < seconds:
            load.tick()
            await asyncio.sleep(TICK_S)
        load.over = True
        lasted = time.perf_counter() - load.begun
        while len(load.idle) < connections:  # what is under way is answered
            await asyncio.sleep(0.01)
        return lasted

    lasted = uvloop.run(work())
    times = np.frombuffer(load.taken, dtype=np.int64) / 1e3
    by_second = np.bincount(np.frombuffer(load.at, dtype=np.int32), minlength=1)[: max(1, int(lasted))]
    p50, p99, p999 = np.quantile(times, [0.5, 0.99, 0.999])
    count = len(times)
    return {"count": count, "rate": count / lasted, "slowest": by_second.min(), "p50": p50, "p99": p99, "p999": p999}


def logged(folder: Path) -> int:
    """Return how many predictions the log holds."""
    import msgspec

    from bascule.history import Workspace
    from bascule.serving.log.frames import read_segment

    decode, seen, count = msgspec.msgpack.Decoder().decode, set(), 0
    ws = Workspace.open(folder)
    for path in sorted((ws.log_folder / "predictions").glob("*.log")):
        for payload in read_segment(path).payloads:
            record = decode(payload)
            if record[0] == 1:
                seen.update(record[2])
                count += len(record[2])
        assert len(seen) == count, "an id is there twice"
    ws.close()
    return count


if __name__ == "__main__":
    main()
