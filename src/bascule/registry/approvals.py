"""What people decided about a version: approved or rejected, each with a reason, in the record and in the audit log."""

from __future__ import annotations

from typing import Literal

import msgspec
from sqlalchemy import insert, select

from bascule.catalog import actor, audit, new_id, now
from bascule.catalog.schema import approvals
from bascule.errors import InputError
from bascule.history import Workspace
from bascule.registry.versions import ModelVersion

Decision = Literal["approved", "rejected"]
LONGEST = 2000


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """One decision. `at` in microseconds since 1970 UTC."""

    id: str
    subject: str
    decision: str
    actor: str
    reason: str
    at: int


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a version stands with those who decided: the last word of each person counts.

    Attributes:
        approved: who approves it. Whoever registered it is not among them: nobody approves their own.
        rejected: who rejects it, and why.
    """

    approved: tuple[str, ...]
    rejected: dict[str, str]

    def missing(self, needed: int) -> str:
        """Return what stands in the way when so many approvals are needed; empty when nothing does."""
        if self.rejected:
            return "; ".join(f"{who} rejected it: {why}" for who, why in self.rejected.items())
        lacking = needed - len(self.approved)
        return f"it has {len(self.approved)} of {needed} approvals" if lacking > 0 else ""


def way_out(version: ModelVersion, found: Standing) -> str:
    """Return the hint for a version that lacks somebody's word: whose it is, and how they give it."""
    who = " and ".join(found.rejected) if found.rejected else f"Somebody other than {version.created_by}"
    verb = "changes that" if len(found.rejected) == 1 else "change that" if found.rejected else "decides"
    return f'{who} {verb} with: bascule model approve {version.model} {version.version} --reason "why"'


def subject_of(version: ModelVersion) -> str:
    """Return the name under which records know a version: `models/delays@3`."""
    return f"models/{version.model}@{version.version}"


def checked_reason(reason: str, what: str) -> str:
    """Return a reason without the blanks around it.

    Raises:
        InputError: there is none, or it is a book.
    """
    text = reason.strip()
    if not text or len(text) > LONGEST:
        found = "none was given" if not text else f"there are {len(text):,} characters, and at most {LONGEST:,} fit"
        raise InputError(f"{what} needs a reason; {found}.", hint='Say why, such as: --reason "looked at the slices".')
    return text


def decide(ws: Workspace, version: ModelVersion, decision: Decision, reason: str, who: str | None = None) -> Decided:
    """Record a decision about a version. It does not change the version; whoever decides again overrules themselves.

    Raises:
        InputError: there is no reason.
    """
    text = checked_reason(reason, "A decision about a version")
    made = Decided(
        id=new_id("apr"), subject=subject_of(version), decision=decision, actor=who or actor(), reason=text, at=now()
    )
    with ws.catalog.write() as conn:
        conn.execute(insert(approvals).values(**msgspec.structs.asdict(made)))
        action = "approve" if decision == "approved" else "reject"
        detail = {"approval": made.id, "reason": text, "artifact": version.artifact}
        audit.append(conn, actor=made.actor, action=action, subject=made.subject, detail=detail)
    return made


def decisions(ws: Workspace, version: ModelVersion) -> list[Decided]:
    """Return all that was decided about a version, the first first; also that it was forced past its gates."""
    a = approvals.c
    query = select(approvals).where(a.subject == subject_of(version)).order_by(a.at, a.id)
    with ws.catalog.read() as conn:
        return [Decided(**row) for row in conn.execute(query).mappings()]


def standing(ws: Workspace, version: ModelVersion) -> Standing:
    """Return how a version stands."""
    last = {one.actor: one for one in decisions(ws, version) if one.decision in ("approved", "rejected")}
    return Standing(
        approved=tuple(who for who, one in last.items() if one.decision == "approved" and who != version.created_by),
        rejected={who: one.reason for who, one in last.items() if one.decision == "rejected"},
    )
