"""How much of the traffic a bandit gives the new version: Thompson sampling, with a floor for either side.

A version is played as often as it is likely to be the better one. The weights determine what answers, so they are
commits of the history; they are looked at again when the evidence has grown by a quarter, so there are few of them
(`docs/decisions/0024-bandit-weights.md`).
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from bascule.delivery.means import chance_of_best
from bascule.delivery.strategies import Plan
from bascule.delivery.values import Values

# Units of each arm before the first look: earlier, chance alone would choose.
LEAST = 30
# By how much the evidence has to have grown since the last weights, and by how many points these have to differ.
GROWTH = 1.25
LEAST_CHANGE = 3


def weighed(values: Values, plan: Plan, rollout: str) -> int:
    """Return the new version's percentage.

    Args:
        rollout: its id: the same evidence of the same rollout gives the same weights in every process.
    """
    ours = int(values.canary.sum())
    if plan.goal is None or min(ours, len(values.value) - ours) < LEAST:
        return plan.share
    seed = int.from_bytes(blake2b(rollout.encode(), digest_size=8).digest(), "little")
    chance = chance_of_best(values.value, values.canary, higher=plan.goal.better == "higher", seed=seed)
    return min(max(round(100 * chance), plan.floor), 100 - plan.floor)


def is_due(found: tuple[int, int], rollout: Mapping[str, Any]) -> bool:
    """Tell whether new weights are worth a commit.

    Args:
        found: the percentage, and the units that it rests on.
    """
    share, seen = found
    return bool(seen >= GROWTH * rollout.get("seen", 0) and abs(share - rollout["steps"][0]) >= LEAST_CHANGE)
