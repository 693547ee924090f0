"""What scoring together gives a model whose call costs much for one row: requests/s under load, and nothing lost when idle.

    python benchmarks/batching.py [SECONDS_PER_ROUND]

The model is a scikit-learn pipeline of a scaler and boosted trees, by scikit-learn itself. Four servers of one process each, every answer
logged, asked in turn for one row at a time by 1, 4 and 32 connections: scored in the server, each request alone and those
of one turn together; by one worker process, with `batch = 1` and `batch = 64`. Ratios are of one run. Beside the rate:
how many rows a call had, by `/stats`.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from parts.asking import load
from parts.servers import cpu_seconds

WIDTH, ROUNDS, CONNECTIONS = 10, 5, (1, 4, 32)
PAIRS = {"in the server": ("alone", "together"), "by a worker": ("worker 1", "worker 64")}


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 0.5
    row = np.random.default_rng(1).normal(size=WIDTH).tolist()
    body = json.dumps({"inputs": [{"name": "input", "shape": [1, WIDTH], "datatype": "FP64", "data": row}]}).encode()
    spawn = multiprocessing.get_context("spawn")
    servers: dict[str, tuple[int, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        data, signature = bundle()
        for place, name in enumerate(name for pair in PAIRS.values() for name in pair):
            at = Path(folder) / str(place)
            make_workspace(at, data, signature, name)
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=serve, args=(name, str(at), theirs))
            process.start()
            servers[name] = ours.recv(), process
        try:
            report(measure(servers, body, seconds))
        finally:
            for _, process in servers.values():
                process.terminate()
                process.join()


Found = dict[tuple[str, int], list[dict[str, float]]]


def measure(servers: dict[str, tuple[int, Any]], body: bytes, seconds: float) -> Found:
    found: Found = {}
    for connections in CONNECTIONS:
        for round_number in range(ROUNDS + 1):
            for name, (port, process) in servers.items():
                rows, calls, before = *counted(port), cpu_seconds(process.pid)
                figures = load(port, "/v2/models/slow/infer", body, "", connections, seconds, False)
                now = counted(port)
                figures["rows"] = (now[0] - rows) / (now[1] - calls)
                figures["cpu"] = (cpu_seconds(process.pid) - before) / figures["count"] * 1e6
                if round_number:  # the first warms up
                    found.setdefault((name, connections), []).append(figures)
    return found


def report(found: Found) -> None:
    print(f"one row, a call of a fixed cost; median of {ROUNDS} rounds\n")
    print("| | connections | requests/s alone | together | gain | p50 µs alone | together | ratio | rows a call |")
    print("|" + "---|" * 9)
    for where, (off, on) in PAIRS.items():
        for connections in CONNECTIONS:
            one, two = found[off, connections], found[on, connections]
            rate, p50 = (
                [statistics.median(each[of] for each in rounds) for rounds in (one, two)] for of in ("rate", "p50")
            )
            gain, slower = (
                statistics.median(b[of] / a[of] for a, b in zip(one, two, strict=True)) for of in ("rate", "p50")
            )
            together = statistics.median(each["rows"] for each in two)
            print(
                f"| {where} | {connections} | {rate[0]:,.0f} | {rate[1]:,.0f} | {gain:.2f}x | {p50[0]:,.0f} | {p50[1]:,.0f}"
                f" | {slower:.2f} | {together:.1f} |"
            )


def counted(port: int) -> tuple[int, int]:
    """Rows that were scored, and calls of the model."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/models/slow/stats", timeout=10) as answer:
        one = json.load(answer)["model_stats"][0]
    return one["inference_count"], one["execution_count"]


def serve(name: str, place: str, pipe: Any) -> None:
    from bascule.protocols.openinference import run_worker
    from bascule.serving import runtime

    if name == "alone":
        runtime.WORTH_S = float("inf")  # no model is worth waiting for
    run_worker(place, port=0, ready=lambda said: pipe.send(int(said.url.rpartition(":")[2])))


def bundle() -> tuple[bytes, dict[str, Any]]:
    import skops.io
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from bascule.training import Field, Output, Signature, TrainedModel, pack_model

    random = np.random.default_rng(0)
    matrix = random.normal(size=(2_000, WIDTH))
    label = (matrix[:, :3].sum(axis=1) + random.normal(size=len(matrix)) > 0).astype(int)
    made = make_pipeline(StandardScaler(), GradientBoostingClassifier(n_estimators=50, random_state=0))
    inputs = tuple(Field(name=f"x{n}", type="double") for n in range(WIDTH))
    signature = Signature(inputs=inputs, output=Output(task="binary", classes=("0", "1")))
    model = TrainedModel(format="skops", artifact=skops.io.dumps(made.fit(matrix, label)), signature=signature)
    return pack_model(model), signature.as_dict()


def make_workspace(place: Path, data: bytes, signature: dict[str, Any], name: str) -> None:
    from bascule.history import Workspace

    ws = Workspace.create(place)
    entry = {"version": 1, "artifact": ws.store.put(data), "format": "skops", "signature": signature}
    service = {"service": {"workers": 1, "batch": int(name.split()[1])}} if name.startswith("worker") else {}
    changes: dict[str, dict[str, Any]] = {
        "models/slow": {"kind": "model", "name": "slow", "versions": {"1": entry}, "aliases": {}},
        "deployments/slow": {
            "kind": "deployment", "name": "slow", "model": "slow", "traffic": [{"version": 1, "weight": 100}],
            "strategy": "all_at_once", "revision": 1, "rollout": None, "rules": {}, "trail": [], **service,
        },
    }  # fmt: skip
    ws.history.commit("main", changes, message="A model")
    ws.close()


if __name__ == "__main__":
    main()
