"""Which versions a deployment has in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def wanted(value: Mapping[str, Any]) -> dict[int, bool]:
    """Return the versions to have in memory: True for those that must answer, False for what served before them."""
    wanted = {int(share["version"]): True for share in value["traffic"]}
    rollout = value.get("rollout")
    if rollout:
        compared = (rollout["stable"], rollout["canary"], *rollout.get("others", ()))
        wanted |= {int(version): True for version in compared}
    for entry in (value.get("trail") or [])[-1:]:
        for share in entry["traffic"]:
            wanted.setdefault(int(share["version"]), False)
    return wanted
