"""Step `optimize`: each new version is answered by the fastest engine that answers as it does (`[model] optimize`)."""

from __future__ import annotations

from sqlalchemy import select

from bascule.catalog import schema
from bascule.project.place import Place
from bascule.project.receipt import Output
from bascule.project.step import Context, Outcome, Progress, Terms
from bascule.project.steps.evaluating import model_name, production
from bascule.registry import ModelVersion
from bascule.registry.runtimes import engines_of
from bascule.tracking import Run

NAME = "optimize"
SECONDS = 5.0


def inputs(context: Context) -> Terms:
    """The version that answers on the branch."""
    found = production(context, context.head, model_name(context))
    return {"input:model": found.name() if found else "none"}


def idle(context: Context) -> Outcome | None:
    """Tell what answers for the branch's production version, when that was looked for or chosen already; or None."""
    found = production(context, context.head, model_name(context))
    if found is None:
        return Outcome(summary="no version is in production on this branch")
    if not found.runtime and not _looked(context, found):
        return None
    told = engines_of(found.runtime)
    return Outcome((_output(context, found),), summary=f"{found.name()} is answered by {told}")


def work(context: Context, run: Run, progress: Progress) -> Outcome:
    """Find the engines of the version that was registered, and let the fastest answer from now on."""
    from bascule.project.optimizing import optimize

    found = production(context, context.head, model_name(context))
    assert found is not None
    run.reads(f"models/{found.model}", context.digest(f"models/{found.model}") or "")
    place = Place(context.project.folder, str(context.workspace.folder), context.branch)
    made = optimize(place, found.model, found.version, seconds=SECONDS, memory=False, tell=progress)
    told = made.chosen.names() if made.commit and made.chosen else "its own library: nothing is faster"
    return Outcome((_output(context, found),), summary=f"{found.name()} is answered by {told}", commit=context.head.id)


def _output(context: Context, found: ModelVersion) -> Output:
    path = f"models/{found.model}"
    return Output(name=found.model, version=context.digest(path) or "", uri=f"bascule:{path}")


def _looked(context: Context, found: ModelVersion) -> bool:
    """Tell whether its engines were looked for before: then it has none because none is faster, or one was undone."""
    held = schema.optimizations
    asked = select(held.c.id).where(held.c.model == found.model, held.c.version == found.version).limit(1)
    with context.workspace.catalog.read() as conn:
        return conn.execute(asked).first() is not None
