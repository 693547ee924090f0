"""What happens to the models that learned from a subject: `[forget] policy`, carried out and recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import insert, select

from bascule.catalog import new_id
from bascule.catalog import now as clock
from bascule.catalog.schema import jobs
from bascule.durations import parse_duration
from bascule.errors import InputError
from bascule.history import Workspace
from bascule.project.retraining import SCHEDULED
from bascule.project.sections import Forget
from bascule.registry.withdrawals import JUSTIFY

RETRAIN, SCHEDULE = "retrain", "schedule"
WAITING = "waiting"


def refuse_unjustified(policy: Forget, reason: str) -> None:
    """Refuse to forget when the policy wants a reason for keeping the models, and none is given.

    Raises:
        InputError: naming where to write one.
    """
    if policy.policy == JUSTIFY and not (reason.strip() or policy.reason.strip()):
        raise InputError(
            "The policy is to justify why models that learned from the subject stay, and no reason is given.",
            hint='Give --reason TEXT, or write reason = "…" under [forget] in bascule.toml.',
        )


def due_at(policy: Forget) -> int:
    """Return when a scheduled retraining is due that is put down now, in microseconds."""
    return clock() + (parse_duration(policy.within, key="within") if policy.policy == SCHEDULE else 0)


def carried_out(workspace: Workspace, policy: Forget, models: Sequence[str], cause: str, reason: str) -> dict[str, Any]:
    """Do what the policy says of these models, once for a cause, and return what was done, for the proof.

    Args:
        models: as `delays@3`.
        cause: what the job is remembered by, so that a repeated forgetting puts down no second one.
    """
    if not models or policy.policy is None:
        return {}
    if policy.policy == JUSTIFY:
        return {"policy": JUSTIFY, "reason": reason.strip() or policy.reason.strip()}
    due = due_at(policy)
    put = [
        _job(workspace, branch, models, f"forget:{cause}:{branch}"[:250], policy.policy, due)
        for branch in _branches(workspace, models)
    ]
    told: dict[str, Any] = {"policy": policy.policy, "jobs": [one for one, _ in put]}
    if policy.policy == SCHEDULE:
        told["due"] = min(at for _, at in put) if put else due
    return told


def _branches(workspace: Workspace, models: Sequence[str]) -> list[str]:
    """Return the branches that people work with and that have one of the models: main alone when it has all."""
    names = {model.rpartition("@")[0] or model for model in models}
    found = {}
    for ref in workspace.history.branches():
        if not ref.name.startswith(("ingest/", "retrain/")):
            paths = workspace.history.digests(ref.head, "models/")
            found[ref.name] = names & {path.partition("/")[2] for path in paths}
    if found.get("main") == names:
        return ["main"]
    return sorted(name for name, held in found.items() if held)


def _job(workspace: Workspace, branch: str, models: Sequence[str], key: str, policy: str, due: int) -> tuple[str, int]:
    spec = {"models": list(models), "due": due}
    with workspace.catalog.write() as conn:
        held = conn.execute(select(jobs.c.id, jobs.c.spec_json).where(jobs.c.dedupe_key == key)).first()
        if held is not None:
            return held.id, int(msgspec.json.decode(held.spec_json).get("due", due))
        number = new_id("job")
        conn.execute(
            insert(jobs).values(
                id=number,
                kind="retrain",
                branch=branch,
                spec_json=msgspec.json.encode(spec).decode(),
                reason=f"A subject was forgotten that {', '.join(models)} learned from",
                dedupe_key=key,
                status=WAITING if policy == RETRAIN else SCHEDULED,
                created_at=clock(),
            )
        )
    return number, due
