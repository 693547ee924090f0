"""A version that was merged and cannot come into service yet: it waits, written down in the deployment itself."""

from __future__ import annotations

from dataclasses import dataclass

from bascule.delivery.environments import lacking
from bascule.delivery.records import last_failure
from bascule.delivery.strategies import CAREFUL, COMPARING
from bascule.delivery.traffic import Deployment
from bascule.errors import NotFound
from bascule.history import Commit, Workspace
from bascule.registry import ModelVersion, get_version, production


@dataclass(frozen=True)
class Waiting:
    """A version that waits to come into service.

    Attributes:
        until: what has to happen first, to be read after "until".
    """

    deployment: str
    version: int
    until: str


def obstacle(deployment: Deployment, version: ModelVersion, unapproved: str = "") -> str | None:
    """Return what has to happen before a version can be brought into service; None when it can be now.

    Args:
        unapproved: whose word it lacks, as `environments.lacking` says it.
    """
    rollout, strategy = deployment.get("rollout"), deployment.get("strategy", "canary")
    if rollout is not None:
        return f"the rollout of version {rollout['canary']} ends"
    if not version.passed and not version.forced:
        if not version.evaluation_id:  # a client registered it, or a merge brought it
            return "somebody deploys it: no gate has judged it"
        return "it is registered anew: it did not pass its gates, and nobody forced it"
    if strategy in COMPARING and len(deployment["traffic"]) > 1:
        return "one version has all traffic: it is shared by hand"
    if strategy not in CAREFUL and not version.passed and deployment["traffic"]:
        return "somebody deploys it: it was forced past its gates and may go by canary or shadow only"
    if unapproved:
        return f"it is approved: {unapproved}"
    return None


def waiting_for(ws: Workspace, ref: str | Commit, deployment: Deployment, branch: str | None = None) -> Waiting | None:
    """Return what waits for a deployment of a state.

    Nothing does when the model's production version is not the one that was merged any more: a merge that was reverted
    ships nothing, and a newer one that shipped takes the place of the one before.

    Args:
        branch: whose records say why it could not be shipped, if that was tried.
    """
    version = deployment.get("waits")
    if version is None or version != production(ws, ref, deployment["model"]):
        return None
    try:
        chosen = get_version(ws, ref, deployment["model"], version)
        until = obstacle(deployment, chosen, lacking(ws, branch, deployment, chosen) if branch else "")
    except NotFound as gone:
        return Waiting(deployment["name"], version, f"it is there again: {gone.message}")
    if until is None:
        failed = last_failure(ws, branch, deployment["name"], version) if branch else ""
        until = "the server (bascule up) looks at it next" + (f"; it could not be shipped: {failed}" if failed else "")
    return Waiting(deployment["name"], version, until)
