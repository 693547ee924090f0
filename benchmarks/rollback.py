"""From the click on Roll back to the first answer of the old version, by every worker, over HTTP and gRPC.

    python benchmarks/rollback.py [ROUNDS]

`bascule up` and a second `bascule serve` answer for one workspace; on each of them one connection over HTTP and one over gRPC
ask without a pause. In turn: the page's form is posted, the API is called, `bascule rollback` is started (its process included),
and `bascule rollback TAG` brings the whole branch back to a release. Then version 2 is deployed again. The limit is how often the
workers look at the branch's head (0.1 s), plus an empty Python process where a command is started.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from parts.models import WIDTH, bundle, grpc_body, request_body

PATH = "/v2/models/tensor/infer"
POLL_S = 0.1


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_workspace(place)
        up = begin(place, "up", "--port", str(free(3)))
        serve = begin(place, "serve", "--port", str(free(2)))
        try:
            watched = [
                *(
                    Watched(f"{n} HTTP", over_http(one["inference" if n == "up" else "url"]))
                    for n, (_, one) in both(up, serve)
                ),
                *(Watched(f"{n} gRPC", over_grpc(one["grpc"])) for n, (_, one) in both(up, serve)),
            ]
            report(watched, rounds, place, up[1]["url"])
            for one in watched:
                one.stop()
        finally:
            for process, _ in (up, serve):
                process.terminate()
                process.wait(30)


def both(up: Any, serve: Any) -> list[tuple[str, Any]]:
    return [("up", up), ("serve", serve)]


def report(watched: list[Watched], rounds: int, place: Path, url: str) -> None:
    form: dict[str, str] = {}
    ways: dict[str, Callable[[], None]] = {
        "page": lambda: by_page(url, form),
        "API": lambda: by_api(url),
        "bascule rollback": lambda: command(place, "rollback", "tensor"),
        "bascule rollback TAG": lambda: command(place, "rollback", "v1"),
    }
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    empty = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        empty.append(time.perf_counter() - began)
        for way, act in ways.items():
            command(place, "deploy", "tensor", "2", "--model", "tensor", "--strategy", "all_at_once")
            for one in watched:
                one.until("2", 0.0)
            if way == "page":
                form = shown(url)
            time.sleep(0.3)
            clicked = time.perf_counter()
            act()
            returned = time.perf_counter()
            took = {one.name: one.until("1", clicked) - clicked for one in watched}
            found[way].append({**took, "all": max(took.values()), "returned": returned - clicked})
    print(f"| way | {' | '.join(one.name for one in watched)} | all workers, median | worst | the call itself |")
    print("|" + "---|" * (len(watched) + 4))
    for way, rows in found.items():
        middle = [statistics.median(row[one.name] for row in rows) for one in watched]
        every, call = [row["all"] for row in rows], statistics.median(row["returned"] for row in rows)
        cells = [f"{value * 1000:.0f} ms" for value in (*middle, statistics.median(every), max(every), call)]
        print(f"| {way} | {' | '.join(cells)} |")
    print(
        f"limit: the heads are looked at every {POLL_S * 1000:.0f} ms; an empty Python process {statistics.median(empty) * 1000:.0f} ms"
    )
    print("requests:", sum(one.asked for one in watched), "failed:", sum(one.failed for one in watched))


class Watched:
    """One connection that asks without a pause, and remembers when each version answered last."""

    def __init__(self, name: str, ask: Callable[[], str]) -> None:
        self.name, self.asked, self.failed = name, 0, 0
        self._ask, self._seen, self._ended = ask, ("", 0.0), False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def until(self, version: str, since: float) -> float:
        """When the version was answered first after a moment."""
        while True:
            seen, at = self._seen
            if seen == version and at >= since:
                return at
            time.sleep(0.0005)

    def stop(self) -> None:
        self._ended = True
        self._thread.join(10)

    def _run(self) -> None:
        while not self._ended:
            try:
                version = self._ask()
            except Exception as error:  # it is counted
                self.failed += 1
                print(self.name, error, file=sys.stderr)
                continue
            self.asked += 1
            if version != self._seen[0]:
                self._seen = version, time.perf_counter()
            time.sleep(0.002)


def over_http(url: str) -> Callable[[], str]:
    body = request_body("tensor")

    def ask() -> str:
        with urllib.request.urlopen(url + PATH, body, timeout=10) as answer:
            return str(json.load(answer)["model_version"])

    return ask


def over_grpc(address: str) -> Callable[[], str]:
    import grpc
    from tritonclient.grpc import service_pb2 as pb

    asked = pb.ModelInferRequest.FromString(grpc_body())
    channel = grpc.insecure_channel(address)
    infer = channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelInferResponse.FromString,
    )
    return lambda: str(infer(asked, timeout=10).model_version)


def shown(url: str) -> dict[str, str]:
    """The fields of the form that asks before anything is changed."""
    form = urllib.request.urlopen(f"{url}/deployments/tensor/rollback", timeout=20).read().decode()
    return dict(re.findall(r'name="(\w+)" value="([^"]*)"', form))


def by_page(url: str, form: dict[str, str]) -> None:
    """What a person's click sends, and the page that it leads to."""
    data = urllib.parse.urlencode({"reason": "a drill"} | form).encode()
    urllib.request.urlopen(
        urllib.request.Request(f"{url}/deployments/tensor/rollback", data, {"origin": url}), timeout=20
    ).read()


def by_api(url: str) -> None:
    data = json.dumps({"reason": "a drill"}).encode()
    asked = urllib.request.Request(
        f"{url}/api/bascule/v1/deployments/tensor/rollback", data, {"content-type": "application/json"}
    )
    urllib.request.urlopen(asked, timeout=20).read()


def command(place: Path, *words: str) -> None:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # as installed
    told = subprocess.run([sys.executable, "-m", "bascule", *words], cwd=place, env=env, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr


def begin(place: Path, *words: str) -> tuple[subprocess.Popen[str], dict[str, str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bascule", *words, "--json"], cwd=place, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    text = ""
    while True:
        text += process.stdout.readline()
        try:
            found: dict[str, str] = json.loads(text)
        except json.JSONDecodeError:
            continue
        return process, found


def free(ports: int) -> int:
    """A port with as many free ones behind it as a server takes."""
    import socket

    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            others = [socket.socket() for _ in range(ports - 1)]
            try:
                for place, other in enumerate(others, 1):
                    other.bind(("127.0.0.1", port + place))
                return port
            except OSError:
                continue
            finally:
                for other in others:
                    other.close()


def make_workspace(place: Path) -> None:
    from bascule.history import Workspace
    from bascule.registry import register

    ws = Workspace.create(place)
    data, signature = bundle("tensor")
    for number in (1, 2):
        told: dict[str, Any] = {
            "format": "lightgbm",
            "signature": signature,
            "training_set": f"{WIDTH} numbers, {number}",
        }
        register(ws, "main", "tensor", artifact=ws.store.put(data), **told, evaluation={"passed": True, "gates": []})
    ws.close()
    command(place, "deploy", "tensor", "1", "--model", "tensor")
    command(place, "tag", "v1")


if __name__ == "__main__":
    main()
