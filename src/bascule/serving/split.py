"""Who gets which version: the same unit gets the same one, as long as its share of the traffic does not shrink."""

from __future__ import annotations

import math
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
    salt of its own, so that nobody is always the first to try. Where a rollout began with several new versions each
    unit has a number of its own for each version, and goes where it is largest for the weight (rendezvous hashing): a
    version that gets more takes units from the others, and none moves between these.

    Args:
        deployment: the object, as the history holds it.
    """

    def __init__(self, deployment: Mapping[str, Any]) -> None:
        rollout = deployment.get("rollout")
        canaries = {rollout["canary"], *rollout.get("others", ())} if rollout else set()
        self._scored = rollout is not None and rollout.get("arms", 1) > 1
        salt = rollout["id"] if rollout else deployment["name"]
        self._salt = blake2b(salt.encode(), digest_size=16).digest()
        shares = sorted(deployment["traffic"], key=lambda share: share["version"] not in canaries)
        self._ranges: list[tuple[int, Arm]] = []
        upper = 0
        for share in shares:
            upper += share["weight"] * PER_WEIGHT
            kind: Literal["stable", "canary"] = "canary" if share["version"] in canaries else "stable"
            self._ranges.append((upper, Arm(share["version"], kind, share["weight"] / 100)))
        live = [arm for _, arm in self._ranges if arm.probability]
        self.only = live[0] if len(live) == 1 else None

    def arm(self, unit: str) -> Arm:
        """Return the arm of a unit: a request's id, or what it is about."""
        return self.only or self.arm_at(self.place(unit))

    def arm_at(self, place: int) -> Arm:
        """Return the arm of the unit that has this place."""
        if self._scored:
            return min((arm for _, arm in self._ranges if arm.probability), key=lambda arm: _lot(place, arm))
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


def _lot(place: int, arm: Arm) -> float:
    """Return a number that is exponential with the rate of the arm's chance: the least of several falls by chance."""
    assert arm.probability is not None
    digest = blake2b(f"{place} {arm.version}".encode(), digest_size=8).digest()
    return -math.log((int.from_bytes(digest, "little") + 1) / 2**64) / arm.probability
