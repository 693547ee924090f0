"""Training a version of `bascule run` again: its code, its tables at their commit, the same steps in this process."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bascule.catalog import actor
from bascule.errors import NotFound
from bascule.history import Workspace
from bascule.naming import model_path
from bascule.project.file import load_project
from bascule.project.receipt import Receipt
from bascule.project.reproducing import terms
from bascule.project.reproducing.comparing import compare
from bascule.project.reproducing.recorded import REPRODUCES, recall
from bascule.project.reproducing.result import Compared, Reproduction, worst
from bascule.project.step import Context, Progress
from bascule.project.steps import training, training_set
from bascule.tracking import capture_environment, find_run, recorded, restore_code
from bascule.training import read_training_set


def again(
    workspace: Workspace, ref: str, model: str, version: int, tolerance: float, progress: Progress
) -> Reproduction:
    """Restore the code of a version's run, read the tables at its commit, train again, compare.

    Args:
        ref: the branch or commit whose registry is read.

    Raises:
        NotFound: what it was made from is gone.
    """
    held: dict[str, Any] = workspace.history.get(ref, model_path(model))["versions"][str(version)]
    before = recall(workspace, find_run(workspace, held["run_id"]))
    run = before.row
    then = read_training_set(workspace, held["training_set"])
    with _restored(workspace, run["code_snapshot"]) as folder:
        context = Context(load_project(folder), workspace, then.commit_id, actor())
        with recorded(
            workspace,
            name=f"reproduce {model} {version}",
            kind="reproduce",
            branch=run["branch"],
            commit=then.commit_id,
        ) as new:
            new.tags({REPRODUCES: run["id"]})
            progress("training set")
            made = training_set.work(context, new, progress)
            context.receipts[training_set.NAME] = Receipt(
                step=training_set.NAME, status="ran", code_version="", outputs=made.outputs
            )
            progress("training")
            trained = training.work(context, new, progress)
            found = trained.outputs[0].version
    here = capture_environment()
    told = [
        ("training set", then.id, made.outputs[0].version),
        ("python", str(before.environment.get("python")), here["python"]),
        *terms.machine(before.environment),
        *terms.variables(before.variables, here["variables"]),
        *terms.packages(before.packages, here["packages"]),
    ]
    compared = (_compared(workspace, model, version, held["artifact"], found, tolerance),)
    return Reproduction(
        of=run["id"],
        run_id=new.id,
        verdict=worst(compared),
        compared=compared,
        terms=tuple(told),
        seeds=before.seeds,
        model=model,
        version=version,
        expected=held["artifact"],
        found=found,
        tolerance=tolerance,
    )


def _compared(workspace: Workspace, model: str, version: int, then: str, now: str, tolerance: float) -> Compared:
    path = f"models/{model}@{version}"
    if then == now:
        return Compared(path, "identical")
    try:
        return compare(path, workspace.store.get(then), workspace.store.get(now), tolerance)
    except NotFound:
        return Compared(path, "different", note="the former artifact is gone from the store")


@contextmanager
def _restored(workspace: Workspace, snapshot: str) -> Iterator[Path]:
    folder = workspace.temporary_folder / f"reproduce-{uuid.uuid4().hex[:12]}"
    try:
        restore_code(snapshot, workspace.store, folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
