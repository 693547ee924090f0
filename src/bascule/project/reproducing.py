"""Training a version again from what was recorded of it, and comparing byte by byte."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
from sqlalchemy import select

from bascule.catalog import actor
from bascule.catalog.schema import runs
from bascule.errors import InputError
from bascule.history import Workspace
from bascule.project.file import load_project
from bascule.project.receipt import Receipt
from bascule.project.step import Context, Progress
from bascule.project.steps import training, training_set
from bascule.tracking import capture_environment, recorded, restore_code
from bascule.training import read_training_set


@dataclass(frozen=True)
class Reproduction:
    """What came out.

    Attributes:
        model: name.
        version: number.
        verdict: `identical` (equal bytes) or `different`.
        expected: digest of the version's artifact.
        found: digest of the artifact that was trained now.
        terms: every input, with what it was then and now; those that differ explain a different artifact.
        run_id: the run that did it.
    """

    model: str
    version: int
    verdict: Literal["identical", "different"]
    expected: str
    found: str
    terms: tuple[tuple[str, str, str], ...]
    run_id: str

    @property
    def differing(self) -> list[tuple[str, str, str]]:
        """The inputs that are not what they were: (term, then, now)."""
        return [term for term in self.terms if term[1] != term[2]]


def reproduce(workspace: Workspace, ref: str, model: str, version: int, progress: Progress) -> Reproduction:
    """Restore the code of a version's run, read the tables at its commit, train again, compare.

    Args:
        ref: the branch or commit whose registry is read.

    Raises:
        NotFound: unknown model or version, or what it was made from is gone.
        InputError: it was not trained by a recorded run.
    """
    held: dict[str, Any] = workspace.history.get(ref, f"models/{model}")["versions"][str(version)]
    run = _run(workspace, held.get("run_id"), model, version)
    then = read_training_set(workspace, held["training_set"])
    with _restored(workspace, run["code_snapshot"]) as folder:
        context = Context(load_project(folder), workspace, then.commit_id, actor())
        with recorded(
            workspace,
            name=f"reproduce {model} {version}",
            kind="reproduce",
            branch=run["branch"],
            commit=then.commit_id,
        ) as again:
            progress("training set")
            made = training_set.work(context, again, progress)
            context.receipts[training_set.NAME] = Receipt(
                step=training_set.NAME, status="ran", code_version="", outputs=made.outputs
            )
            progress("training")
            trained = training.work(context, again, progress)
            found = trained.outputs[0].version
    terms = [("training set", then.id, made.outputs[0].version), *_environment(run)]
    return Reproduction(
        model=model,
        version=version,
        verdict="identical" if found == held["artifact"] else "different",
        expected=held["artifact"],
        found=found,
        terms=tuple(terms),
        run_id=again.id,
    )


def _run(workspace: Workspace, name: str | None, model: str, version: int) -> dict[str, Any]:
    with workspace.catalog.read() as conn:
        row = conn.execute(select(runs).where(runs.c.id == (name or ""))).mappings().first()
    if row is None or not row["code_snapshot"]:
        raise InputError(
            f"Version {version} of {model!r} was not trained by a recorded run, so there is nothing to repeat.",
            hint="Versions that `bascule run` registers can be reproduced.",
        )
    return dict(row)


def _environment(run: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    before, after = msgspec.json.decode(run["environment_json"]), capture_environment()
    for term in ("python", "system", "machine", "processor", "cores"):
        yield term, str(before.get(term)), str(after.get(term))
    packages, now = before.get("packages", {}), after["packages"]
    for name in sorted(packages.keys() | now.keys()):
        yield f"package {name}", packages.get(name, "absent"), now.get(name, "absent")


@contextmanager
def _restored(workspace: Workspace, snapshot: str) -> Iterator[Path]:
    folder = workspace.temporary_folder / f"reproduce-{uuid.uuid4().hex[:12]}"
    try:
        restore_code(snapshot, workspace.store, folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
