"""What serving adds to a model: to a thousand rows at once, and to memory for each further model.

    python benchmarks/serving.py [ROUNDS] [--cores N]

A request of 1,000 rows of 30 FP32 numbers as one binary tensor goes all the way (routed, read, scored, logged durably,
answered) but for the socket and its parser, beside the bare runtime on the same matrix, in turn, CPU time and wall time:
of each round the ratio is taken, and told are their quartiles, so that others on the machine disturb both; and a bare
write of as many bytes. Then the same over HTTP, by the clock, and what a server costs there that answers a fixed text.
Memory that a virtual machine has never used costs it some 8 µs a page when it is first written to, which is 0.5 ms for
such a request's log; so a file that is thrown away has used it before, and the first line tells what a bare write cost
without. The model scores with two threads, all else has one: `--cores 1` tells what it takes of one core, which is what
a busy server has for each request. Then models of one kind are loaded beside each other, in the process, and once as a
worker of its own.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from parts.models import WIDTH, make_workspace
from parts.servers import running

ROWS, MODELS = 1_000, 20
PATH = b"/v2/models/tensor/infer"
USED = 256 << 20  # bytes


def main() -> None:
    parser = argparse.ArgumentParser(description="What serving adds to a model.")
    parser.add_argument("rounds", type=int, nargs="?", default=40)
    parser.add_argument("--cores", type=int, default=0, help="how many this may use; all by default")
    told = parser.parse_args()
    if told.cores:  # before a library counts them
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: told.cores])
    with tempfile.TemporaryDirectory() as folder:
        make_workspace(Path(folder))
        use_memory(Path(folder))
        rows(Path(folder), told.rounds)
        over_http(Path(folder), told.rounds)
        memory(Path(folder))


def rows(place: Path, rounds: int) -> None:
    from bascule.history import Workspace
    from bascule.protocols.openinference.inference import Inference
    from bascule.protocols.openinference.routes import resolve
    from bascule.serving import DataPlane, PredictionLog
    from bascule.serving.http import Deferred, Request

    ws = Workspace.open(place)
    plane, log = DataPlane(ws), PredictionLog(ws.log_folder)
    plane.start()
    state = plane.open("main")
    model, inference, route = state.deployments["tensor"].first, Inference(plane, log), resolve(PATH)
    matrix, body, length = asked()
    headers = {b"host": b"localhost", b"inference-header-content-length": length}

    def whole() -> None:
        found = inference.infer(Request(b"POST", PATH, headers, body), route, state)
        while isinstance(found, Deferred):
            found = found.finish(found.work())
        log.journal.commit()

    with open(place / "beside", "wb", buffering=0) as file:
        found = [one_round(number, lambda: model.predict(matrix), whole) for number in range(rounds + 3)][3:]
        written = statistics.median(timed(lambda: file.write(body))[0] for _ in range(rounds))
    for side, what in enumerate(("by the clock", "by CPU")):
        report(what, [(bare[side], all_of_it[side]) for bare, all_of_it in found])
    print(f"{'':<24} a bare write of {len(body) / 1e3:.0f} kB: {written * 1e3:.2f} ms")
    plane.stop()
    log.journal.close()
    ws.close()


def over_http(place: Path, rounds: int) -> None:
    """Ask a server by one connection, and one that reads a request and answers a fixed text for what a socket costs."""
    from bascule.history import Workspace
    from bascule.serving import DataPlane

    ws = Workspace.open(place)
    model = DataPlane(ws).open("main").deployments["tensor"].first
    matrix, body, length = asked()
    lines = f"host: localhost\r\ncontent-length: {len(body)}\r\ninference-header-content-length: {length.decode()}"
    message = b"POST %b HTTP/1.1\r\n%b\r\n\r\n%b" % (PATH, lines.encode(), body)
    with running(place, "tensor", ("bare", "bascule"), grpc=False) as servers:
        clients = [socket.create_connection(("127.0.0.1", servers[name].port)) for name in ("bascule", "bare")]
        ask, nothing = (partial(exchange, client, message) for client in clients)
        found = [one_round(number, lambda: model.predict(matrix), ask) for number in range(rounds + 3)][3:]
        least = statistics.median(timed(nothing)[0] for _ in range(rounds))
        for client in clients:
            client.close()
    report("over HTTP", [(bare[0], all_of_it[0]) for bare, all_of_it in found])
    print(f"{'':<24} an empty answer over HTTP: {least * 1e3:.2f} ms")
    ws.close()


def asked() -> tuple[np.ndarray, bytes, bytes]:
    """Return rows, a request's body about them, and how many bytes of it are JSON."""
    matrix = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)
    tensor = {
        "name": "input",
        "shape": [ROWS, WIDTH],
        "datatype": "FP32",
        "parameters": {"binary_data_size": matrix.nbytes},
    }
    wanted = [{"name": "probability", "parameters": {"binary_data": True}}]
    header = json.dumps({"inputs": [tensor], "outputs": wanted}).encode()
    return matrix, header + matrix.tobytes(), str(len(header)).encode()


