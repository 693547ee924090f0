"""One row, logged, beside the servers that people use for it, each in an environment of its own.

    python benchmarks/peers.py mlserver=PYTHON kserve=PYTHON bentoml=PYTHON litserve=PYTHON mlflow=PYTHON [--seconds 1]

PYTHON is of an environment with that package and `lightgbm` (for MLServer `mlserver-lightgbm`, and `uvloop<0.22`,
without which it does not start). Each serves the same LightGBM model of 30 numbers as its documentation says, with one
worker and its own defaults; Bascule with its durable log, which no other has. All are asked in turn, in rounds, by the
same client; ratios are of the rounds, side by side. The CPU is that of all processes of a server. MLServer is asked over
gRPC too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from inference import CONNECTIONS
from parts.asking import ask
from parts.models import GRPC_PATH, WIDTH, bundle, grpc_body, make_workspace, request_body
from parts.servers import running

ROUNDS = 4
UP_S = 90.0
ROW = np.random.default_rng(1).normal(size=WIDTH).astype(np.float32).tolist()


class Peer(NamedTuple):
    """How a server is started and asked; `{port}`, `{model}` and the like are filled in."""

    files: dict[str, str]
    command: list[str]
    path: str
    body: bytes


TENSOR = request_body("tensor")[0]
MODEL_KSERVE = """
import argparse
import lightgbm, numpy
from kserve import InferOutput, InferResponse, Model, ModelServer, model_server

class Trees(Model):
    def __init__(self, name):
        super().__init__(name)
        self.booster = lightgbm.Booster(model_file="model.txt")
        self.ready = True

    def predict(self, payload, headers=None):
        found = self.booster.predict(payload.inputs[0].as_numpy(), num_threads=1)
        output = InferOutput(name="probability", shape=list(found.shape), datatype="FP64", data=found.tolist())
        return InferResponse(payload.id or "none", "tensor", [output])

if __name__ == "__main__":
    arguments, _ = argparse.ArgumentParser(parents=[model_server.parser]).parse_known_args()
    ModelServer(workers=1).start([Trees("tensor")])
"""
MODEL_BENTO = """
import bentoml, lightgbm, numpy

@bentoml.service(workers=1)
class Trees:
    def __init__(self):
        self.booster = lightgbm.Booster(model_file="model.txt")

    @bentoml.api
    def predict(self, row: list[list[float]]) -> list[float]:
        return self.booster.predict(numpy.array(row), num_threads=1).tolist()
"""
MODEL_LIT = """
import litserve, lightgbm, numpy

class Trees(litserve.LitAPI):
    def setup(self, device):
        self.booster = lightgbm.Booster(model_file="model.txt")

    def decode_request(self, request):
        return numpy.array(request["row"])

    def predict(self, row):
        return self.booster.predict(row, num_threads=1)

    def encode_response(self, output):
        return {"output": output.tolist()}

if __name__ == "__main__":
    litserve.LitServer(Trees(), accelerator="cpu").run(port={port}, generate_client_file=False)
