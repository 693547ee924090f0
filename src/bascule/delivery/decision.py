"""What the controller of a rollout decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bascule.delivery.finding import Finding


@dataclass(frozen=True, slots=True)
class Decision:
    """What the controller decided.

    Attributes:
        action: promote, advance, reweigh, drop, hold or rollback; idle when no rollout is under way.
        reason: why, as a sentence.
        findings: what each rule found; of several new versions each has its `version`.
        rows: canary requests answered in the present step; of several versions those of the one that had the fewest.
        commit: the commit that carried it out, if any.
        share: the percentage that a bandit gives the new version now, and `seen` the units that it rests on.
        shares: the same of all versions, where there are several new ones.
        versions: of several new ones those that are dropped, or the one that is promoted.
    """

    action: Literal["promote", "advance", "reweigh", "drop", "hold", "rollback", "idle"]
    reason: str
    findings: tuple[Finding, ...] = ()
    rows: int = 0
    commit: str | None = None
    share: int | None = None
    seen: int = 0
    shares: Mapping[int, int] | None = None
    versions: tuple[int, ...] = ()

    @property
    def evidence(self) -> dict[str, Any]:
        """What the decision rests on, JSON-able."""
        return {"decision": self.action, "rows": self.rows, "findings": [f.as_dict() for f in self.findings]}
