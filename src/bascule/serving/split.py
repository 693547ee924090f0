"""Who gets which version: the same unit gets the same one, as long as its share of the traffic does not shrink."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

BUCKETS = 10_000
PER_WEIGHT = BUCKETS // 100
MOST_PLACE = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Arm:
    """A version that answers, and how it came to.

    Attributes:
        kind: `stable`, `canary`, or `pinned` when the caller named the version.
        probability: the chance of this arm; None when it was pinned.
    """

    version: int
    kind: Literal["stable", "canary", "pinned"]
    probability: float | None


class Split:
    """The traffic of a deployment: units hashed into 10,000 buckets, arms over ranges of buckets.

    The canary holds the first buckets, so a unit that saw it keeps seeing it when its weight grows. Each rollout has a
    salt of its own, so that nobody is always the first to try.

    Args:
        deployment: the object, as the history holds it.
    """

    def __init__(self, deployment: Mapping[str, Any]) -> None:
        rollout = deployment.get("rollout")
        canary = rollout["canary"] if rollout else None
        salt = rollout["id"] if rollout else deployment["name"]
        self._salt = blake2b(salt.encode(), digest_size=16).digest()
        shares = sorted(deployment["traffic"], key=lambda share: share["version"] != canary)
        self._ranges: list[tuple[int, Arm]] = []
        upper = 0
        for share in shares:
            upper += share["weight"] * PER_WEIGHT
            kind: Literal["stable", "canary"] = "canary" if share["version"] == canary else "stable"
            self._ranges.append((upper, Arm(share["version"], kind, share["weight"] / 100)))
        live = [arm for _, arm in self._ranges if arm.probability]
        self.only = live[0] if len(live) == 1 else None

    def arm(self, unit: str) -> Arm:
        """Return the arm of a unit: a request's id, or what it is about."""
        return self.only or self.arm_at(self.place(unit))

    def arm_at(self, place: int) -> Arm:
        """Return the arm of the unit that has this place."""
        bucket = place % BUCKETS
        for upper, arm in self._ranges:
            if bucket < upper:
                return arm
        return self._ranges[-1][1]

    def place(self, unit: str) -> int:
        """Return where a unit falls, 0 to 2^63 - 1: what decides its arm, and tells it from others in the log."""
        digest = blake2b(unit.encode("utf-8", "surrogatepass"), digest_size=8, salt=self._salt).digest()
        return int.from_bytes(digest, "little") & MOST_PLACE

    def bucket(self, unit: str) -> int:
        """Return the bucket of a unit, 0 to 9,999."""
        return self.place(unit) % BUCKETS
