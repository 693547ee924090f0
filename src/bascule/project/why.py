"""Looking ahead: which steps would run now, and which term of a key makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bascule.catalog import actor
from bascule.history import Workspace
from bascule.project import cache
from bascule.project.cache import Difference
from bascule.project.decision import decide, in_words
from bascule.project.file import ProjectFile
from bascule.project.plan import make_plan
from bascule.project.step import Context, Step
from bascule.project.steps import defining

MADE = "input:"  # how the terms begin that say what other steps made


@dataclass(frozen=True)
class Outlook:
    """What a step would do."""

    step: str
    after: tuple[str, ...]
    runs: bool
    reason: str
    differences: tuple[Difference, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The outlook as one JSON object."""
        differs = [{"term": d.term, "before": d.before, "after": d.after} for d in self.differences]
        named = {"step": self.step, "after": list(self.after), "runs": self.runs, "reason": self.reason}
        return {**named, "differs": differs}


def outlook(project: ProjectFile, workspace: Workspace, branch: str) -> list[Outlook]:
    """Return for every step of the plan whether it would run, and why. Nothing is run or changed.

    What `define` would make is known without running it, so the steps after it are held to that, and a check makes
    nothing that is read. What any other step would make is not known; after it, a step's own terms still are.
    """
    context = Context(project, workspace, branch, actor())
    found: list[Outlook] = []
    causes: dict[str, dict[str, Outlook]] = {}  # of every step that would run: the steps that begin it
    for step in make_plan(project):
        begun = {name: cause for before in step.after for name, cause in causes.get(before, {}).items()}
        own = _own(step, context) if begun else ()
        if begun:
            row = _after(step, begun, own)
        else:
            decision = decide(step, context)
            if decision.receipt is not None:
                context.receipts[step.name] = decision.receipt
            row = Outlook(step.name, step.after, decision.action == "work", decision.reason, decision.differences)
        if row.runs and step.name == defining.NAME:
            context = replace(context, foreseen=defining.foreseen(context))
        elif row.runs:
            if not step.only_stops:
                itself = replace(row, reason=in_words(own), differences=own) if begun else row
                causes[step.name] = {**begun, step.name: itself} if own or not begun else begun
            _recall(step, context)
        found.append(row)
    return found


def _after(step: Step, begun: Mapping[str, Outlook], own: tuple[Difference, ...]) -> Outlook:
    """Return the outlook of a step that comes after others that would run, with what differs in itself too."""
    told = "; ".join(f"{name}: {cause.reason}" for name, cause in begun.items())
    told = f"what it reads may change ({told})"
    differing = tuple(difference for cause in begun.values() for difference in cause.differences)
    reason = f"{in_words(own)}; {told}" if own else told
    return Outlook(step.name, step.after, True, reason, (*own, *(one for one in differing if one not in own)))


def _own(step: Step, context: Context) -> tuple[Difference, ...]:
    """Return the terms of a step that differ whatever the steps before it will make: its settings and its code."""
    if any(name not in context.receipts for name in step.after if name != defining.NAME):
        return ()  # what came before never ran, and so neither did this
    differing = cache.differences(context.workspace, cache.key_of(step, context)) or ()
    return tuple(one for one in differing if not one.term.startswith(MADE))


def _recall(step: Step, context: Context) -> None:
    """Let the steps after this one, which would run, look at what its last run made: their own terms need it."""
    receipt = cache.last(context.workspace, step.name)
    if receipt is not None:
        context.receipts[step.name] = receipt
