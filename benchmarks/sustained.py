"""How many one-row predictions a second are answered and logged durably for a long time, and how long each takes.

    python benchmarks/sustained.py [--seconds 600] [--rate 10000] [--connections 32]

First it is seen how fast one worker answers when each connection asks again at once. Then requests come evenly spaced
at a fixed rate for the given time, and at half of the highest rate for a tenth of it. They come whether or not the last
ones were answered, and a request's time begins when it was due, so a stall counts for all that it holds up.

The same is asked, for a tenth of the time, of a handler by hand around the same model that logs nothing: what a busy or
a virtual machine does to a process shows there as well. It takes a process off its processor for some milliseconds now
and again, which is more than a hundredth of the time here; so p99 is told twice, of all requests and as the median
over tenths of a second, of which most are left in peace.

Then half of the highest rate by a clock of 1 ms, as most load generators ask: what is due within a millisecond comes
at once, so p50 is the time of the middle one of such a lot. Last, half of the connections, each of which asks again
once it is answered, as wrk does.

In the end the log is read: each answer must be in it, once. A record takes 320 bytes: ten minutes at 10,000 a second
are 2 GB below the temporary folder (`TMPDIR`).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from parts.arrivals import Told, arrive
from parts.models import make_workspace, request_body
from parts.servers import cpu_seconds, running
from parts.turns import Server

WINDOW_S = 0.1
COLUMNS = ("requests/s", "slowest s", "p50 µs", "p99 µs", "p99.9", "p99/p50", "in 0.1 s", "late p99", "CPU µs", "CPU")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=10_000.0, help="predictions a second")
    parser.add_argument("--connections", type=int, default=32)
    given = parser.parse_args()
    short = max(5.0, given.seconds / 10)
    with tempfile.TemporaryDirectory() as folder:
        make_workspace(Path(folder))
        with running(Path(folder), "tensor", ("bascule", "hand"), False) as servers:
            print(f"{'':<34}" + "".join(f"{name:>11}" for name in COLUMNS), flush=True)
            ours = Asked("Bascule", servers["bascule"], given.connections)
            theirs = Asked("by hand, no log", servers["hand"], given.connections)
            half = ours.run("as fast as it goes", 0.0, 5.0) / 2
            theirs.run("as fast as it goes", 0.0, 5.0)
            for rate, seconds in ((given.rate, given.seconds), (half, short)):
                ours.run(f"{rate:,.0f}/s, {seconds:,.0f} s", rate, seconds)
                theirs.run(f"{rate:,.0f}/s, {short:,.0f} s", rate, short)
            for each in (ours, theirs):
                each.run(f"{half:,.0f}/s, 1 ms clock", half, short, 0.001)
            for each in (ours, theirs):
                each.run("half of the connections", 0.0, short, connections=max(1, given.connections // 2))
        print(f"in the log: {logged(Path(folder)):,} of {ours.answered:,} answers, each once")


class Asked:
    """A server, and how many answers it gave."""

    def __init__(self, name: str, server: Server, connections: int) -> None:
        self.name, self.server, self.connections = name, server, connections
        self.answered = 0
        body = request_body("tensor")[0]
        head = f"POST /v2/models/tensor/infer HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\n"
        self.request = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
        self._ask(0.0, 1.0)  # warms up

    def run(self, name: str, rate: float, seconds: float, clock: float = 0.0, connections: int = 0) -> float:
        """Ask, print what was seen, and return the answers a second."""
        before = cpu_seconds(self.server.process)
        told = self._ask(rate, seconds, clock, connections)
        used, count = cpu_seconds(self.server.process) - before, len(told.times)
        by_second = np.bincount(told.at.astype(int), minlength=1)[: max(1, int(told.lasted))]
        p50, p99, p999 = np.quantile(told.times, [0.5, 0.99, 0.999])
        late = np.quantile(told.late, 0.99)
        print(
            f"{self.name + ', ' + name:<34}{count / told.lasted:>11,.0f}{by_second.min():>11,.0f}{p50:>11,.0f}{p99:>11,.0f}"
            f"{p999:>11,.0f}{p99 / p50:>11.1f}{in_peace(told):>11.1f}{late:>11,.0f}{used / count * 1e6:>11.1f}"
            f"{used / told.lasted:>11.0%}",
            flush=True,
        )
        return count / told.lasted

    def _ask(self, rate: float, seconds: float, clock: float = 0.0, connections: int = 0) -> Told:
        told = arrive(self.server.port, self.request, rate, seconds, connections or self.connections, clock)
        self.answered += len(told.times)
        return told


def in_peace(told: Told) -> float:
    """Return p99/p50 of a tenth of a second, the median of all."""
    window = (told.at / WINDOW_S).astype(int)
    shares = []
    for times in np.split(told.times, np.flatnonzero(np.diff(window)) + 1):
        p50, p99 = np.quantile(times, [0.5, 0.99])
        shares.append(p99 / p50)
    return float(np.median(shares))


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
