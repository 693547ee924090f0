"""The alias `production` follows what serves: the next version is compared with it, and `bascule deploy` means it."""

from __future__ import annotations

from typing import Any

from bascule.delivery.traffic import Deployment
from bascule.history import Commit, Workspace
from bascule.naming import PRODUCTION, model_path

Object = dict[str, Any]


def followed(
    ws: Workspace, head: Commit, before: Deployment | None, after: Deployment, *, back: bool
) -> tuple[dict[str, Object], list[str]]:
    """Return a model with `production` at what serves after a change of traffic, and the paths that this rests on.

    It moves when one version has all traffic, nothing waits to take its place and no other deployment of the model
    serves another version. After a rollback it also leaves a version that was taken out and serves nowhere any more.

    Args:
        back: whether the change is a rollback.

    Returns:
        Path to object; empty when the alias is to stay.
    """
    path = model_path(after["model"])
    model = ws.history.read(head, path)
    if model is None or not after["traffic"] or after["rollout"]:
        return {}, []
    others = {
        other: _versions(held)
        for other, held in ws.history.entries(head, "deployments/")
        if held.get("model") == after["model"] and held.get("name") != after["name"]
    }
    elsewhere = set().union(*others.values())
    largest = max(after["traffic"], key=lambda entry: int(entry["weight"]))["version"]
    named = model["aliases"].get(PRODUCTION)
    alone = after["traffic"] == [{"version": largest, "weight": 100}] and elsewhere <= {largest}
    forward = alone and after.get("waits") is None
    left = back and before is not None and named in _versions(before) - _versions(after) - elsewhere
    if named == largest or not (forward or left):
        return {}, []
    return {path: model | {"aliases": model["aliases"] | {PRODUCTION: largest}}}, [path, *others]


def _versions(deployment: Deployment) -> set[int]:
    return {entry["version"] for entry in deployment.get("traffic") or ()}
