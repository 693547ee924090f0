"""Tracking a command: it is started at once, followed while it runs, and its records are brought in."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bascule import capture
from bascule.catalog import actor
from bascule.history import Workspace
from bascule.store import BlobStore
from bascule.tracking.ambient.bringing import Target
from bascule.tracking.ambient.following import Connect, Following, told
from bascule.tracking.ambient.session import JOURNALS, Session
from bascule.tracking.ambient.taking import CatalogTarget


@dataclass(frozen=True)
class Tracked:
    """What a tracked command did.

    Attributes:
        run_id: its run.
        exit_code: as the command ended; the negative number of the signal that killed it.
        inputs: files that it read, with their content's digest.
        outputs: files that it wrote, with their content's digest.
        params: how many parameters were noted.
        metrics: the last value of each metric.
        models: blobs of the models that it fitted.
        error: the exception that ended it, or None.
        duration_s: seconds.
        journal: where its journal lies, when it could not be brought into the records yet; else None.
        problem: why it could not.
        warnings: what was captured less, and files that changed while the command ran.
    """

    run_id: str
    exit_code: int
    inputs: dict[str, str]
    outputs: dict[str, str]
    params: int
    metrics: dict[str, float]
    models: tuple[str, ...]
    error: str | None
    duration_s: float
    journal: str | None = None
    problem: str | None = None
    warnings: tuple[str, ...] = ()


def track(
    workspace: Workspace, folder: Path, command: Sequence[str], branch: str, *, output: IO[bytes] | None = None
) -> Tracked:
    """Run a command as it is and record what it did. Its output goes where it would have gone.

    Args:
        folder: the project's folder: its code is captured, and paths below it are written relative to it.
        command: the program and its arguments; also `-m module`, a Python file, or one text for a shell.
        output: takes the command's standard output instead.

    Raises:
        InputError: when the command cannot be started. What the command itself does wrong is its exit code.
    """
    with capture.launched(
        command,
        output=output,
        start=str(folder),
        spool=str(workspace.folder / JOURNALS),
        workspace=str(workspace.folder),
        branch=branch,
        user=actor(),
    ) as launched:
        return followed(launched, lambda: local(workspace))


def followed(launched: Any, connect: Connect, *, settle: Callable[[Session], None] = lambda session: None) -> Tracked:
    """Follow a command that was started to its end, and return what it did.

    Args:
        settle: is called with the session when it may be amended: before anything of it is in the records.
    """
    following = None
    if launched.folder:
        session = Session(Path(launched.folder))
        run = session.header.run

        def settled() -> tuple[Target, BlobStore | None]:
            found = connect()
            settle(session)
            return found

        following = Following(session, settled)
        following.start()
    exit_code: int = launched.wait()
    taken = time.monotonic() - launched.begun
    if following is None:
        problem = "there was no place for a journal"
        return Tracked("", exit_code, {}, {}, 0, {}, (), None, round(taken, 3), None, problem)
    following.finish()
    brought = following.brought
    finished = brought.finished
    if finished:  # as it was written down: a short command has ended before anybody looks
        taken = (finished.at - session.header.started_at) / 1e6
    return Tracked(
        run,
        exit_code,
        brought.inputs,
        brought.outputs,
        len(brought.params),
        brought.last_metrics(),
        tuple(brought.models),
        finished.error if finished else None,
        round(taken, 3),
        None if finished else launched.folder,
        None if finished else told(following.problem),
        tuple(brought.warnings),
    )


def local(workspace: Workspace) -> tuple[Target, BlobStore | None]:
    """Open a workspace as the place to bring journals to.

    Raises:
        BasculeError: when its catalog or its store does not answer.
    """
    target = CatalogTarget(workspace)
    _ = workspace.catalog
    return target, workspace.store
