"""A prediction log with labels that arrive late, and a deployment whose release metrics are known."""

from collections.abc import Callable
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from bascule import monitoring
from bascule.history import Workspace

DAY = 86_400_000_000
START = 15_887 * DAY  # 2013-07-01


class Log:
    """A prediction log that grows by days. Column functions take (rng, rows) and return values."""

    def __init__(self, columns: dict[str, Callable[..., Any]], seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.columns = dict(columns)
        self.predictions: list[pa.Table] = []
        self.truth: list[pa.Table] = []
        self.sent = 0

    def day(
        self,
        number: int,
        rows: int = 400,
        *,
        change: dict[str, Callable[..., Any]] | None = None,
        skill: float = 1.0,
        labelled: float = 1.0,
        version: int = 1,
        score_shift: float = 0.0,
        arm: str = "stable",
        late: int = 0,
        days: int = 1,
    ) -> None:
        """Add a day, or several alike with `rows` in all.

        `labelled` is the share of its rows whose labels have arrived, `late` days after.
        """
        values = {name: make(self.rng, rows) for name, make in {**self.columns, **(change or {})}.items()}
        at = START + number * DAY + np.sort(self.rng.integers(0, days * DAY, rows))
        label = (self.rng.random(rows) < 0.3).astype(float)
        logit = 2.0 * skill * (label - 0.5) + self.rng.normal(0, 1, rows) + score_shift - 0.7
        ids = [f"p{self.sent + i:08d}" for i in range(rows)]
        self.sent += rows
        features = pa.table({name: pa.array(column, from_pandas=True) for name, column in values.items()})
        connection = duckdb.connect()
        connection.register("features", features)
        texts = connection.execute("select to_json(features) from features").fetchall()
        score = 1 / (1 + np.exp(-logit))
        self.predictions.append(
            pa.table(
                {
                    "prediction_id": ids,
                    "event_time": pa.array(at, pa.timestamp("us", "UTC")),
                    "branch": ["main"] * rows,
                    "deployment": ["delays"] * rows,
                    "version": pa.array([version] * rows, pa.int32()),
                    "arm": [arm] * rows,
                    "score": score,
                    "features": [text for (text,) in texts],
                }
            )
        )
        have = self.rng.random(rows) < labelled
        self.label([i for i, h in zip(ids, have, strict=True) if h], label[have], START + (number + late) * DAY)

    def label(self, ids: list[str], labels: np.ndarray, received: int) -> None:
        """Let labels arrive."""
        self.truth.append(
            pa.table(
                {
                    "prediction_id": pa.array(ids, pa.string()),
                    "label": pa.array(labels, pa.float64()),
                    "received_at": pa.array([received] * len(ids), pa.timestamp("us", "UTC")),
                }
            )
        )

    def connection(self) -> duckdb.DuckDBPyConnection:
        """A connection that sees the relations."""
        made = duckdb.connect()
        made.execute("SET TimeZone='UTC'")
        made.register("predictions", pa.concat_tables(self.predictions))
        made.register("ground_truth", pa.concat_tables(self.truth))
        return made


COLUMNS = {
    "wind": lambda rng, n: rng.normal(10, 3, n),
    "origin": lambda rng, n: rng.choice(["EWR", "JFK", "LGA"], n, p=[0.4, 0.35, 0.25]),
    "age": lambda rng, n: np.where(rng.random(n) < 0.02, np.nan, rng.gamma(4, 3, n)),
}


@pytest.fixture
def log() -> Log:
    return Log(COLUMNS)


@pytest.fixture
def log_of() -> type[Log]:
    return Log


@pytest.fixture
def watch() -> Callable[..., dict[str, Any]]:
    """Store a profile of columns as they were in training, serve version 1, and return a monitor's object."""

    def make(ws: Workspace, columns: dict | None = None, rows: int = 20_000, **settings: Any) -> dict[str, Any]:
        rng = np.random.default_rng(77)
        columns = columns or COLUMNS
        training = pa.table({name: pa.array(make(rng, rows), from_pandas=True) for name, make in columns.items()})
        past = Log({}, seed=78)
        past.columns = {"none": lambda rng, n: np.zeros(n)}
        past.day(0, 5000)
        connection = duckdb.connect()
        connection.register("training", training)
        connection.register("scores", past.predictions[0].select(["score"]))
        profile = monitoring.build_profile(
            connection, "training", scores="scores", importance={"wind": 10.0, "origin": 5.0, "age": 1.0}
        )
        reference = {"training_set": "t1", "profile": ws.store.put(monitoring.encode_profile(profile))}
        monitor = monitoring.read_monitor(
            {"name": "delays", "deployment": "delays", "reference": reference, **settings}
        ).as_object()
        metrics = {"test.auc": 0.84, "test.log_loss": 0.45, "test.auc.EWR": 0.9}
        versions = {str(v): {"version": v, "passed": True, "metrics": metrics} for v in (1, 2)}
        ws.history.commit(
            "main",
            {
                "monitors/delays": monitor,
                "models/delays": {"kind": "model", "name": "delays", "versions": versions, "aliases": {}},
                "deployments/delays": {"kind": "deployment", "name": "delays", "model": "delays", "traffic": []},
            },
            message="Watch",
        )
        return monitor

    return make
