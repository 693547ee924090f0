"""Which run is meant, and who does it again: a run's id, or a model with a version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import select

from bascule.catalog.schema import runs
from bascule.errors import InputError, NotFound
from bascule.history import Workspace
from bascule.naming import PRODUCTION
from bascule.project.reproducing import script, training
from bascule.project.reproducing.data import CHOICES as DATA
from bascule.project.reproducing.environment import CHOICES as ENVIRONMENTS
from bascule.project.reproducing.recorded import REPRODUCES, recall
from bascule.project.reproducing.result import Reproduction
from bascule.project.step import Progress
from bascule.registry import get_version
from bascule.registry.versions import PREFIX, said_version
from bascule.tracking.listing import named_run

TOLERANCE = 1e-9
Version = tuple[str, int]


def reproduce(
    workspace: Workspace,
    ref: str,
    folder: Path,
    what: str,
    version: str | int | None,
    progress: Progress,
    *,
    environment: str = "auto",
    data: str = "recorded",
    tolerance: float = TOLERANCE,
    keep: Path | None = None,
) -> Reproduction:
    """Do a run again from what was recorded of it, and compare what comes out.

    Args:
        ref: the branch or commit whose registry is read.
        folder: the project's folder.
        what: a model, MODEL@VERSION, or a run's id or the start of it.
        version: a number or an alias of the model; production, else the latest, when nothing says.
        environment: `recorded` is made by uv; `present` is the one that is here; `auto` is that one if it is the same.
        data: `recorded` refuses data that are not as they were; `present` takes what is here.
        tolerance: the relative difference up to which numbers count as equal.
        keep: restore a script into this folder, and leave it there.

    Raises:
        NotFound: no such model, version or run.
        InputError: what it was made from is gone, or it cannot be repeated; nothing has run.
        EnvironmentProblem: its environment cannot be made.
    """
    for key, value, known in (("environment", environment, ENVIRONMENTS), ("data", data, DATA)):
        if value not in known:
            raise InputError(f"{key} is {value!r}.", hint=f"It is one of: {', '.join(known)}")
    if not tolerance >= 0:
        raise InputError(f"The tolerance is {tolerance}.", hint="Give a number from 0 on, such as 1e-9.")
    row, named = _meant(workspace, ref, what, version)
    recorded = recall(workspace, row)
    if recorded.has_command:
        plan = script.Plan(environment, data, tolerance, keep)
        return script.again(workspace, recorded, folder, plan, progress, named)
    if named is None:
        named = _registered(workspace, ref, row)
    return training.again(workspace, ref, *named, tolerance, progress)


def _meant(
    workspace: Workspace, ref: str, what: str, version: str | int | None
) -> tuple[dict[str, Any], Version | None]:
    name, said = said_version(what)
    wanted = str(said or "")
    models: dict[str, dict[str, Any]] = {held["name"]: held for _, held in workspace.history.entries(ref, PREFIX)}
    if name not in models and version is None and not wanted:
        try:
            found = named_run(workspace, what)
            return (_first(workspace, found) if what.startswith("last") else found), None
        except NotFound:
            if what.startswith("run_") or not models:
                raise
    number = _number(workspace, ref, name, models.get(name, {}), str(version if version is not None else wanted))
    held = models[name]["versions"][str(number)]
    with workspace.catalog.read() as conn:
        row = conn.execute(select(runs).where(runs.c.id == (held.get("run_id") or ""))).mappings().first()
    if row is None:
        raise _unrecorded(name, number)
    if not held.get("training_set") and not recall(workspace, dict(row)).has_command:
        raise _unrecorded(name, number)
    return dict(row), (name, number)


def _first(workspace: Workspace, row: dict[str, Any]) -> dict[str, Any]:
    """Return the run that a reproduction did again, and any other run itself: `last` stays what it was, repeated."""
    while row["kind"] == "reproduce":
        of = recall(workspace, row).tags.get(REPRODUCES)
        with workspace.catalog.read() as conn:
            found = conn.execute(select(runs).where(runs.c.id == (of or ""))).mappings().first()
        if found is None:
            break
        row = dict(found)
    return row


def _number(workspace: Workspace, ref: str, name: str, model: dict[str, Any], which: str) -> int:
    """Return the number that a number or an alias of a model means; production, else the latest, when nothing says."""
    versions, aliases = model.get("versions", {}), model.get("aliases", {})
    if not which and versions:
        return int(aliases.get(PRODUCTION) or max(map(int, versions)))
    if which in versions:
        return int(which)
    if which in aliases:
        return int(aliases[which])
    return get_version(workspace, ref, name, which or PRODUCTION).version  # which tells what there is


def _registered(workspace: Workspace, ref: str, row: dict[str, Any]) -> Version:
    """Return the version that a run of `bascule run`, or a step of it, made."""
    family = {row["id"], row["parent_id"] or row["id"]}
    with workspace.catalog.read() as conn:
        family |= set(conn.execute(select(runs.c.id).where(runs.c.parent_id == row["id"])).scalars())
    for _, model in workspace.history.entries(ref, PREFIX):
        for number, held in model["versions"].items():
            if held.get("run_id") in family and held.get("training_set"):
                return model["name"], int(number)
    raise InputError(
        f"Run {row['id']} ({row['step'] or row['kind']}) made no model version that {ref!r} has, and only those and "
        "tracked commands are done again.",
        hint="`bascule models` lists versions; `bascule runs --kind track` lists tracked commands.",
    )


def _unrecorded(model: str, version: int) -> InputError:
    return InputError(
        f"Version {version} of {model!r} was not trained by a recorded run, so there is nothing to repeat.",
        hint="Versions that `bascule run` registers, and those of tracked scripts, can be reproduced.",
    )
