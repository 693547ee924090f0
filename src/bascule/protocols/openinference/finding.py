"""Deployments and versions by what a request calls them; unknown ones are told in the words that clients look for."""

from __future__ import annotations

from bascule.errors import EnvironmentProblem, suggestion
from bascule.serving.branches import BranchState
from bascule.serving.dataplane import DataPlane
from bascule.serving.deployment import ServedDeployment
from bascule.serving.http.message import HttpProblem


def find_deployment(state: BranchState, name: str) -> ServedDeployment:
    """Return a deployment, or raise `HttpProblem` 404 with the nearest one."""
    found = state.deployments.get(name)
    if found is None:
        raise unknown_deployment(state, name)
    return found


def unknown_deployment(state: BranchState, name: str) -> HttpProblem:
    """The error for a deployment that there is not."""
    return HttpProblem(
        404,
        f"Request for unknown model: {name[:80]!r} is not deployed on branch {state.branch!r}.",
        hint=suggestion(name, sorted(state.deployments), "deployment"),
    )


def check_version(deployment: ServedDeployment, version: int) -> None:
    """Raise `HttpProblem` 404 unless the deployment's model has that version on the branch."""
    if str(version) not in deployment.registered:
        known = ", ".join(sorted(deployment.registered, key=int)[:20])
        raise HttpProblem(
            404,
            f"Request for unknown model: {deployment.name!r} version {version} is not registered.",
            hint=f"Versions: {known}.",
        )


def demand_ready(plane: DataPlane, deployment: ServedDeployment) -> None:
    """Raise `EnvironmentProblem` when a deployment does not answer, saying why."""
    if plane.unloaded and (deployment.branch, deployment.name) in plane.unloaded:
        raise EnvironmentProblem(
            f"Deployment {deployment.name!r} was unloaded from this process.",
            hint=f"Load it with: POST /v2/repository/models/{deployment.name}/load",
        )
    if not deployment.models:
        raise EnvironmentProblem(f"Deployment {deployment.name!r} is not ready: {deployment.problem}")
