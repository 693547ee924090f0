"""Deployments: traffic, latency, how a rollout stands, and the buttons that change it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
from starlette.responses import RedirectResponse, Response

from bascule.delivery import advance, promote, rollback
from bascule.errors import NotFound
from bascule.naming import model_path
from bascule.server.environments import demand_role, may_change, role_for
from bascule.server.reads import deployments, history, models
from bascule.server.reads.deployments import RolloutState, Traffic
from bascule.server.routes import Call, Route
from bascule.web.charts import Chart, Line, Mark, chart
from bascule.web.pages.common import View
from bascule.web.render import href, page

SECOND = 1_000_000
Path = list[list[float]]
# How much wider than the last bounds the first ones that are drawn may be.
_ROOM = 8


class DeploymentView(msgspec.Struct, frozen=True):
    """How far back the traffic is shown, and what was just done."""

    ref: str = "main"
    window: deployments.Window | None = None
    done: str | None = None


class ChangeForm(msgspec.Struct, frozen=True):
    """What a person confirms: on which branch, based on which state, and why."""

    branch: str
    expect: str
    reason: str = ""


class Act(msgspec.Struct, frozen=True):
    """Something that a person can do to a deployment, as the page says it."""

    name: str
    title: str
    button: str
    danger: bool
    command: str


ACTS: dict[str, tuple[Callable[..., Any], str, str, bool]] = {
    "rollback": (rollback, "Roll back", "Roll back", True),
    "promote": (promote, "Promote", "Promote", False),
    "advance": (advance, "Advance", "Advance", False),
}


def list_deployments(call: Call[View, None]) -> Response:
    """The deployments of a branch."""
    ws, ref = call.workspace, call.query.ref
    found = deployments.list_deployments(ws, ref)
    return page(call, "deployments.html", deployments=[(one, deployments.traffic(ws, ref, one.name)) for one in found])


def one_deployment(call: Call[DeploymentView, None]) -> Response:
    """A deployment with its traffic, its rollout's evidence and its history."""
    ws, ref, name = call.workspace, call.query.ref, call.path["name"]
    found = deployments.get_deployment(ws, ref, name)
    on_branch = history.is_branch(ws, ref)
    traffic = deployments.traffic(ws, ref, name, call.query.window)
    changes = deployments.changes(ws, ref, name)
    state = deployments.rollout_state(ws, ref, name) if on_branch and found.rollout else None
    model = models.get_model(ws, ref, found.model) if ws.history.digest(ref, model_path(found.model)) else None
    return page(
        call,
        "deployment.html",
        found=found,
        on_branch=on_branch,
        traffic=traffic,
        windows=deployments.WINDOWS,
        charts=_charts(traffic, changes),
        changes=changes,
        state=state,
        evidence=_evidence(state),
        versions={one.version: one for one in model.versions} if model else {},
        may_deploy=may_change(ws, call.principal, ref, name),
        takes=role_for(ws, ref, name),
        command=command("rollback", name, ref),
        done=call.query.done,
        # What waited for the end of a rollout has begun its own since: the last change need not be what was done.
        told=next((one for one in changes if one.action == call.query.done), changes[0] if changes else None),
    )


def confirm(call: Call[View, None]) -> Response:
    """Ask once before a deployment is changed."""
    ref, name = call.query.ref, call.path["name"]
    history.demand_branch(call.workspace, ref)
    act = _act(call, ref)
    found = deployments.get_deployment(call.workspace, ref, name)
    after = found.back_to if act.name == "rollback" else _after(found, act.name)
    return page(call, "confirm.html", found=found, act=act, after=after)


def change(call: Call[View, ChangeForm]) -> Response:
    """Change a deployment by the same function as the command line and the API."""
    form, name = call.body, call.path["name"]
    act = _act(call, form.branch)
    demand_role(call.workspace, call.principal, form.branch, name)
    ACTS[act.name][0](
        call.workspace, form.branch, name, by=call.principal.name, reason=form.reason.strip(), expect=form.expect
    )
    return RedirectResponse(href(f"/deployments/{name}", form.branch, done=act.name), 303)


def command(act: str, name: str, branch: str) -> str:
    """The same from a terminal."""
    return f"bascule {act} deployments/{name}{'' if branch == 'main' else f' --branch {branch}'}"


def _act(call: Call[Any, Any], branch: str) -> Act:
    name, deployment = call.path["act"], call.path["name"]
    if name not in ACTS:
        raise NotFound("action", name, ACTS)
    _, title, button, danger = ACTS[name]
    return Act(name, title, button, danger, command(name, deployment, branch))


def _after(found: deployments.DeploymentInfo, act: str) -> list[deployments.Share] | None:
    if not found.rollout:
        return None
    steps, step = found.rollout["steps"], found.rollout["step"]
    share = 100 if act == "promote" else steps[min(step + 1, len(steps) - 1)]
    shares = [
        deployments.Share(found.rollout["stable"], 100 - share),
        deployments.Share(found.rollout["canary"], share),
    ]
    return [one for one in shares if one.weight]


