"""What a rollback would do, said before it is done: traffic, rules that go back with it, and all else of a release."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from bascule.delivery import Lately, rolled_back_lately
from bascule.delivery.merging import RULES, part
from bascule.delivery.traffic import rolled_back, shown
from bascule.history.commits import Object
from bascule.project.place import Place
from bascule.project.releasing import DEPLOYMENTS, counted_kinds, going_back
from bascule.project.shipping import release_of, serving_branch

MOST_PATHS = 12
# What people call the parts of a deployment that are no traffic.
PARTS = {name: name for name in (*RULES, "model")} | {"rules": "guardrails and steps"}


@dataclass(frozen=True)
class Turned:
    """What becomes of a deployment.

    Attributes:
        before, after: its traffic; nothing is out of service.
        rules: what else of it goes back.
    """

    before: list[dict[str, int]]
    after: list[dict[str, int]]
    rules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Foreseen:
    """What a rollback would do.

    Attributes:
        release: the whole branch goes back.
        paths: what goes back, sorted; of a deployment that alone.
        state: the deployment's digest, or the branch's head: `rollback` with it as `expect` does this or nothing.
        lately: of a deployment, the rollback that was done a moment ago: this one would go further back.
    """

    name: str
    branch: str
    release: bool
    paths: tuple[str, ...]
    deployments: dict[str, Turned]
    state: str | None = None
    lately: Lately | None = None

    @property
    def ends(self) -> list[str]:
        """The deployments that would be out of service."""
        return [name for name, one in self.deployments.items() if one.before and not one.after]

    def as_dict(self) -> dict[str, Any]:
        """All of it as one JSON object."""
        return asdict(self) | {"ends": self.ends}

    def rolled_back(self) -> str:
        """Return who rolled it back a moment ago, as a person reads it; empty when nobody did."""
        if (done := self.lately) is None:
            return ""
        return f"{done.by} rolled it back {done.seconds:.0f} s ago: {shown(done.before)} then, {shown(done.after)} now"

    def text(self) -> str:
        """Return it as a person reads it."""
        if not self.paths:
            return f"{self.branch} is as it was at {self.name} already: nothing goes back."
        lines = []
        if self.release:
            lines.append(f"Back to {self.name} on {self.branch} go {counted_kinds(self.paths)}:")
            lines += [f"  {path}" for path in self.paths[:MOST_PATHS]]
            if len(self.paths) > MOST_PATHS:
                lines.append(f"  and {len(self.paths) - MOST_PATHS} more: bascule diff {self.branch} {self.name}")
        for name, one in self.deployments.items():
            lines.append(f"{name} on {self.branch}: {shown(one.before)} now, {shown(one.after)} then")
            if self.lately is not None:
                lines.append(f"  {self.rolled_back()}")
            if one.rules:
                lines.append(f"  later rules go back too: {', '.join(one.rules)}")
        return "\n".join(lines)


def foresee_rollback(place: Place, name: str) -> Foreseen:
    """Return what a rollback of this name would do; it changes nothing.

    Args:
        name: as `shipping.roll_back`.

    Raises:
        NotFound, InputError: as `shipping.roll_back`.
    """
    history = place.workspace.history
    branch = release_of(place, name)
    if branch is None:
        deployment = name.removeprefix("deployments/")
        on, path = serving_branch(place, deployment), DEPLOYMENTS + deployment
        head = history.resolve(on)
        before, digest = history.get(head, path), history.digest(head, path)
        after = rolled_back(before)
        turned = {deployment: Turned(before["traffic"], after["traffic"])}
        lately = rolled_back_lately(place.workspace, on, deployment)
        return Foreseen(name, on, False, (path,), turned, digest, lately)
    back = going_back(place.workspace, name, branch)
    turned = {
        path.removeprefix(DEPLOYMENTS): _turned(history.read(back.head, path), back.landing[path])
        for path in back.paths
        if path in back.landing
    }
    return Foreseen(name, branch, True, tuple(back.paths), turned, back.head.id)


def _turned(before: Object | None, after: Object | None) -> Turned:
    now, then = (before or {}).get("traffic", []), (after or {}).get("traffic", [])
    if not before or not after:
        return Turned(now, then)
    was, will = (part(one, tuple(PARTS)) for one in (before, after))
    return Turned(now, then, tuple(word for key, word in PARTS.items() if was[key] != will[key]))
