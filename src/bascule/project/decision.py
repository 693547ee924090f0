"""Whether a step has work to do, and why: one place for the runner, `plan` and `why`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec

from bascule.project import cache
from bascule.project.receipt import Receipt
from bascule.project.step import Context, Step


@dataclass(frozen=True)
class Decision:
    """What is to be done about a step.

    Attributes:
        action: `rest` (nothing to do) or `work`.
        reason: why, in words.
        receipt: for `rest`, what the step would say.
        key: the cache key, where one was needed.
        differences: for `work`, the terms that differ from the last run.
    """

    action: Literal["rest", "work"]
    reason: str
    receipt: Receipt | None = None
    key: cache.Key | None = None
    differences: tuple[cache.Difference, ...] = ()


def decide(step: Step, context: Context) -> Decision:
    """Return what is to be done about a step; the receipts of the steps before it must be in the context."""
    idle = step.idle(context) if step.idle is not None else None
    if idle is not None:
        version = cache.code_version(step.code)
        receipt = Receipt(
            step=step.name, status="cached", code_version=version, outputs=idle.outputs, summary=idle.summary
        )
        return Decision("rest", idle.summary, receipt)
    key = cache.key_of(step, context)
    found = cache.find(context.workspace, key)
    if found is not None and step.idle is None:
        cached = msgspec.structs.replace(found, status="cached", duration_s=0.0)
        if step.settled(context, found):
            return Decision("rest", "nothing that it reads has changed", cached, key)
    differences = cache.differences(context.workspace, key)
    return Decision("work", _explain(differences, context.branch), None, key, tuple(differences or ()))


def _explain(differences: list[cache.Difference] | None, branch: str) -> str:
    if differences is None:
        return "it never ran"
    if not differences:
        return f"branch {branch!r} does not have what its last run made"
    return in_words(differences)


def in_words(differences: Iterable[cache.Difference]) -> str:
    """Return the terms that differ in one line."""
    return "; ".join(_in_words(difference) for difference in differences)


def _in_words(difference: cache.Difference) -> str:
    if difference.before is None:
        return f"{difference.term} is new"
    if difference.after is None:
        return f"{difference.term} is gone"
    short = max(len(difference.before), len(difference.after)) <= 40
    return f"{difference.term} changed" + (f" from {difference.before} to {difference.after}" if short else "")
