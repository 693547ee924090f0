"""The alias `production` follows a rollback: a version that was taken out of service is not called so any more."""

from __future__ import annotations

from typing import Any

from bascule.delivery.traffic import Deployment
from bascule.delivery.waiting import PRODUCTION
from bascule.history import Commit, Workspace

Object = dict[str, Any]


def taken_back(ws: Workspace, head: Commit, before: Deployment, after: Deployment) -> tuple[str, Object] | None:
    """Return a model's path and its object with `production` at what serves after a rollback.

    The next version is compared with that one, and `bascule deploy` without a version means it.

    Returns:
        None when the alias is to stay: it names a version that serves still, here or in another deployment of the
        model, or one that the rollback did not take out; or nothing serves afterwards.
    """
    path = f"models/{before['model']}"
    model = ws.history.read(head, path)
    named = (model or {}).get("aliases", {}).get(PRODUCTION)
    if model is None or not after["traffic"] or named not in _versions(before):
        return None
    for _, other in ws.history.entries(head, "deployments/"):
        state = after if other["name"] == after["name"] else other
        if state["model"] == before["model"] and named in _versions(state):
            return None
    largest = max(after["traffic"], key=lambda entry: int(entry["weight"]))["version"]
    return path, model | {"aliases": model["aliases"] | {PRODUCTION: largest}}


def _versions(deployment: Deployment) -> set[int]:
    return {entry["version"] for entry in deployment["traffic"]}
