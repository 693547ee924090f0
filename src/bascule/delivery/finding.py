"""What one rule of a rollout found."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bascule.delivery.guardrails import Guardrails

State = Literal["harm", "fine", "undecided"]
# The largest logarithm whose exponential is a finite number.
_LARGEST = 700.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule found.

    Attributes:
        rule: split, errors, latency, tail, quality, disagreement, goal, or the name of a measure.
        state: `harm` rolls back; `fine` lets the rollout go on; `undecided` holds it.
        reason: the finding as a sentence.
        e_value: the evidence of harm; `threshold` is where it rolls back.
        detail: counts, bounds and the path of the evidence, JSON-able, to be drawn.
    """

    rule: str
    state: State
    reason: str
    e_value: float = 1.0
    threshold: float = math.inf
    detail: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The finding as one JSON object."""
        named = {"rule": self.rule, "state": self.state, "reason": self.reason}
        return named | {"e_value": self.e_value, "threshold": self.threshold, **self.detail}


def judge(rule: str, log_e: float, rules: Guardrails, detail: Mapping[str, Any]) -> Callable[[State, str], Finding]:
    """Return what makes a finding of a state and a reason."""
    e_value = math.exp(min(log_e, _LARGEST))
    return lambda state, reason: Finding(rule, state, reason, e_value, rules.threshold, detail)


def shown(log_e: float) -> str:
    """Evidence as a person reads it."""
    return f"{math.exp(log_e):,.0f}" if log_e < 14 else f"10^{log_e / math.log(10):.0f}"
