"""Running a plan here: step after step, only what changed, and told as it happens."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec

from bascule.catalog import actor
from bascule.errors import BasculeError, Busy, CheckFailed, NotFound
from bascule.history import Workspace
from bascule.project import cache
from bascule.project.decision import Decision, decide
from bascule.project.file import ProjectFile
from bascule.project.plan import make_plan
from bascule.project.receipt import Receipt
from bascule.project.step import Context, Progress, Step
from bascule.store.locking import FileLock, Locked
from bascule.tracking import Code, capture_code, recorded


class Watcher(Protocol):
    """Told what a run does; the command line draws it, a test collects it."""

    def begin(self, steps: Sequence[Step]) -> None:
        """The plan is made."""
        ...

    def start(self, step: Step, reason: str) -> Progress:
        """A step begins to work, because of `reason`."""
        ...

    def end(self, step: Step, receipt: Receipt, reason: str) -> None:
        """A step has ended; for a cached one `reason` says why there was nothing to do. None follows a failed one."""
        ...


class Unwatched:
    """Nobody looks: a run in a script or a notebook."""

    def begin(self, steps: Sequence[Step]) -> None:
        """See `Watcher`."""

    def start(self, step: Step, reason: str) -> Progress:
        """See `Watcher`."""
        return lambda message, done=0, total=None: None

    def end(self, step: Step, receipt: Receipt, reason: str) -> None:
        """See `Watcher`."""


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    run_id: str
    status: Literal["done", "cached"]
    receipts: tuple[Receipt, ...]
    duration_s: float

    def as_dict(self) -> dict[str, Any]:
        """The run as one JSON object."""
        steps = [msgspec.to_builtins(receipt) for receipt in self.receipts]
        return {"run_id": self.run_id, "status": self.status, "duration_s": self.duration_s, "steps": steps}


def run_project(
    project: ProjectFile,
    workspace: Workspace,
    branch: str,
    watcher: Watcher | None = None,
    *,
    only: str | None = None,
    force: str = "",
) -> Result:
    """Bring a branch up to date with its project: every step whose inputs changed runs, and no other.

    Each step is kept as soon as it has ended, so a run that was interrupted or killed continues where it was.

    Args:
        only: run just this step (its predecessors must be up to date); what orchestrators call.
        force: a reason to register a model in spite of its gates; empty for none.

    Raises:
        Busy: when another process is running this branch.
        CheckFailed: when data or a model is refused; what came before is kept.
    """
    begun, watcher = time.monotonic(), watcher or Unwatched()
    context = Context(project, workspace, branch, actor(), force=force)
    steps = make_plan(project)
    chosen = [step for step in steps if only in (None, step.name)]
    if not chosen:
        raise NotFound("step", only or "", [step.name for step in steps])
    with _alone(workspace, branch):
        code = capture_code(project.folder, workspace.store)
        watcher.begin(chosen)
        with recorded(
            workspace,
            name=project.project.name,
            kind="pipeline",
            branch=branch,
            commit=context.head.id,
            code=code,
        ) as run:
            if only:
                _recall(context, steps, only)
            receipts = [_run_step(step, context, code, run.id, watcher) for step in chosen]
            status: Literal["done", "cached"] = "cached" if all(r.status == "cached" for r in receipts) else "done"
            run.finish(status, result_commit=context.head.id)
    return Result(run.id, status, tuple(receipts), time.monotonic() - begun)


def _run_step(step: Step, context: Context, code: Code, parent: str, watcher: Watcher) -> Receipt:
    begun = time.monotonic()
    try:
        decision = decide(step, context)
    except BasculeError as error:
        watcher.end(step, _failed(step, error, parent, begun), "")
        raise
    if decision.action == "work" or decision.receipt is None:
        receipt = _work(step, context, decision, code, parent, watcher)
    else:
        receipt = decision.receipt
    context.receipts[step.name] = receipt
    watcher.end(step, receipt, decision.reason)
    return receipt


def _work(step: Step, context: Context, decision: Decision, code: Code, parent: str, watcher: Watcher) -> Receipt:
    begun = time.monotonic()
    key = decision.key or cache.key_of(step, context)
    progress = watcher.start(step, decision.reason)
    with recorded(
        context.workspace,
        name=step.name,
        kind="step",
        step=step.name,
        branch=context.branch,
        commit=context.head.id,
        parent=parent,
        code=code,
    ) as run:
        try:
            outcome = step.work(context, run, progress)
        except BasculeError as error:
            watcher.end(step, _failed(step, error, run.id, begun), decision.reason)
            raise
        for made in outcome.outputs:
            run.writes(made.uri.removeprefix("bascule:"), made.version, made.rows, made.bytes)
        run.metrics([(name, value, 0) for name, value in outcome.metrics.items()])
        receipt = Receipt(
            step=step.name,
            status="ran",
            code_version=key.terms["code"],
            outputs=outcome.outputs,
            checks=outcome.checks,
            metrics=dict(outcome.metrics),
            duration_s=round(time.monotonic() - begun, 3),
            run_id=run.id,
            summary=outcome.summary,
        )
        run.finish("done", result_commit=outcome.commit)
    # The key was taken before the work: were an input to change meanwhile, the step runs again next time.
    cache.keep(context.workspace, key, receipt)
    return receipt


def _failed(step: Step, error: BasculeError, run: str, begun: float) -> Receipt:
    return Receipt(
        step=step.name,
        status="failed",
        code_version=cache.code_version(step.code),
        checks=tuple(error.details) if isinstance(error, CheckFailed) else (),
        duration_s=round(time.monotonic() - begun, 3),
        run_id=run,
        summary=error.message.partition("\n")[0],
    )


def _recall(context: Context, steps: Sequence[Step], only: str) -> None:
    """Put the receipts of the steps before `only` into the context, from the cache."""
    wanted = {only}
    for step in reversed(steps):
        if step.name in wanted:
            wanted.update(step.after)
    for step in steps:
        if step.name in wanted and step.name != only:
            decision = decide(step, context)
            if decision.receipt is None or decision.action == "work":
                raise Busy(
                    f"{only} reads what {step.name} makes, and {step.name} is not up to date on {context.branch!r}: "
                    f"{decision.reason}.",
                    hint=f"Run it first: bascule step run {step.name}",
                )
            context.receipts[step.name] = decision.receipt


@contextmanager
def _alone(workspace: Workspace, branch: str) -> Iterator[None]:
    """Keep a second run of the same branch out, also from other processes; a killed run holds nothing."""
    name = branch.replace("/", "%2F")
    try:
        with FileLock(workspace.temporary_folder / f"run-{name}.lock", note=f"{os.getpid()}"):
            yield
    except Locked as error:
        raise Busy(
            f"Another run is working on branch {branch!r} (process {error.note or 'unknown'}).",
            hint="Wait for it to end, or work on another branch.",
        ) from None
