"""Runs: the list, one run, and several side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec
from starlette.responses import Response

from bascule.errors import InputError
from bascule.history import Workspace
from bascule.lake.masking import hidden_names
from bascule.project.differing import RunsDiff, diff_runs, environment_of
from bascule.project.differing.forms import because
from bascule.server.reads import runs
from bascule.server.reads.runs import RunDetail, Series
from bascule.server.routes import Call, Route
from bascule.web.charts import Chart, Line, chart
from bascule.web.pages.common import View
from bascule.web.render import page
from bascule.web.text import short

V = TypeVar("V")

MOST_COMPARED = 12
MOST_COLUMNS = 4
# Metrics where less is better, by how their names end.
LESS_IS_BETTER = ("loss", "brier", "ece", "rmse", "mae", "mse", "error", "deviance", "duration_s")
# What the machine did meanwhile: nothing of it is better, and its steps are times.
MACHINE = "system/"


class RunsView(msgspec.Struct, frozen=True):
    """Which runs; the branch filter is `on`, since `ref` is the frame's."""

    ref: str = "main"
    status: str | None = None
    kind: str | None = None
    step: str | None = None
    on: str | None = None
    text: str | None = None
    before: str | None = None


class CompareView(msgspec.Struct, frozen=True):
    """Runs to set side by side."""

    ref: str = "main"
    run: tuple[str, ...] = ()


def list_runs(call: Call[RunsView, None]) -> Response:
    """Runs, youngest first."""
    query = call.query
    found = runs.list_runs(
        call.workspace,
        status=query.status,
        kind=query.kind,
        step=query.step,
        branch=query.on,
        text=query.text,
        before=query.before,
    )
    filters = {name: value for name, value in msgspec.structs.asdict(query).items() if name not in ("ref", "before")}
    names = [name for run in found.runs for name in run.metrics]
    columns = sorted(dict.fromkeys(names), key=lambda name: (-names.count(name), name))[:MOST_COLUMNS]
    return page(
        call, "runs.html", found=found, facets=runs.run_facets(call.workspace), filters=filters, columns=columns
    )


def one_run(call: Call[View, None]) -> Response:
    """A run with its parameters, metrics, curves, inputs and outputs."""
    found = runs.get_run(call.workspace, call.path["run"])
    return page(call, "run.html", found=found, run=found.run, charts=_curves([found]))


def compare(call: Call[CompareView, None]) -> Response:
    """Several runs side by side: what differs in their parameters, how their metrics stand, and their curves."""
    if not call.query.run:
        raise InputError("No runs to compare were named.", hint="Tick some in the list of runs.")
    if len(call.query.run) > MOST_COMPARED:
        raise InputError(f"{len(call.query.run)} runs are too many to read.", hint=f"Compare at most {MOST_COMPARED}.")
    found = runs.get_runs(call.workspace, call.query.run)
    return page(
        call,
        "runs_compare.html",
        runs=[one.run for one in found],
        params=_side_by_side([one.params for one in found]),
        metrics=[
            (name, values, _best(name, values)) for name, values, _ in _side_by_side([one.run.metrics for one in found])
        ],
        inputs=_side_by_side([{io.path: io.version for io in one.io if io.direction == "in"} for one in found]),
        environment=[row for row in _side_by_side([environment_of(one.environment) for one in found]) if row[2]],
        difference=_difference(call.workspace, found),
        because=because,
        charts=_curves(found),
    )


def _difference(workspace: Workspace, found: list[RunDetail]) -> RunsDiff | None:
    """Why two runs differ. Not for who reads masks: values that they hide may stand in the code."""
    if len(found) != 2 or hidden_names(workspace):
        return None
    return diff_runs(workspace, found[0].run.id, found[1].run.id)


def _curves(found: list[RunDetail]) -> list[Chart]:
    """One chart for each metric that has a curve in any of the runs; `train.x` and `validation.x` share one."""
    said = [one.run.name for one in found]
    names = {one.run.id: one.run.name if said.count(one.run.name) == 1 else short(one.run.id) for one in found}
    grouped: dict[str, list[tuple[str, Series]]] = {}
    for one in found:
        for series in one.series:
            if len(found) > 1 and series.key.startswith(MACHINE):
                continue
            split, dot, name = series.key.rpartition(".")
            of = f"{names[one.run.id]} " if len(found) > 1 else ""
            grouped.setdefault(name, []).append((f"{of}{split if dot else name}".strip(), series))
    return [
        chart(
            name,
            [
                Line(label, series.steps, series.values, tone=place % 6 + 1)
                for place, (label, series) in enumerate(lines)
            ],
            time=False,
            x_unit="step",
        )
        for name, lines in sorted(grouped.items())
    ]


def _side_by_side(maps: Sequence[Mapping[str, V]]) -> list[tuple[str, list[V | None], bool]]:
    """(name, value of each, whether they differ) for every name in any of the maps."""
    names = dict.fromkeys(name for one in maps for name in one)
    return [
        (name, values, len({repr(value) for value in values}) > 1)
        for name in sorted(names)
        for values in [[one.get(name) for one in maps]]
    ]


def _best(name: str, values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    if len(set(known)) < 2 or name.startswith(MACHINE):
        return None
    return min(known) if name.endswith(LESS_IS_BETTER) else max(known)


ROUTES = [
    Route("GET", "/runs", list_runs, "read", page=True),
    Route("GET", "/runs/compare", compare, "read", page=True),
    Route("GET", "/runs/{run}", one_run, "read", page=True),
]
