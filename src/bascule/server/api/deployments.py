"""Deployments over HTTP: read them, deploy, promote, roll back."""

from __future__ import annotations

from typing import Any

import msgspec

from bascule.delivery import advance, deploy, promote, rollback, set_traffic
from bascule.history import Commit
from bascule.server.api.history import BASE, RefQuery
from bascule.server.api.monitoring import BranchQuery
from bascule.server.environments import demand_role
from bascule.server.reads import deployments, history
from bascule.server.routes import Call, Route


class TrafficQuery(msgspec.Struct, frozen=True):
    """Of which branch, and how far back; without a window it fits the traffic that there is."""

    branch: str = "main"
    window: deployments.Window | None = None


class Deploy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version to bring into service. What is null is as the deployment's rules say; what is given is for this version
    alone, and `plan` adds to theirs."""

    model: str
    version: int | str
    branch: str = "main"
    strategy: str | None = None
    steps: list[int] | None = None
    shadow: bool | None = None
    guardrails: dict[str, Any] | None = None
    plan: dict[str, Any] | None = None
    also: list[int | str] = []
    reason: str = ""


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change of a deployment. `expect` is the digest that it must have now; then nothing else can be changed."""

    branch: str = "main"
    reason: str = ""
    expect: str | None = None


class SetTraffic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Version to percentage; whole numbers that sum to 100. `expect` as in `Change`."""

    weights: dict[int, int]
    branch: str = "main"
    reason: str = ""
    expect: str | None = None


class Changed(msgspec.Struct, frozen=True):
    """The deployment after a change, and the commit that made it."""

    commit: history.CommitInfo
    deployment: deployments.DeploymentInfo


def list_deployments(call: Call[RefQuery, None]) -> list[deployments.DeploymentInfo]:
    """The deployments of a state."""
    return deployments.list_deployments(call.workspace, call.query.ref)


def one_deployment(call: Call[RefQuery, None]) -> deployments.DeploymentInfo:
    """One deployment."""
    return deployments.get_deployment(call.workspace, call.query.ref, call.path["name"])


def changes(call: Call[BranchQuery, None]) -> list[deployments.RolloutChange]:
    """The changes of a deployment with their evidence, youngest first."""
    found = deployments.changes(call.workspace, call.query.branch, call.path["name"])
    if not found:  # one that is gone keeps its changes; one that never was is told
        deployments.get_deployment(call.workspace, call.query.branch, call.path["name"])
    return found


def traffic(call: Call[TrafficQuery, None]) -> deployments.Traffic:
    """Requests and latency by version over time."""
    deployments.get_deployment(call.workspace, call.query.branch, call.path["name"])
    return deployments.traffic(call.workspace, call.query.branch, call.path["name"], call.query.window)


def rollout(call: Call[BranchQuery, None]) -> deployments.RolloutState | None:
    """How a rollout stands: what the controller would decide now, and by which evidence. Null when there is none."""
    return deployments.rollout_state(call.workspace, call.query.branch, call.path["name"])


def deploy_version(call: Call[None, Deploy]) -> Changed:
    """Bring a version into service."""
    body, name = call.body, call.path["name"]
    demand_role(call.workspace, call.principal, body.branch, name)
    from bascule.project.measuring import demand_measurable  # with the lake's queries, which others need not

    held = call.workspace.history.read(body.branch, f"deployments/{name}") or {}
    rules = held.get("rules") or {}
    asked = {key: getattr(body, key) for key in ("steps", "shadow", "guardrails")}
    given = {key: rules.get(key) if value is None else value for key, value in asked.items()}
    plan = {**(rules.get("plan") or {}), **(body.plan or {})}
    demand_measurable(call.workspace, {"rules": {"guardrails": given["guardrails"], "plan": plan}})
    commit = deploy(
        call.workspace,
        body.branch,
        name,
        body.model,
        body.version,
        strategy=body.strategy or held.get("strategy", "canary"),
        plan=plan,
        also=body.also,
        once=True,
        by=call.principal.name,
        reason=body.reason,
        **{key: value for key, value in given.items() if value is not None},
    )
    return _changed(call, body.branch, commit)


def roll_back(call: Call[None, Change]) -> Changed:
    """Go back to the traffic before: out of a rollout, or to what served before the present version."""
    return _changed(call, call.body.branch, _act(rollback, call))


def promote_canary(call: Call[None, Change]) -> Changed:
    """Give the canary all traffic and end the rollout."""
    return _changed(call, call.body.branch, _act(promote, call))


def advance_canary(call: Call[None, Change]) -> Changed:
    """Give the canary its next share of the traffic."""
    return _changed(call, call.body.branch, _act(advance, call))


def share_traffic(call: Call[None, SetTraffic]) -> Changed:
    """Share the traffic among versions by hand. It ends a rollout that is under way."""
    body = call.body
    demand_role(call.workspace, call.principal, body.branch, call.path["name"])
    commit = set_traffic(
        call.workspace,
        body.branch,
        call.path["name"],
        body.weights,
        by=call.principal.name,
        reason=body.reason,
        expect=body.expect,
    )
    return _changed(call, body.branch, commit)


def _act(change: Any, call: Call[None, Change]) -> Commit:
    body = call.body
    demand_role(call.workspace, call.principal, body.branch, call.path["name"])
    made: Commit = change(
        call.workspace,
        body.branch,
        call.path["name"],
        by=call.principal.name,
        reason=body.reason,
        expect=body.expect,
    )
    return made


def _changed(call: Call[Any, Any], branch: str, commit: Commit) -> Changed:
    deployment = deployments.get_deployment(call.workspace, branch, call.path["name"])
    return Changed(history.commit_info(commit), deployment)


ROUTES = [
    Route("GET", f"{BASE}/deployments", list_deployments, "read"),
    Route("GET", f"{BASE}/deployments/{{name}}", one_deployment, "read"),
    Route("GET", f"{BASE}/deployments/{{name}}/changes", changes, "read"),
    Route("GET", f"{BASE}/deployments/{{name}}/traffic", traffic, "read"),
    Route("GET", f"{BASE}/deployments/{{name}}/rollout", rollout, "read"),
    Route("POST", f"{BASE}/deployments/{{name}}/deploy", deploy_version, "deploy"),
    Route("POST", f"{BASE}/deployments/{{name}}/rollback", roll_back, "deploy"),
    Route("POST", f"{BASE}/deployments/{{name}}/promote", promote_canary, "deploy"),
    Route("POST", f"{BASE}/deployments/{{name}}/advance", advance_canary, "deploy"),
    Route("POST", f"{BASE}/deployments/{{name}}/traffic", share_traffic, "deploy"),
]
