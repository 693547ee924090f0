"""How much of the traffic a bandit gives the new version: Thompson sampling, with a floor for either side.

A version is played as often as it is likely to be the better one. The weights determine what answers, so they are
commits of the history; they are looked at again when the evidence has grown by a quarter, so there are few of them
(`docs/decisions/0024-bandit-weights.md`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from bascule.delivery.means import chance_of_best, chances_of_best
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
    chance = chance_of_best(values.value, values.canary, higher=plan.goal.better == "higher", seed=_seed(rollout))
    return min(max(round(100 * chance), plan.floor), 100 - plan.floor)


def weighed_apart(held: Mapping[int, Values], plan: Plan, rollout: Mapping[str, Any]) -> dict[int, int] | None:
    """Return the percentages of stable and of several new versions; None before each has enough units.

    Args:
        held: the values of each new version beside stable's.
    """
    arms = {int(rollout["stable"]): next(iter(held.values())).value[~next(iter(held.values())).canary]}
    arms |= {version: values.value[values.canary] for version, values in held.items()}
    if plan.goal is None or min(map(len, arms.values())) < LEAST:
        return None
    higher = plan.goal.better == "higher"
    chances = chances_of_best(list(arms.values()), higher=higher, seed=_seed(str(rollout["id"])))
    return dict(zip(arms, whole_shares(chances, plan.floor), strict=True))


def whole_shares(chances: Sequence[float], floor: int) -> list[int]:
    """Return whole percentages that sum to 100 and are near chances, none below the floor (or an equal share)."""
    least = min(floor, 100 // len(chances))
    exact = [chance * (100 - least * len(chances)) for chance in chances]
    found = [least + int(one) for one in exact]
    by_rest = sorted(range(len(exact)), key=lambda place: int(exact[place]) - exact[place])
    for place in by_rest[: 100 - sum(found)]:
        found[place] += 1
    return found


def are_due(shares: Mapping[int, int], seen: int, deployment: Mapping[str, Any]) -> bool:
    """Tell whether new weights of several versions are worth a commit."""
    now = {entry["version"]: entry["weight"] for entry in deployment["traffic"]}
    moved = max(abs(share - now.get(version, 0)) for version, share in shares.items())
    return bool(seen >= GROWTH * deployment["rollout"].get("seen", 0) and moved >= LEAST_CHANGE)


def _seed(rollout: str) -> int:
    return int.from_bytes(blake2b(rollout.encode(), digest_size=8).digest(), "little")


def is_due(found: tuple[int, int], rollout: Mapping[str, Any]) -> bool:
    """Tell whether new weights are worth a commit.

    Args:
        found: the percentage, and the units that it rests on.
    """
    share, seen = found
    return bool(seen >= GROWTH * rollout.get("seen", 0) and abs(share - rollout["steps"][0]) >= LEAST_CHANGE)
