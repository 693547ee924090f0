"""Endpoints of metrics' histories."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from bascule.errors import InputError
from bascule.protocols.mlflow.messages import Answer, Ask, double, present
from bascule.protocols.mlflow.runs import run_of
from bascule.tracking import curves, remote

MOST_RUNS = 100
MOST_HISTORY = 1 << 31
MOST_BULK = 25_000
MOST_SAMPLED = 2_500
LARGEST = sys.float_info.max


class _Point(msgspec.Struct, gc=False):
    """One point as the wire has it."""

    key: str
    value: float | str
    timestamp: int
    step: int


class _History(msgspec.Struct, omit_defaults=True):
    """A page of points; nothing is written of what is empty."""

    metrics: list[_Point] = []
    next_page_token: str = ""


_ENCODER = msgspec.json.Encoder()


def history(ask: Ask) -> Answer:
    """Return the points of a metric, or a page of them."""
    told = ask.told
    run, key = run_of(told), told.text("metric_key", required=True)
    limit = min(told.integer("max_results", 0, least=0), MOST_HISTORY)
    with ask.tracker.workspace.catalog.read() as conn:
        remote.demand_run(conn, run)
        page = curves.raw_history(conn, run, key, limit=limit or None, token=told.text("page_token"))
    metrics = [
        _Point(key, "NaN" if nan else value if -LARGEST <= value <= LARGEST else double(value), at // 1000, step)
        for at, step, value, nan in page.found
    ]
    return Answer(_ENCODER.encode(_History(metrics, page.token)))


def bulk(ask: Ask) -> Answer:
    """Return the first points of a metric of several runs."""
    told = ask.told
    runs, key = told.texts("run_id"), told.text("metric_key", required=True)
    _counted(runs, "run_id")
    limit = told.integer("max_results", MOST_BULK, least=1, most=MOST_BULK)
    found: list[dict[str, Any]] = []
    for run in sorted(runs):
        page = curves.history(ask.tracker, run, key, limit=limit - len(found))
        found += [_metric(key, one) | {"run_id": run} for one in page.found]
        if len(found) >= limit:
            break
    return Answer(present({"metrics": found}))


def interval(ask: Ask) -> Answer:
    """Return a metric of several runs, thinned to so many steps each."""
    told = ask.told
    runs, key = told.texts("run_ids"), told.text("metric_key", required=True)
    _counted(runs, "run_ids")
    most = told.integer("max_results", 320, least=1, most=MOST_SAMPLED)
    start, end = told.get("start_step"), told.get("end_step")
    if (start is None) != (end is None):
        raise InputError("'start_step' and 'end_step' must be given together.", hint="Give both or none.")
    steps = None
    if start is not None:
        steps = (told.integer("start_step"), told.integer("end_step"))
        if steps[0] > steps[1]:
            raise InputError(f"end_step must be >= start_step: {steps[1]} < {steps[0]}.", hint="Swap them.")
    found = curves.thinned(ask.tracker, runs, key, most, steps)
    return Answer(present({"metrics": [_metric(key, one) | {"run_id": one.run} for one in found]}))


def _metric(key: str, one: curves.Measured) -> dict[str, Any]:
    return {"key": key, "value": double(one.value), "timestamp": one.at // 1000, "step": one.step}


def _counted(runs: list[str], name: str) -> None:
    if not 1 <= len(runs) <= MOST_RUNS:
        raise InputError(f"'{name}' takes 1 to {MOST_RUNS} run ids; there were {len(runs)}.", hint="Ask in parts.")
