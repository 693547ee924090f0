"""How a deployment goes together when both branches changed it: its traffic and its rules, each for itself."""

from __future__ import annotations

from bascule.delivery.traffic import Deployment

TRAFFIC = ("traffic", "rollout", "trail", "revision", "waits")
RULES = ("strategy", "rules")
# What a deployment was before anyone wrote it down.
NOTHING: Deployment = {"traffic": [], "rollout": None, "trail": [], "revision": 0}


def merge_deployments(
    path: str, base: Deployment | None, ours: Deployment | None, theirs: Deployment | None
) -> Deployment | None:
    """Settle a deployment that both sides changed; None when both moved its traffic, or both changed its rules.

    So a branch that only wrote down how versions come into service, or changed that, takes nothing from what the
    target serves meanwhile.
    """
    if ours is None or theirs is None or ours["model"] != theirs["model"]:
        return None
    merged = dict(ours)
    for fields in (TRAFFIC, RULES):
        before, own, other = (_part(side, fields) for side in (base or NOTHING, ours, theirs))
        if own in (before, other):
            merged |= other
        elif other != before:
            return None
    return {name: value for name, value in merged.items() if name != "waits" or value is not None}


def _part(deployment: Deployment, fields: tuple[str, ...]) -> Deployment:
    return {name: deployment.get(name) for name in fields}
