"""What stands against taking a version of a model away: what serves it, tries it, waits for it, or points to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from bascule.delivery.traffic import Deployment, in_service, needed
from bascule.errors import InputError
from bascule.history import Workspace
from bascule.history.repository import MAIN

PREFIX = "deployments/"


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """One use of a version.

    Attributes:
        branch: where.
        what: who uses it and how, as the predicate of a sentence, such as `deployments/delays on main serves it`.
        next: what to do about it.
    """

    version: int
    branch: str
    what: str
    next: str

    def __str__(self) -> str:
        return f"{self.what}; {self.next}"


def uses(ws: Workspace, model: str, version: int) -> list[Use]:
    """Return which deployments use a version: on any branch, as each branch is a preview that answers."""
    return [
        Use(version=version, branch=ref.name, what=f"{PREFIX}{name} on {ref.name} {how}", next=then)
        for ref in ws.history.branches()
        for path, one in ws.history.entries(ref.head, PREFIX)
        if one["model"] == model
        for name in (path.removeprefix(PREFIX),)
        for how, then in _of_deployment(one, name, ref.name, version)
    ]


def aliased(branch: str, model: Mapping[str, Any], version: int) -> list[Use]:
    """Return the aliases of a model's object on a branch that point to a version."""
    return [
        Use(
            version=version,
            branch=branch,
            what=f"the alias {alias} on {branch} points to it",
            next=f"point it elsewhere, or remove it: bascule model alias {model['name']} {alias} VERSION | --remove",
        )
        for alias, number in sorted(model["aliases"].items())
        if number == version
    ]


def refuse_used(name: str, found: list[Use]) -> None:
    """Refuse to take away what is used.

    Raises:
        InputError: naming every use, and what to do about each.
    """
    if not found:
        return
    lines = "".join(f"\n  {name}@{one.version}: {one}" for one in found)
    count = len({one.version for one in found})
    told = f"{name}@{found[0].version} is" if count == 1 else f"{count} versions of {name} are"
    raise InputError(f"{told} in use and stays:{lines}", hint="End that first, then repeat.")


def _of_deployment(one: Deployment, name: str, branch: str, version: int) -> Iterator[tuple[str, str]]:
    """Yield how a deployment uses a version, and what ends that."""
    where = "" if branch == MAIN else f" --branch {branch}"
    other = f"deploy another one: bascule deploy {name} VERSION{where}"
    rollout = one.get("rollout") or {}
    share = next((entry["weight"] for entry in one.get("traffic") or () if entry["version"] == version), None)
    if rollout and version in needed(one) and version != rollout.get("stable"):
        kind = rollout.get("strategy", "canary").replace("_", " ")
        at = f" with {share} % of its traffic" if share else ""
        yield f"tries it by {kind}{at}", f"end that: bascule rollback {name}{where}"
    elif version in needed(one):
        yield (f"serves it with {share} % of its traffic" if share else "needs it for its rollout"), other
    if one.get("waits") == version:
        yield "waits to bring it into service, as soon as its gates and approvals let it", other
    trail = one.get("trail") or []
    if in_service(one) and not rollout and trail and version in {e["version"] for e in trail[-1]["traffic"]}:
        yield f"goes back to it by bascule rollback {name}", f"{other}, which is then gone back from to what serves now"
