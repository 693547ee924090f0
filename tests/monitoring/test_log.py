"""The whole way: real log segments, the lake's record tables, and what monitors and rollouts read of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import duckdb
import msgspec
import numpy as np
import pytest

from bascule import delivery, monitoring
from bascule.history import Workspace
from bascule.lake import Session
from bascule.serving.log import (
    GROUND_TRUTH,
    PREDICTIONS,
    Context,
    PredictionLog,
    Served,
    Truth,
    TruthLog,
    move_segments,
    unmoved,
)

DAY = 86_400_000_000
START = 15_887 * DAY


@contextmanager
def opened(ws: Workspace) -> Iterator[duckdb.DuckDBPyConnection]:
    with Session(ws, extra={name: partial(unmoved, ws, name) for name in (PREDICTIONS, GROUND_TRUTH)}) as session:
        session.sql(f"select 1 from {PREDICTIONS}, {GROUND_TRUTH} limit 0")
        yield session.connection


def serve(
    ws: Workspace, day: int, rows: int = 300, arm: str = "stable", version: int = 1, failed: bool = False
) -> None:
    """Write a day's requests and their outcomes as an inference process does."""
    rng = np.random.default_rng(day)
    log, truths = PredictionLog(ws.log_folder), TruthLog(ws.log_folder)
    context = Context(1, "main", "c0", "delays", 1, "delays", version, ("wind", "origin", "age"), "binary", ("0", "1"))
    for number in range(rows):
        name, at = f"{day}-{arm}-{number}", START + day * DAY + number * 1000
        label = float(rng.random() < 0.3)
        wind, origin, age = float(rng.normal(10, 3)), str(rng.choice(["EWR", "JFK", "LGA"])), float(rng.gamma(4, 3))
        log.append(
            context,
            msgspec.structs.astuple(
                Served(
                    1,
                    [name],
                    at,
                    [at],
                    arm,
                    1.0,
                    None,
                    None,
                    1500,
                    {"wind": [wind], "origin": [origin], "age": [age]},
                    None,
                    None if failed else [0.2 + 0.5 * label],
                    "out of memory" if failed else None,
                )
            ),
        )
        truths.append(Truth(name, "delays", label, at + DAY, at + DAY))
    for one in (log, truths):
        one.journal.commit()
        one.journal.close()


def test_nothing_served_yet_is_nothing_to_measure(local_workspace: Workspace, watch) -> None:
    monitor = watch(local_workspace)
    with opened(local_workspace) as connection:
        assert monitoring.measure(local_workspace, connection, "main", monitor).windows == 0


@pytest.mark.slow
def test_what_was_answered_is_measured_moved_or_not(local_workspace: Workspace, watch) -> None:
    monitor = watch(local_workspace)
    serve(local_workspace, 0)
    serve(local_workspace, 1, failed=True, rows=5)
    move_segments(local_workspace)
    serve(local_workspace, 1)
    with opened(local_workspace) as connection:
        found = monitoring.measure(local_workspace, connection, "main", monitor)
    assert found.windows == 2
    traffic = [(p.start, p.rows, p.detail["labels"]) for p in found.points if p.measure == "traffic"]
    assert traffic == [(START, 300, 300), (START + DAY, 300, 300)]
    assert {p.subject for p in found.points if p.measure == "drift"} == {"wind", "origin", "age"}
    assert all(p.value == 1.0 for p in found.points if p.measure == "quality" and p.subject == "auc")
    move_segments(local_workspace)
    with opened(local_workspace) as connection:
        assert monitoring.measure(local_workspace, connection, "main", monitor).windows == 0


def test_a_rollout_reads_the_same_log(local_workspace: Workspace, watch) -> None:
    watch(local_workspace)
    serve(local_workspace, 0)
    rollout = {"stable": 1, "canary": 2, "revision": 1, "steps": [10, 100], "step": 0, "started_at": 0, "shadow": True}
    deployment = {"name": "delays", "revision": 1, "rollout": {**rollout, "guardrails": {}}}
    with opened(local_workspace) as connection:
        assert delivery.assess(connection, "main", deployment).action == "hold"
