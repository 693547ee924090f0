"""What a merge brings of a deployment: its rules. Its traffic belongs to the branch that it serves on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from bascule.delivery.records import changed_times
from bascule.delivery.traffic import Deployment, in_service
from bascule.errors import Conflict
from bascule.history import Staged, Workspace

PREFIX = "deployments/"
TRAFFIC = ("traffic", "rollout", "trail", "revision", "waits")
# What else it says, in parts that each go three-way: all that `planned` writes.
PARTS = (("strategy", "rules"), ("requests",), ("log",), ("service",), ("fills",))
RULES = tuple(name for fields in PARTS for name in fields)
# What a deployment was before anyone wrote it down, and one that serves nothing.
NOTHING: Deployment = {"traffic": [], "rollout": None, "trail": [], "revision": 0}

Follows = Callable[[str], bool]


def merge_deployments(
    path: str,
    base: Deployment | None,
    ours: Deployment | None,
    theirs: Deployment | None,
    *,
    prefer: Literal["ours", "theirs"] | None = None,
    follow: bool = False,
) -> Deployment | None:
    """Settle a deployment that both sides changed: the rules of both three-way, the traffic of ours.

    Args:
        prefer: whose rules are taken where both changed them.
        follow: take the traffic of theirs instead: ours has only inherited the deployment.

    Returns:
        None, which means conflict, when one side removed it, both changed the same rules, or it has another model.
    """
    if ours is None or theirs is None or ours["model"] != theirs["model"]:
        return None
    merged = with_part(ours, TRAFFIC, theirs) if follow else dict(ours)
    for fields in PARTS:
        before, own, other = (part(side, fields) for side in (base or NOTHING, ours, theirs))
        if own in (before, other) or (other != before and prefer == "theirs"):
            merged = with_part(merged, fields, theirs)
        elif other != before and prefer != "ours":
            return None
    return merged


def with_own_traffic(own: Deployment | None, coming: Deployment | None, revision: int = 0) -> Deployment | None:
    """Return what lands where a deployment comes in: what it says, with the traffic that it has where it lands.

    Args:
        own: what is there; None is nothing, and then the deployment that lands serves nothing yet.
        coming: what comes; None takes it away, which one that is in service withstands.
        revision: that a new one begins with.

    Raises:
        Conflict: one that is in service would get another model.
    """
    if coming is None:
        return own if own is not None and in_service(own) else None
    if own is not None and in_service(own) and own["model"] != coming["model"]:
        raise Conflict(
            f"Deployment {own['name']!r} serves {own['model']!r} here and {coming['model']!r} where it comes from.",
            paths=[PREFIX + own["name"]],
            hint="Deploy the other model under a name of its own.",
        )
    return with_part(coming, TRAFFIC, own or NOTHING | {"revision": revision})


def keep_traffic(ws: Workspace, branch: str, staged: Staged, follows: Follows) -> dict[str, Deployment | None]:
    """Return how the deployments land that a state brings to a branch: each with the branch's own traffic.

    Args:
        follows: tells of a deployment's name whether the branch takes the traffic that comes, as `merge_deployments`.

    Raises:
        Conflict: as `with_own_traffic`.
    """
    landing = {}
    for change in staged.changes:
        name = change.path.removeprefix(PREFIX)
        if change.path.startswith(PREFIX) and not follows(name):
            revision = 0 if change.before else changed_times(ws, branch, name)
            landing[change.path] = with_own_traffic(change.before, change.after, revision)
    return landing


def part(deployment: Deployment, fields: tuple[str, ...]) -> Deployment:
    """Return some fields of a deployment; null where there is none."""
    return {name: deployment.get(name) for name in fields}


def with_part(deployment: Deployment, fields: tuple[str, ...], other: Deployment) -> Deployment:
    """Return a deployment with some fields as another has them."""
    rest = {name: value for name, value in deployment.items() if name not in fields}
    return rest | {name: other[name] for name in fields if name in other}
