"""A deployment that a revert brings back: it serves as it did, under a revision that nobody has used."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from bascule.catalog import audit, now
from bascule.delivery.records import record
from bascule.history import Commit

Deployment = dict[str, Any]


def brought_back(current: Deployment | None, back: Deployment | None) -> Deployment | None:
    """Return what a revert brings back, with the revision after the current one.

    Predictions are logged with the revision that answered them, and a rollout is judged on those since its own. Were a
    revision used twice, the next canary would be judged on requests that it never saw. A rollout that comes back
    begins anew for the same reason. A version that waited then and does not now stays so: it was shipped since, or
    dropped, and undoing that must not ship it once more.
    """
    if back is None:
        return None
    if back.get("waits") != (current or {}).get("waits"):
        back = {name: value for name, value in back.items() if name != "waits"}
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
