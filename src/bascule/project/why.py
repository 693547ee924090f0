"""Looking ahead: which steps would run now, and which term of a key makes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bascule.catalog import actor
from bascule.history import Workspace
from bascule.project.cache import Difference
from bascule.project.decision import decide
from bascule.project.file import ProjectFile
from bascule.project.plan import make_plan
from bascule.project.step import Context
from bascule.project.steps import defining


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
    nothing that is read. What any other step would make is not known.
    """
    context = Context(project, workspace, branch, actor())
    found: list[Outlook] = []
    causes: dict[str, dict[str, Outlook]] = {}  # of every step that would run: the steps that begin it
    for step in make_plan(project):
        begun: dict[str, Outlook] = {}
        if blocked := [name for name in step.after if name in causes]:
            begun = {name: cause for before in blocked for name, cause in causes[before].items()}
            told = "; ".join(f"{name}: {cause.reason}" for name, cause in begun.items())
            differing = tuple(difference for cause in begun.values() for difference in cause.differences)
            row = Outlook(step.name, step.after, True, f"what it reads may change ({told})", differing)
        else:
            decision = decide(step, context)
            if decision.receipt is not None:
                context.receipts[step.name] = decision.receipt
            row = Outlook(step.name, step.after, decision.action == "work", decision.reason, decision.differences)
        if row.runs and step.name == defining.NAME:
            context = replace(context, foreseen=defining.foreseen(context))
        elif row.runs and not step.only_stops:
            causes[step.name] = begun if blocked else {step.name: row}
        found.append(row)
    return found
