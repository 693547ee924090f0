"""What a branch asks of whoever changes what serves on it: approvals of the version, and the role of the person.

Both stand in the deployment's rules, in the history, so every way in (command line, Python, HTTP, the page, a merge,
the controller) is held to the same. Going back is never held up by approvals: it is what one does in an emergency.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bascule.delivery.traffic import Deployment
from bascule.errors import CheckFailed
from bascule.history import Workspace
from bascule.registry import ModelVersion, get_version
from bascule.registry.approvals import decisions, standing, way_out

ROLE = "deployer"
# The rules that say what a branch asks for: who deploys a version does not change them.
KEYS = ("approvals", "environments")


class Environment(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one branch asks for.

    Attributes:
        name: such as `production`; empty when the project names no environments.
        approvals: how many people other than who registered a version must approve it.
        role: the least role of who changes the traffic over HTTP or on the page.
    """

    name: str = ""
    approvals: int = 0
    role: str = ROLE


def environment_of(deployment: Mapping[str, Any] | None, branch: str) -> Environment:
    """Return what a branch asks for by a deployment's rules.

    A project that names environments asks for nothing on other branches: they are for trying things.
    """
    rules = (deployment or {}).get("rules") or {}
    named = rules.get("environments")
    if named is None:
        return Environment(approvals=rules.get("approvals", 0))
    return msgspec.convert(named.get(branch, {}), Environment)


def gates_of(ws: Workspace, ref: str, deployment: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the rules that say what branches ask for: a deployment's own, else those of its neighbours.

    So that nobody goes round them by giving a deployment another name, now or before there were any.
    """
    found = own_gates(deployment)
    neighbours = () if found else (held for _, held in ws.history.entries(ref, "deployments/"))
    return found or next((gates for held in neighbours if (gates := own_gates(held))), {})


def own_gates(deployment: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what a deployment itself says of what branches ask for."""
    rules = (deployment or {}).get("rules") or {}
    return {key: rules[key] for key in KEYS if key in rules}


def lacking(ws: Workspace, branch: str, deployment: Mapping[str, Any] | None, version: ModelVersion) -> str:
    """Return whose word a version lacks to serve on a branch; empty when it lacks none."""
    needed = environment_of({"rules": gates_of(ws, branch, deployment)}, branch).approvals
    return standing(ws, version).missing(needed) if needed else ""


def demand_approved(ws: Workspace, branch: str, deployment: Deployment | None, version: ModelVersion) -> None:
    """Refuse to give a version traffic that it lacks the approvals for.

    Raises:
        CheckFailed: saying whose word is missing.
    """
    why = lacking(ws, branch, deployment, version)
    if why:
        asked = environment_of({"rules": gates_of(ws, branch, deployment)}, branch)
        where = asked.name or f"branch {branch!r}"
        raise CheckFailed(
            f"{version.name()} gets no traffic in {where}: it is not approved: {why}.",
            details=[msgspec.to_builtins(one) for one in decisions(ws, version)],
            hint=way_out(version, standing(ws, version)),
        )


def demand_arriving_approved(ws: Workspace, branch: str, before: Deployment, after: Deployment) -> None:
    """The same for every version that a change gives more traffic than it had.

    Raises:
        CheckFailed: saying whose word is missing.
    """
    had = {entry["version"]: entry["weight"] for entry in before["traffic"]}
    for entry in after["traffic"]:
        if entry["weight"] > had.get(entry["version"], 0):
            demand_approved(ws, branch, before, get_version(ws, branch, before["model"], entry["version"]))
