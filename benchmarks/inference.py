"""One-row inference over HTTP, every answer logged before it is sent, beside what is possible at all.

    python benchmarks/inference.py [--rounds 24] [--turn 0.2] [--only tensor,bytes,columns,instances,grpc]

Three servers, one process each, on the same model and the same request:

- `bare`: uvloop + httptools that answers a fixed text;
- `by hand`: the same that also reads the request, scores it by the same runtime and answers; no routes, no checks, no
  log, no figures: what a careful person would write for this one model and this one form;
- `bascule`: `bascule serve`, with its durable log.

They share one core, and the client, a process of its own that keeps one request under way on each connection, has the
other. They are asked in short turns, forth and back, and what is compared is compared within a round; so a machine that
others use too disturbs all alike. Told are medians of the rounds, and of the ratios the quartiles too: by the clock, and
by the CPU time of the server's process with all its threads. The requests: one tensor of 30 numbers, in JSON and in
bytes; 12 columns by name, and the same as `{"instances": [{…}]}`. Then the tensor over gRPC, where the limits are
grpcio's own asyncio server with an empty handler, and with a handler by hand; nothing is bound to a core there, and the
client writes frames itself, since grpcio's costs more than any server.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np

from parts.models import GRPC_PATH, KINDS, grpc_body, make_workspace, path_of, request_body
from parts.servers import running
from parts.turns import Figures, Request, take_turns

CONNECTIONS = (1, 32)
LIMIT = "by hand"
HTTP, GRPC = ("bare", LIMIT, "bascule"), ("grpc.aio", "aio by hand", "bascule")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--turn", type=float, default=0.2, help="seconds")
    parser.add_argument("--only", default=",".join((*KINDS, "grpc")), help="which requests, by commas")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_workspace(Path(folder))
        for kind in given.only.split(","):
            measure(Path(folder), kind, given.turn, given.rounds)


def measure(place: Path, kind: str, seconds: float, rounds: int) -> None:
    grpc = kind == "grpc"
    if grpc:
        kind, names, request = "tensor", GRPC, Request(GRPC_PATH, grpc_body(), grpc=True)
    else:
        names, request = HTTP, Request(path_of(kind), *request_body(kind))
    with running(place, kind, names, grpc, pinned=not grpc) as servers:
        found = {n: take_turns(servers, request, n, seconds, rounds, pinned=not grpc) for n in CONNECTIONS}
    print(f"\none row, {kind} over {'gRPC' if grpc else 'HTTP'}; {rounds} rounds, a load of {os.getloadavg()[0]:.1f}")
    report(found, names)


def report(found: dict[int, dict[str, list[Figures]]], names: tuple[str, ...]) -> None:
    """Print a line a server: medians, and ratios to the first two with their quartiles."""
    least, hand, _ = names
    print(
        f"{'server':<12}{'connections':>12}{'requests/s':>12}{'p50 µs':>9}{'p99 µs':>9}{'CPU µs':>9}"
        f"{'of ' + hand + ', clock':>26}{'CPU':>20}{'of ' + least:>13}"
    )
    for connections, by_name in found.items():
        for name, rounds in by_name.items():
            middle = {figure: float(np.median([one[figure] for one in rounds])) for figure in rounds[0]}
            print(
                f"{name:<12}{connections:>12}{middle['rate']:>12,.0f}{middle['p50']:>9.0f}{middle['p99']:>9.0f}"
                f"{middle['cpu']:>9.1f}{told(rounds, by_name[hand], 'rate'):>26}{told(by_name[hand], rounds, 'cpu'):>20}"
                f"{ratios(rounds, by_name[least], 'rate')[1]:>13.0%}",
                flush=True,
            )


def ratios(above: list[Figures], below: list[Figures], figure: str) -> list[float]:
    """Return the quartiles of a figure's ratio, round by round."""
    each = [one[figure] / other[figure] for one, other in zip(above, below, strict=True)]
    return [float(share) for share in np.quantile(each, [0.25, 0.5, 0.75])]


def told(above: list[Figures], below: list[Figures], figure: str) -> str:
    low, middle, high = ratios(above, below, figure)
    return f"{middle:.0%} ({low:.0%} to {high:.0%})"


if __name__ == "__main__":
    main()