def exchange(client: socket.socket, message: bytes) -> None:
    client.sendall(message)
    found = client.recv(1 << 20)
    head, _, rest = found.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    left = int(head.lower().rpartition(b"content-length: ")[2].split(b"\r\n")[0]) - len(rest)
    while left:
        left -= len(client.recv(1 << 20))


def report(what: str, found: list[tuple[float, float]]) -> None:
    """Print the medians of seconds that the bare runtime and all of a request took, and their ratios."""
    bare, all_of_it = np.array(found).T * 1e3
    low, middle, high = np.quantile(bare / all_of_it, [0.25, 0.5, 0.75])
    quiet = np.quantile(bare, 0.1) / np.quantile(all_of_it, 0.1)
    print(
        f"{ROWS:,} rows {what:<12} bare {np.median(bare):.2f} ms, whole {np.median(all_of_it):.2f} ms, "
        f"{middle:.0%} of bare ({low:.0%} to {high:.0%}); of the quickest tenth {quiet:.0%}",
        flush=True,
    )


def one_round(
    number: int, bare: Callable[[], object], whole: Callable[[], object]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Time both, each first in every other round, and return wall and CPU seconds of each."""
    if number % 2:
        first = timed(bare)
        return first, timed(whole)
    second = timed(whole)
    return timed(bare), second


def use_memory(place: Path) -> None:
    """Let the page cache take memory that this machine has used before; say what a write costs before."""
    data, path, taken = bytes(ROWS * WIDTH * 4), place / "used", []
    with open(path, "wb", buffering=0) as file:
        for _ in range(USED // len(data)):
            began = time.perf_counter()
            file.write(data)
            taken.append(time.perf_counter() - began)
    path.unlink()
    print(f"a bare write of {len(data) / 1e3:.0f} kB before memory was used: {statistics.median(taken) * 1e3:.2f} ms")


def memory(place: Path) -> None:
    from bascule.history import Workspace
    from bascule.serving.loading import Loader
    from bascule.serving.service import Service

    ws = Workspace.open(place)
    artifact = ws.history.get("main", "models/tensor")["versions"]["1"]["artifact"]
    size = len(ws.store.get(artifact))
    loader = Loader(ws, lambda features: None)
    kept = [loader.load("tensor", number, artifact) for number in range(3)]
    before = resident(os.getpid())
    kept += [loader.load("tensor", 3 + number, artifact) for number in range(MODELS)]
    each = (resident(os.getpid()) - before) / MODELS
    print(f"one model more: {each / 1e6:.2f} MB, of a file of {size / 1e6:.2f} MB")
    began = time.perf_counter()
    worker = loader.load("tensor", 100, artifact, service=Service(workers=1))
    assert worker.lane is not None
    print(f"as a worker:    {resident(worker.lane.pids[0]) / 1e6:.0f} MB, up in {time.perf_counter() - began:.1f} s")
    replacement(worker)
    worker.lane.close()
    ws.close()


def replacement(model: Any) -> None:
    """Kill a worker, and ask: how long until another one answers."""
    matrix, taken = np.zeros((1, WIDTH)), []
    for _ in range(6):
        model.predict(matrix)
        time.sleep(4.0)  # the next spare is up
        os.kill(model.lane.pids[0], signal.SIGKILL)
        began = time.perf_counter()
        model.predict(matrix)
        taken.append(time.perf_counter() - began)
    print(
        f"a worker that was killed is replaced in {statistics.median(taken) * 1e3:.0f} ms, at most {max(taken) * 1e3:.0f}"
    )


def timed(work: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def resident(pid: int) -> int:
    gc.collect()
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