def _charts(traffic: Traffic, changes: list[deployments.RolloutChange]) -> list[Chart]:
    """Requests a second and the 99th percentile by version, with the moments at which the traffic was changed."""
    versions = sorted({one.version for one in traffic.buckets})
    starts = [one.start for one in traffic.buckets]
    if not starts:
        return []
    marks = [
        Mark(change.action, x=change.at)
        for change in changes
        if change.action != "hold" and min(starts) <= change.at <= max(starts) + traffic.width
    ]
    every = range(min(starts), max(starts) + 1, traffic.width)
    rate, slow = [], []
    for place, version in enumerate(versions):
        own = {one.start: one for one in traffic.buckets if one.version == version}
        seconds = traffic.width / SECOND
        rate.append(
            Line(
                f"version {version}",
                list(every),
                [own[at].requests / seconds if at in own else 0.0 for at in every],
                tone=place % 6 + 1,
            )
        )
        times = list(own)
        slow.append(Line(f"version {version}", times, [own[at].p99 / 1000 for at in times], tone=place % 6 + 1))
    return [
        chart("Requests", rate, unit="1/s", from_zero=True, marks=marks),
        chart("Latency, 99th percentile", slow, unit="ms", from_zero=True, marks=marks),
    ]


def _evidence(state: RolloutState | None) -> list[tuple[dict[str, Any], list[Chart]]]:
    """Each rule's finding with the path of its evidence."""
    return [(finding, _evidence_charts(finding)) for finding in state.findings] if state else []


def _evidence_charts(finding: dict[str, Any]) -> list[Chart]:
    charts = []
    if course := finding.get("course"):
        charts.append(_over_time(finding, course))
    if path := finding.get("path"):
        charts.append(_harm(path, finding["threshold"]))
    if (low := finding.get("low_path")) and (high := finding.get("high_path")):
        charts.append(_difference(finding, low, high))
    return charts


def _harm(path: Path, threshold: float) -> Chart:
    """How the evidence grew, label by label, and where it rolls back."""
    marks = [Mark("rolls back above", y=math.log10(threshold), tone="bad")] if math.isfinite(threshold) else []
    line = Line("log10 of the e-value", [x for x, _ in path], [y for _, y in path], tone=2)
    return chart("Evidence of harm", [line], unit="powers of ten", x_unit="labels", time=False, marks=marks)


def _difference(finding: dict[str, Any], low: Path, high: Path) -> Chart:
    """The bounds of the difference in loss, and what is allowed."""
    # The first bounds are as wide as the loss itself; drawn to scale they would flatten all that follows.
    room = _ROOM * (high[-1][1] - low[-1][1])
    start = next((at for at, (a, b) in enumerate(zip(low, high, strict=True)) if b[1] - a[1] <= room), 0)
    low, high = low[start:], high[start:]
    middle = [(a + b) / 2 for (_, a), (_, b) in zip(low, high, strict=True)]
    if mean := finding.get("mean_path"):
        middle = [y for _, y in mean[start:]]
    bounds = Line("canary less stable", [x for x, _ in low], middle, [y for _, y in low], [y for _, y in high])
    marks = [Mark("", y=0.0)]
    if finding["margin"]:
        marks.insert(0, Mark("allowed", y=finding["margin"], tone="ok"))
    title, x = {"quality": (f"Difference in {finding.get('loss', 'loss')}", "labels")}.get(
        finding["rule"], (f"Difference in {finding['rule']}", "units")
    )
    if finding["rule"] == "disagreement":
        title, x, bounds = "Requests answered differently", "requests", replace(bounds, name="share")
        return chart(title, [bounds], unit="of all", x_unit=x, time=False, marks=marks)
    return chart(title, [bounds], unit="canary less stable", x_unit=x, time=False, marks=marks)


def _over_time(finding: dict[str, Any], course: Path) -> Chart:
    """The difference in an event's rate and its bounds, as they closed in over time, and what is allowed."""
    end = course[-1][2] - course[-1][1]
    shown = [row for row in course if row[2] - row[1] <= _ROOM * end] or course[-1:]
    at, low, high = ([row[place] for row in shown] for place in (0, 1, 2))
    seen = [row[3] if len(row) > 3 else (row[1] + row[2]) / 2 for row in shown]  # older evidence has the bounds alone
    bounds = Line("canary less stable", at, seen, low, high)
    marks = [Mark("allowed", y=finding["margin"], tone="ok"), Mark("", y=0.0)]
    title = {"errors": "Difference in failed requests", "latency": "Difference in slow answers"}[finding["rule"]]
    return chart(title, [bounds], unit="canary less stable", marks=marks)


ROUTES = [
    Route("GET", "/deployments", list_deployments, "read", page=True),
    Route("GET", "/deployments/{name}", one_deployment, "read", page=True),
    Route("GET", "/deployments/{name}/{act}", confirm, "deploy", page=True),
    Route("POST", "/deployments/{name}/{act}", change, "deploy", page=True),
]
