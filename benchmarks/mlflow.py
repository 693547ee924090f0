"""MLflow's own client calls, sent to Bascule and to MLflow's server on the same machine in one run.

Both keep everything in SQLite and answer over HTTP; what is sent is what the client sends. Requests a second with one and
with sixteen connections, what a search takes when there are many runs, a metric's history of 25,000 points in pages, and
the memory of all processes of a server that has just come up. The limit is a bare uvicorn answer of the same size.

    python benchmarks/mlflow.py [--seconds 3] [--runs 2000] [--peer PYTHON] [--only memory,history,write,search]

PEER is the Python of an environment with mlflow (`pip install mlflow==3.17.2`); without it the peer is skipped.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bascule.history import Workspace
from bascule.server.ports import free_port

BARE = """
import sys, uvicorn
async def app(scope, receive, send):
    if scope["type"] == "http":
        while (await receive()).get("more_body"): pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": b"{}"})
uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False, lifespan="off")
"""


class Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def __call__(self, path: str, body: Any, method: str = "POST", *, parsed: bool = True) -> Any:
        """Send one request below the API."""
        headers = {"Content-Type": "application/json"}
        self._connection.request(method, f"/api/2.0/mlflow/{path}", json.dumps(body), headers)
        answer = self._connection.getresponse()
        data = answer.read()
        assert answer.status == 200, data[:300]
        return json.loads(data) if parsed else data


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="MLflow's protocol.")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--runs", type=int, default=2000, help="that are there when runs are searched")
    parser.add_argument("--peer", default=os.environ.get("MLFLOW_PYTHON", ""), help="a Python that has mlflow")
    parser.add_argument("--only", default="memory,write,history,search", help="which of these")
    told = parser.parse_args()
    only = set(told.only.split(","))
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        Workspace.create(Path(folder) / "project").close()
        servers = {
            "bascule": [sys.executable, "-m", "bascule", "up", "--port", "{port}", "--project", f"{folder}/project"],
            "bare uvicorn": [sys.executable, "-c", BARE, "{port}"],
        }
        if told.peer:
            store = f"sqlite:///{folder}/mlflow.db"
            artifacts = ["--artifacts-destination", f"{folder}/artifacts", "--workers", "1"]
            peer = [told.peer, "-m", "mlflow", "server", "--backend-store-uri", store, "--port", "{port}", *artifacts]
            servers["mlflow"] = peer
        else:
            print("mlflow: skipped, --peer names no Python that has it")
        for name, command in servers.items():
            with serving(command) as (port, process):
                time.sleep(5 if "memory" in only else 0)
                at_rest = {"memory at rest, MiB": resident(process)} if "memory" in only else {}
                found[name] = at_rest | measured(port, told.seconds, told.runs, only, bare=name == "bare uvicorn")
    for work in found["bascule"]:
        shown = "  ".join(f"{name} {values[work]:,.1f}" for name, values in found.items() if work in values)
        ratio = f"  ratio {found['bascule'][work] / found['mlflow'][work]:.1f}" if "mlflow" in found else ""
        print(f"{work:34} {shown}{ratio}")


@contextmanager
def serving(command: list[str]) -> Iterator[tuple[int, int]]:
    """Run a server until the block ends; yield its port and its process."""
    port = free_port("127.0.0.1", with_next=True)
    started = [part.replace("{port}", str(port)) for part in command]
    process = subprocess.Popen(started, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            try:
                asked = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                asked.request("GET", "/health")
                asked.getresponse().read()
                break
            except (OSError, http.client.HTTPException):
                time.sleep(0.1)
        else:
            sys.exit(f"This server ended at once: {' '.join(started)}")
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(30)


def resident(process: int) -> float:
    """Return the memory of a process and all below it in MiB, what they share counted once."""
    total, waiting = 0, [process]
    while waiting:
        one = waiting.pop()
        for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
        for task in Path(f"/proc/{one}/task").iterdir():
            waiting += map(int, (task / "children").read_text().split())
    return total / 1024


def measured(port: int, seconds: float, runs: int, only: set[str], *, bare: bool) -> dict[str, float]:
    """Return requests a second of each kind of work."""
    ask = Client(port)
    run = "r" if bare else ask("runs/create", {"experiment_id": "0"})["run"]["info"]["run_id"]
    steps = iter(range(10**9))

    def metric(client: Client) -> None:
        step = next(steps)
        client("runs/log-metric", {"run_id": run, "key": "loss", "value": 0.5, "timestamp": step, "step": step})

    def batch(client: Client) -> None:
        step = next(steps)
        points = [{"key": f"m{i % 50}", "value": i, "timestamp": step, "step": step + i} for i in range(1000)]
        client("runs/log-batch", {"run_id": run, "metrics": points})

    def create(client: Client) -> None:
        client("runs/create", {"experiment_id": "0", "start_time": 1})

    found = {}
    works = (("log-metric", metric), ("log-batch (1000)", batch), ("runs/create", create)) if "write" in only else ()
    for name, work in works:
        for clients in (1, 16):
            found[f"{name}, {clients} at once, 1/s"] = rate(port, work, clients, seconds)
    if not bare and "history" in only:
        found |= remembered(Client(port), seconds)
    if not bare and "search" in only:
        found |= searched(Client(port), runs, seconds)  # servers close a connection that was silent
    return found


def remembered(ask: Client, seconds: float) -> dict[str, float]:
    """Return how often a second the history of a metric of 25,000 points is answered whole, in one page."""
    run = ask("runs/create", {"experiment_id": "0"})["run"]["info"]["run_id"]
    for first in range(0, 25_000, 1000):
        points = [{"key": "loss", "value": s / 7, "timestamp": s, "step": s} for s in range(first, first + 1000)]
        ask("runs/log-batch", {"run_id": run, "metrics": points})
    path = f"metrics/get-history?run_id={run}&metric_key=loss&max_results=25000"
    assert len(ask(path, {}, "GET")["metrics"]) == 25_000
    found = {}
    for clients in (1, 16):
        name = f"get-history (25000), {clients} at once, 1/s"
        found[name] = rate(ask.port, lambda client: client(path, {}, "GET", parsed=False), clients, seconds)
    return found


def searched(ask: Client, runs: int, seconds: float) -> dict[str, float]:
    """Return searches a second, over runs of ten metrics and five parameters in an experiment of their own."""
    number = ask("experiments/create", {"name": f"search-{time.time()}"})["experiment_id"]
    for place in range(runs):
        run = ask("runs/create", {"experiment_id": number, "start_time": place + 1})["run"]["info"]["run_id"]
        metrics = [{"key": f"m{i}", "value": (place * 7919 + i) % 1000, "timestamp": 1} for i in range(10)]
        params = [{"key": f"p{i}", "value": str(place % (i + 2))} for i in range(5)]
        ask("runs/log-batch", {"run_id": run, "metrics": metrics, "params": params})
    asked = {
        "filter and sort, 100 of them": {"filter": "metrics.m1 > 500 AND params.p3 = '1'", "max_results": 100},
        "list, 1000 of them": {"max_results": 1000},
    }
    found = {}
    for name, body in asked.items():
        told = {"experiment_ids": [number], "order_by": ["metrics.m2 DESC"], **body}
        ask("runs/search", told)
        times = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(times) < 3:
            begun = time.perf_counter()
            ask("runs/search", told, parsed=False)  # reading JSON is the client's work, whoever answers
            times.append(time.perf_counter() - begun)
        found[f"search: {name}, 1/s"] = 1 / statistics.median(times)
    return found


def rate(port: int, work: Callable[[Client], None], clients: int, seconds: float) -> float:
    """Return how often a second clients together are answered."""
    counts = [0] * clients
    end = time.perf_counter() + seconds

    def go(place: int) -> None:
        client = Client(port)
        while time.perf_counter() < end:
            work(client)
            counts[place] += 1

    threads = [threading.Thread(target=go, args=(place,)) for place in range(clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
