"""A workspace with one model of four versions, and simulated traffic of its deployment."""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from bascule.history import Workspace
from bascule.serving import Split

US = 1_000_000
TIMESTAMP = pa.timestamp("us", "UTC")
START = 1_372_636_800 * US  # 2013-07-01


class Traffic:
    """A prediction log that grows. Scores are made from the label: `noise` says how bad each version is."""

    def __init__(self, noise: Mapping[int, float], seed: int = 0, label_delay: int = 50) -> None:
        self.rng = np.random.default_rng(seed)
        self.noise = noise
        self.rows: list[dict[str, Any]] = []
        self.labels: list[dict[str, Any]] = []
        self.label_delay = label_delay

    def score(self, label: float, version: int) -> float:
        noise = self.noise[version]
        base = 0.7 if label else 0.3
        return float(np.clip(base * (1 - noise) + 0.5 * noise + self.rng.normal(0, 0.1), 0.001, 0.999))

    def send(
        self,
        deployment: Mapping[str, Any],
        requests: int,
        *,
        latency_us: Mapping[int, int] | None = None,
        lost: Mapping[int, float] | None = None,
        failed: Mapping[int, float] | None = None,
        labels: bool = True,
        shadow: bool = True,
        units: Sequence[str] | None = None,
    ) -> None:
        """Send requests; `lost` is the share that leaves no trace, `failed` the share that is logged as failed.

        `units` are what the requests are about, one each: their arms are those that serving gives them. With them
        `lost` is the share of units whose requests leave no trace. Without them each request is drawn by itself.
        """
        rollout = deployment["rollout"]
        split = Split(deployment)
        new = (rollout["canary"], *rollout.get("others", ())) if rollout else ()
        for turn in range(requests):
            number = len(self.labels)
            draw, total, version = self.rng.random() * 100, 0, 0
            for entry in deployment["traffic"]:
                total += entry["weight"]
                if draw < total:
                    version, weight = entry["version"], entry["weight"]
                    break
            unit = None
            if units is not None:
                unit = split.place(units[turn])
                arm = split.arm_at(unit)
                version, weight = arm.version, round(100 * (arm.probability or 0))
            label = float(self.rng.random() < 0.3)
            name = f"p{number:07d}"
            at = START + number * US
            self.labels.append(
                {
                    "prediction_id": name,
                    "deployment": "delays",
                    "label": label,
                    "received_at": at + self.label_delay * US,
                }
                if labels
                else {"prediction_id": name, "deployment": "delays", "label": None, "received_at": at}
            )
            luck = self.rng.random() if unit is None else np.random.default_rng(unit).random()
            if lost and luck < lost.get(version, 0):
                continue
            wrong = bool(failed) and self.rng.random() < failed.get(version, 0)
            other = None
            if rollout and shadow:
                other = rollout["stable"] if version == rollout["canary"] else rollout["canary"]
            self.rows.append(
                {
                    "prediction_id": name,
                    "at": at,
                    "event_time": at,
                    "branch": "main",
                    "deployment": "delays",
                    "revision": deployment["revision"],
                    "version": version,
                    "arm": "canary" if version in new else "stable",
                    "probability": weight / 100,
                    "latency_us": int((latency_us or {}).get(version, 2000) * self.rng.exponential()),
                    "score": None if wrong else self.score(label, version),
                    "output": '{"error":"out of memory"}' if wrong else "{}",
                    "shadow": f'{{"version":{other},"score":{self.score(label, other)}}}' if other else None,
                    "unit": unit,
                }
            )

    def connection(self) -> duckdb.DuckDBPyConnection:
        """A connection that sees the relations."""
        connection = duckdb.connect()
        connection.execute("SET TimeZone='UTC'")
        truth = [row for row in self.labels if row["label"] is not None]
        schema = pa.schema(
            [
                ("prediction_id", pa.string()),
                ("deployment", pa.string()),
                ("label", pa.float64()),
                ("received_at", TIMESTAMP),
            ]
        )
        shapes = {
            "score": pa.float64(),
            "shadow": pa.string(),
            "at": TIMESTAMP,
            "event_time": TIMESTAMP,
            "probability": pa.float64(),
        }
        integers = dict.fromkeys(("revision", "version", "latency_us", "unit"), pa.int64())
        columns = ("prediction_id", "branch", "deployment", "arm", "output", *shapes, *integers)
        predictions = pa.schema([(name, (shapes | integers).get(name, pa.string())) for name in columns])
        connection.register("predictions", pa.Table.from_pylist(self.rows, schema=predictions))
        connection.register("ground_truth", pa.Table.from_pylist(truth, schema=schema))
        return connection


@pytest.fixture(autouse=True)
def _same_split_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollout's id says who gets which version, and a thousandth of all splits are uneven enough to be told of."""
    numbers = count(1)
    monkeypatch.setattr("bascule.delivery.traffic.new_id", lambda kind: f"{kind}_{next(numbers):026d}")


@pytest.fixture
def traffic_of() -> type[Traffic]:
    """The class that simulates traffic."""
    return Traffic


def model(versions: int) -> dict[str, Any]:
    """A model as the registry writes it."""
    shared = {
        "artifact": "a" * 64,
        "format": "lightgbm",
        "signature": {},
        "training_set": "t",
        "metrics": {"test.auc": 0.7},
    }
    shared |= {"created_at": 0, "created_by": "ann@example.org"}
    made = {
        str(number): {
            **shared,
            "id": f"mv_{number}",
            "version": number,
            "evaluation_id": f"ev_{number}",
            "passed": number < 3,
            "forced": "a drill" if number == 3 else "",
        }
        for number in range(1, versions + 1)
    }
    return {"kind": "model", "name": "delays", "versions": made, "aliases": {"production": min(2, versions)}}


def registered(workspace: Workspace) -> Workspace:
    """Register four versions: the third was forced past its gates, the fourth did not pass them."""
    for number in (1, 2, 3, 4):
        workspace.history.commit("main", {"models/delays": model(number)}, message=f"Register version {number}")
    return workspace


@pytest.fixture
def ws(local_workspace: Workspace) -> Workspace:
    """A workspace with four versions of a model."""
    return registered(local_workspace)


@pytest.fixture
def either(workspace: Workspace) -> Workspace:
    """The same, once on each database."""
    return registered(workspace)