"""
MODEL_MLFLOW = """
import lightgbm, mlflow
mlflow.lightgbm.save_model(lightgbm.Booster(model_file="model.txt"), "saved")
"""

PEERS: dict[str, Peer] = {
    "mlserver": Peer(
        {
            "model-settings.json": json.dumps(
                {"name": "tensor", "implementation": "mlserver_lightgbm.LightGBMModel",
                 "parameters": {"uri": "./model.txt", "version": "1"}}
            ),
            "settings.json": '{"debug": false, "http_port": {port}, "grpc_port": {grpc}, "metrics_port": {third}}',
        },
        ["-m", "mlserver.cli.main", "start", "."],
        "/v2/models/tensor/infer",
        TENSOR,
    ),
    "kserve": Peer(
        {"model.py": MODEL_KSERVE},
        ["model.py", "--http_port", "{port}", "--grpc_port", "{grpc}", "--model_name", "tensor"],
        "/v2/models/tensor/infer",
        TENSOR,
    ),
    "bentoml": Peer(
        {"service.py": MODEL_BENTO},
        ["-m", "bentoml", "serve", "service:Trees", "--port", "{port}"],
        "/predict",
        json.dumps({"row": [ROW]}).encode(),
    ),
    "litserve": Peer({"server.py": MODEL_LIT}, ["server.py"], "/predict", json.dumps({"row": [ROW]}).encode()),
    "mlflow": Peer(
        {"save.py": MODEL_MLFLOW},
        ["-m", "mlflow", "models", "serve", "-m", "saved", "--env-manager", "local", "-p", "{port}", "-w", "1"],
        "/invocations",
        json.dumps({"inputs": [ROW]}).encode(),
    ),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", nargs="+", metavar="NAME=PYTHON")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each round")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        place = Path(folder)
        make_workspace(place)
        ours = stack.enter_context(running(place, "tensor", ("bascule",), False))["bascule"]
        servers = {"bascule": (ours[0], ours[1], Peer({}, [], "/v2/models/tensor/infer", TENSOR), 0)}
        for one in arguments.peers:
            name, _, python = one.partition("=")
            peer = PEERS[name]
            port, process, grpc = stack.enter_context(started(place / f"peer-{name}", python, peer))
            servers[name] = port, process, peer, grpc
        report("HTTP", compare(servers, arguments.seconds, False))
        if "mlserver" in servers:
            grpc_ours = stack.enter_context(running(place, "tensor", ("bascule",), True))["bascule"]
            _, process, peer, grpc = servers["mlserver"]
            both = {"bascule": (*grpc_ours, peer, grpc_ours[0]), "mlserver": (0, process, peer, grpc)}
            report("gRPC", compare(both, arguments.seconds, True))


def compare(servers: dict[str, Any], seconds: float, grpc: bool) -> dict[tuple[str, int], list[dict[str, float]]]:
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    for connections in CONNECTIONS:
        for number in range(ROUNDS + 1):
            for name, (port, process, peer, grpc_port) in servers.items():
                before = cpu_of(process)
                asked = (grpc_port, GRPC_PATH, grpc_body()) if grpc else (port, peer.path, peer.body)
                figures = load(*asked, connections, seconds, grpc)
                figures["cpu"] = (cpu_of(process) - before) / figures["count"] * 1e6
                if number:  # the first warms up
                    found.setdefault((name, connections), []).append(figures)
    return found


def report(kind: str, found: dict[tuple[str, int], list[dict[str, float]]]) -> None:
    print(f"\none row over {kind}; median of {ROUNDS} rounds")
    print(
        f"{'server':<10}{'connections':>12}{'requests/s':>12}{'p50 µs':>9}{'p99 µs':>9}{'CPU µs':>9}{'bascule is':>12}"
    )
    for (name, connections), rounds in found.items():
        middle = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        pairs = zip(found["bascule", connections], rounds, strict=True)
        times = statistics.median(ours["rate"] / theirs["rate"] for ours, theirs in pairs)
        print(
            f"{name:<10}{connections:>12}{middle['rate']:>12,.0f}{middle['p50']:>9,.0f}{middle['p99']:>9,.0f}"
            f"{middle['cpu']:>9,.0f}{times:>11.1f}x",
            flush=True,
        )


@contextmanager
def started(folder: Path, python: str, peer: Peer) -> Iterator[tuple[int, int, int]]:
    """Start a peer and give its port, its process and its port of gRPC."""
    from bascule.training import unpack_model

    folder.mkdir()
    (folder / "model.txt").write_bytes(unpack_model(bundle("tensor")[0]).model)
    port, grpc, third = free_ports(3)
    for name, text in peer.files.items():
        filled = text
        for key, value in (("port", port), ("grpc", grpc), ("third", third)):
            filled = filled.replace("{" + key + "}", str(value))
        (folder / name).write_text(filled)
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {
        "PATH": f"{Path(python).parent}:{os.environ['PATH']}",
        "BENTOML_DO_NOT_TRACK": "True",
        "OMP_NUM_THREADS": "1",
    }
    if "save.py" in peer.files:
        subprocess.run([python, "save.py"], cwd=folder, env=environment, check=True, capture_output=True)
    command = [python, *(part.format(port=port, grpc=grpc) for part in peer.command)]
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_for(port, peer, folder / "log.txt", process)
            yield port, process.pid, grpc
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def wait_for(port: int, peer: Peer, log: Path, process: subprocess.Popen[bytes]) -> None:
    """Return when a peer answers; end with what it wrote when it does not."""
    until = time.monotonic() + UP_S
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}{peer.path}", peer.body, {"content-type": "application/json"}
    )
    problem = ""
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(asked, timeout=5) as answer:
                answer.read()
                return
        except urllib.error.HTTPError as error:
            problem = f"{error.code}: {error.read().decode(errors='replace')[:300]}"
        except OSError as error:
            problem = str(error)
        time.sleep(0.3)
    sys.exit(f"{log.parent.name} does not answer: {problem}\n{log.read_text(errors='replace')[-2000:]}")


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return found


def cpu_of(process: int) -> float:
    """What a process and its descendants have used of the processors, in seconds."""
    tick, total, left = os.sysconf("SC_CLK_TCK"), 0.0, [process]
    while left:
        one = left.pop()
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / tick
            for task in Path(f"/proc/{one}/task").iterdir():
                left += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return total


class Client(asyncio.Protocol):
    """Keeps one request under way, and reads answers in whatever pieces they come."""

    def __init__(self, request: bytes, taken: list[int]) -> None:
        import httptools

        self.request, self.taken = request, taken
        self.made = lambda: httptools.HttpResponseParser(self)
        self.parser = self.made()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        self.begun = time.perf_counter_ns()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        assert self.parser.get_status_code() == 200, self.parser.get_status_code()
        self.taken.append(time.perf_counter_ns() - self.begun)
        self.ask()


def load(port: int, path: str, body: bytes, connections: int, seconds: float, grpc: bool) -> dict[str, float]:
    """Ask for some seconds, in a process of its own, and return requests/s and latencies in µs."""
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        taken, lasted = pool.apply(ask, (port, path, body, "", connections, seconds, grpc, Client))
    times = np.array(taken or [lasted * 1e9]) / 1e3
    return {
        "count": len(times),
        "rate": len(times) / lasted,
        "p50": float(np.median(times)),
        "p99": float(np.quantile(times, 0.99)),
    }


if __name__ == "__main__":
    main()
