"""Runs over HTTP."""

from __future__ import annotations

from typing import Annotated

import msgspec

from bascule.server.api.history import BASE
from bascule.server.reads import history, runs
from bascule.server.routes import Call, Route


class RunQuery(msgspec.Struct, frozen=True):
    """Which runs. `text` is a part of the id, the name, the step or the person."""

    status: str | None = None
    kind: str | None = None
    step: str | None = None
    branch: str | None = None
    text: str | None = None
    before: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = runs.PAGE


def list_runs(call: Call[RunQuery, None]) -> runs.RunPage:
    """Runs, youngest first, with their parameters and last metrics."""
    found = runs.list_runs(call.workspace, **msgspec.structs.asdict(call.query))
    history.demand_known(call.workspace, call.query.branch, found.runs)
    return found


def one_run(call: Call[None, None]) -> runs.RunDetail:
    """A run with its parameters, series, inputs, outputs and children."""
    return runs.get_run(call.workspace, call.path["run"])


ROUTES = [
    Route("GET", f"{BASE}/runs", list_runs, "read"),
    Route("GET", f"{BASE}/runs/{{run}}", one_run, "read"),
]
