"""What a revert makes of a deployment: its rules go back; its traffic only when nobody has moved it since.

Whatever serves afterwards does so under a revision that nobody has used. Predictions are logged with the revision that
answered them, and a rollout is judged on those since its own: were one used twice, the next canary would be judged on
requests that it never saw. A rollout that comes back begins anew for the same reason.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from bascule.catalog import audit, now
from bascule.delivery.merging import NOTHING, PARTS, TRAFFIC, part, with_part
from bascule.delivery.records import record
from bascule.delivery.traffic import Deployment, gone_back, in_service, needed, out_of_service
from bascule.history import REMOVED, Commit


def undone(made: Deployment | None, current: Deployment | None, back: Deployment | None) -> Deployment | None:
    """Return a deployment without what a commit made of it.

    Traffic that was moved since stays: it belongs to the branch. One that the commit made and that serves by what came
    after it stays in service; one that has ever served is kept, out of service, and not removed.

    Args:
        made: the deployment in the commit.
        current: on the branch.
        back: before the commit.

    Returns:
        `REMOVED` to remove it; None, which means conflict, when its rules were changed since, or it was removed or made
        again.
    """
    if current is None:
        return fresh(None, back) if made is None and back is not None else None
    if made is None:
        return None
    if back is None:
        if in_service(current) and has_moved(made, current):
            return current
        return out_of_service(current) if current["revision"] else REMOVED
    rules = _rules_back(made, current, back)
    if rules is None:
        return None
    if has_moved(back, made) and not has_moved(made, current):
        return fresh(current, with_part(rules, TRAFFIC, back))
    if back.get("waits") != made.get("waits") == current.get("waits"):
        return _without_wait(rules)
    return rules


def has_moved(before: Deployment | None, after: Deployment | None) -> bool:
    """Tell whether two states of a deployment differ in traffic or rollout, not counting when each began."""
    return _served(before) != _served(after)


def with_versions(deployment: Deployment, known: set[int]) -> Deployment | None:
    """Return a deployment that serves only versions which are known: as it is, or back at earlier traffic.

    Returns:
        None when a version is lost and no earlier traffic has all of its own.
    """
    if deployment.get("waits") not in (None, *known):
        deployment = _without_wait(deployment)
    return deployment if needed(deployment) <= known else gone_back(deployment, known)


def fresh(current: Deployment | None, back: Deployment) -> Deployment:
    """Return a state that comes back, with the revision after the current one.

    A version that waited then and does not now stays so: it was shipped since, or dropped, and undoing that must not
    ship it once more.
    """
    if back.get("waits") != (current or {}).get("waits"):
        back = _without_wait(back)
    revision = max(back["revision"], current["revision"] if current else 0) + 1
    rollout = back["rollout"] and {**back["rollout"], "revision": revision, "started_at": now()}
    return back | {"revision": revision, "rollout": rollout}


def record_revert(
    conn: Connection, branch: str, before: Deployment | None, after: Deployment | None, who: str, commit: Commit
) -> None:
    """Write what a revert did to a deployment into `rollouts` and the audit log, in the caller's transaction."""
    some = after or before
    assert some is not None
    gone = some | {"traffic": []}
    record(conn, branch, before, after or gone, "revert", who, {"reason": commit.message}, commit.id)
    audit.append(
        conn,
        actor=who,
        action="revert",
        subject=f"deployments/{some['name']}",
        detail={
            "branch": branch,
            "commit": commit.id,
            "from": before["traffic"] if before else [],
            "to": after["traffic"] if after else [],
        },
    )


def _rules_back(made: Deployment, current: Deployment, back: Deployment) -> Deployment | None:
    for fields in PARTS:
        own, changed, before = (part(side, fields) for side in (current, made, back))
        if own == changed:
            current = with_part(current, fields, back)
        elif before not in (changed, own):
            return None
    return current


def _served(deployment: Deployment | None) -> tuple[Any, Any]:
    state = deployment or NOTHING
    rollout = state.get("rollout") or {}
    still = {name: value for name, value in rollout.items() if name not in ("revision", "started_at")}
    return state.get("traffic") or [], still


def _without_wait(deployment: Deployment) -> Deployment:
    return {name: value for name, value in deployment.items() if name != "waits"}
