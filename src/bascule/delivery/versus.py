"""The versions that a rollout holds against the stable one: one, or several in an A/B test or a bandit.

Of several each is compared with stable alone: among the units that either of the two answered, the chance of the new
one is its share of both. With `k` of them each is judged at `alpha / k`, so that all promises hold for all together,
whatever depends on what (Bonferroni; for e-values it is to divide each by `k`: Vovk & Wang, E-values: Calibration,
combination and applications, Annals of Statistics 2021, arXiv 1912.06116).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bascule.errors import InputError

Rollout = Mapping[str, Any]
MOST = 9
# The share of the new version that a plan has when nothing is said: of several, all arms get the same instead.
USUAL_SHARE = 50


def challengers(rollout: Rollout) -> list[int]:
    """Return the versions that are still compared with stable."""
    return [int(rollout["canary"]), *map(int, rollout.get("others", ()))]


def several(rollout: Rollout) -> bool:
    """Tell whether a rollout began with more than one new version."""
    return int(rollout.get("arms", 1)) > 1


def against(deployment: Mapping[str, Any], version: int) -> dict[str, Any]:
    """Return a deployment as if one of its new versions were the only one."""
    return {**deployment, "rollout": {**deployment["rollout"], "canary": version, "others": []}}


def predictions_of(rollout: Rollout) -> str:
    """Return the relation that holds what the new version and stable answered, as SQL.

    Of several its `probability` is that of the two alone, revision by revision.
    """
    if not several(rollout):
        return "predictions"
    mine, stable = int(rollout["canary"]), int(rollout["stable"])
    parts = []
    for revision, weights in rollout["weights"].items():
        own, rest = int(weights.get(str(mine), 0)), int(weights.get(str(stable), 0))
        share = own / (own + rest) if own + rest else 0.0
        parts.append(f"when {int(revision)} then if(version = {mine}, {share!r}, {1.0 - share!r})")
    chance = f"case revision {' '.join(parts)} end"
    return f"(select * replace ({chance} as probability) from predictions where version in ({mine}, {stable}))"


def even_shares(stable: int, versions: Sequence[int], share: int = USUAL_SHARE) -> dict[int, int]:
    """Return the percentages that several new versions begin with, and stable with what is left.

    Args:
        share: of each new version; the usual one gives all arms the same.

    Raises:
        InputError: nothing would be left for stable, a version is named twice, or there are more than `MOST`.
    """
    if len({stable, *versions}) != len(versions) + 1:
        named = ", ".join(map(str, versions))
        raise InputError(f"Versions {named} against {stable}: each is named once, and the one that serves is not.")
    if len(versions) > MOST:
        raise InputError(f"{len(versions)} versions cannot be compared at once; {MOST} is the most.")
    each = 100 // (len(versions) + 1) if share == USUAL_SHARE else share
    if each * len(versions) > 99:
        raise InputError(
            f"{len(versions)} versions with {each} % each leave nothing for version {stable}.",
            hint="Give each a smaller share, or none: then all get the same.",
        )
    return {stable: 100 - each * len(versions)} | dict.fromkeys(versions, each)
