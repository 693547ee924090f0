"""Doing a tracked command again, in a folder of its own, and comparing what it wrote and measured."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from sqlalchemy import update

from bascule.catalog.schema import runs
from bascule.errors import BasculeError, EnvironmentProblem, InputError, NotFound
from bascule.history import Workspace
from bascule.project.reproducing import code, data, environment, terms
from bascule.project.reproducing.comparing import Unlike, compare, read, weighed
from bascule.project.reproducing.leavings import Left, clear_away, let_go, noted
from bascule.project.reproducing.recorded import REPRODUCES, Recorded, is_interactive, recall
from bascule.project.reproducing.result import END, EXIT, Compared, Reproduction, Term, worst
from bascule.project.step import Progress
from bascule.tracking import find_run, resume
from bascule.tracking.artifacts import Artifacts
from bascule.tracking.listing import artifacts_of

GUARD = Path(__file__).parent / "guard"
_SHOWN = 3
LAST_SECONDS = 15


@dataclass(frozen=True)
class Plan:
    """How a command is done again: see `reproduce`."""

    environment: str
    data: str
    tolerance: float
    keep: Path | None


def again(
    workspace: Workspace,
    recorded: Recorded,
    project: Path,
    plan: Plan,
    progress: Progress,
    model: tuple[str, int] | None = None,
) -> Reproduction:
    """Restore code, environment and data of a tracked run, run its command, and compare.

    Args:
        project: the project's folder: it is read, and nothing in it is changed.
        model: the version that was asked for, when it was one.

    Raises:
        InputError, EnvironmentProblem: it cannot be done again; nothing has run.
    """
    argv = recorded.argv
    clear_away(workspace)
    _refuse_unfit(workspace, recorded, project, argv)
    notes: list[str] = []
    progress("code")
    # Not below `.bascule`, where nothing is noted; and what is temporary for the command is not below its own folder.
    with (
        noted(workspace, project, recorded.row) as left,
        code.restored(
            recorded.row, workspace.store, project, _folder(left.beside, plan.keep), plan.keep is not None, notes
        ) as folder,
    ):
        told = data.bring(workspace, recorded, project, folder, plan.data, notes)
        ready = environment.prepare(workspace, recorded, plan.environment, progress, notes)
        progress("run")
        with (
            _branch(workspace, recorded, left, notes) as branch,
            _kept(recorded, project, Path(left.former), notes) as former,
        ):
            temporary = Path(left.beside) / "tmp"
            temporary.mkdir()
            run_id = _run(workspace, recorded, project, folder, ready, {"TMPDIR": str(temporary)}, branch)
            new = recall(workspace, find_run(workspace, run_id))
            compared = tuple(_outputs(workspace, recorded, new, former, folder, plan.tolerance))
            compared += tuple(_metrics(recorded, new, plan.tolerance))
        if plan.keep is not None:
            notes.append(f"It ran in {folder}, which stays.")
    compared = (*_ended(recorded, new), *compared)
    if not compared:
        notes.append("The run wrote nothing and measured nothing, so there is nothing to compare.")
    verdict = worst(compared)
    told = [*_terms(recorded, new, ready), *told, *data.read_again(recorded, new, project)]
    _tag(workspace, run_id, recorded, verdict)
    return Reproduction(
        of=recorded.id,
        run_id=run_id,
        verdict=verdict,
        compared=compared,
        terms=tuple(told),
        notes=tuple(notes),
        seeds=recorded.seeds,
        model=model[0] if model else None,
        version=model[1] if model else None,
        tolerance=plan.tolerance,
    )


def _refuse_unfit(workspace: Workspace, recorded: Recorded, project: Path, argv: Sequence[str]) -> None:
    """Refuse what is not over, and what would write over the user's files."""
    if recorded.row["status"] == "running":
        raise InputError(f"Run {recorded.id} has not ended yet.", hint="Wait for its end, or see: bascule doctor")
    if is_interactive(argv):
        raise InputError(
            f"What run {recorded.id} did was typed, or came by standard input: its command alone repeats nothing.",
            hint="A notebook's cells are its artifact cells.py. What is in a file can be repeated: bascule track FILE",
        )
    away = [path for path, _ in recorded.outputs if Path(path).is_absolute()]
    if away:
        more = f" and {len(away) - _SHOWN} more" if len(away) > _SHOWN else ""
        raise InputError(
            f"Run {recorded.id} wrote outside of its project: {', '.join(away[:_SHOWN])}{more}. Done again, it would "
            "write over them.",
            hint="Let the script write below its own folder, or give it the folder as an argument; then track it anew.",
        )
    named = str(project)
    texts: dict[str, str] = {}
    if recorded.row["code_snapshot"] and workspace.store.has(recorded.row["code_snapshot"]):
        texts = msgspec.json.decode(workspace.store.get(recorded.row["code_snapshot"]))
    places = [f"its argument {word!r}" for word in argv[1:] if named in word]
    for name, digest in texts.items():
        if name.endswith((".py", ".sh")) and workspace.store.has(digest):
            lines = workspace.store.get(digest).decode(errors="replace").splitlines()
            places += [f"{name}:{number}" for number, line in enumerate(lines, 1) if named in line]
    if places:
        raise InputError(
            f"Run {recorded.id} names its project's folder {project} by an absolute path ({', '.join(places[:_SHOWN])}"
            "): done again, it would read and write there.",
            hint="Let it use paths relative to the folder, or to the script (Path(__file__).parent); track it anew.",
        )


def _folder(beside: str, keep: Path | None) -> Path:
    if keep is None:
        return Path(beside) / "project"
    place = keep.resolve()
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise InputError(f"{place} is there already, and not an empty folder.", hint="Name one that is not there yet.")
    if place.exists():
        place.rmdir()
    return place


@contextmanager
def _branch(workspace: Workspace, recorded: Recorded, left: Left, notes: list[str]) -> Iterator[str]:
    """Yield a branch at the commit that the run saw, for a command that asks the lake; it is gone afterwards."""
    commit = recorded.row["commit_id"]
    try:
        if commit is None:
            raise NotFound("commit", "")
        workspace.history.create_branch(left.branch, commit)
    except BasculeError as error:
        notes.append(f"The lake is read as it is on main, not as it was: {error.message}")
        yield "main"
        return
    try:
        yield left.branch
    finally:
        let_go(workspace, left)


@contextmanager
def _kept(recorded: Recorded, project: Path, folder: Path, notes: list[str]) -> Iterator[Path]:
    """Copy the run's output files that are in the project, to compare with, and put back what was changed in it."""
    names = {path for path, _ in recorded.outputs if "://" not in path and (project / path).is_file()}
    try:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(project / name, folder / name)
        yield folder
        for name in sorted(names):
            if data.digest(project / name) != data.digest(folder / name):
                shutil.copy2(folder / name, project / name)
                notes.append(f"The command wrote over {project / name}; it was put back as it was.")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(
    workspace: Workspace,
    recorded: Recorded,
    project: Path,
    folder: Path,
    ready: environment.Ready,
    more: dict[str, str],
    branch: str,
) -> str:
    """Run the command, tracked, and return the id of its run.

    Args:
        more: further variables of its environment.
    """
    argv = recorded.argv
    (folder / ".bascule").mkdir(exist_ok=True)  # a folder that is a project by itself, whatever is above it
    command = [sys.executable, "-m", "bascule", "track", "--json", "--project", str(folder), "--branch", branch]
    command += ["--workspace", str(workspace.folder), "--", *ready.command(argv)]
    path = os.pathsep.join(one for one in (str(GUARD), os.environ.get("PYTHONPATH", "")) if one)
    variables = {
        **ready.variables,
        **more,
        "PYTHONPATH": path,
        "BASCULE_WORKSPACE": str(workspace.folder),
        "BASCULE_BRANCH": branch,
        "BASCULE_KEPT": os.pathsep.join(map(str, (project, workspace.folder, folder))),
    }
    process = subprocess.Popen(
        command, cwd=_place(recorded, project, folder, argv), env=variables, stdout=subprocess.PIPE
    )
    try:
        printed = process.communicate()[0]
    except KeyboardInterrupt:  # the terminal sent it to the command too, which ends and is recorded as cancelled
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=LAST_SECONDS)
        process.kill()
        raise
    return _told(printed, process.returncode)


def _told(printed: bytes, exit_code: int) -> str:
    """Return the run that `bascule track --json` tells of.

    Raises:
        EnvironmentProblem: it tells of none, or its records wait in a journal.
    """
    try:
        told = msgspec.json.decode(printed)
        problem = told.get("problem") or told.get("error") if "run_id" not in told or told.get("journal") else None
        run = str(told.get("run_id"))
    except (msgspec.DecodeError, AttributeError, TypeError):
        problem, run = f"its tracking ended with {exit_code}", ""
    if problem or not run:
        raise EnvironmentProblem(
            f"What the command did again is not in the records: {str(problem or 'no run was told').rstrip('.')}.",
            hint="What it said stands above; bascule doctor looks at the workspace.",
        )
    return run


def _place(recorded: Recorded, project: Path, folder: Path, argv: Sequence[str]) -> Path:
    """Return the folder to run in: the recorded one, else the one in which the command's script is."""
    there = Path(str(recorded.environment.get("working_folder") or project))
    if there != project and there.is_relative_to(project):
        place = code.inside(folder, there.relative_to(project).as_posix())
        place.mkdir(parents=True, exist_ok=True)
        return place
    scripts = [word for word in argv[1:] if word.endswith((".py", ".sh")) and not Path(word).is_absolute()]
    if scripts and not (folder / scripts[0]).is_file():
        found = [path for path in folder.rglob(scripts[0]) if path.is_file()]
        if len(found) == 1:
            return found[0].parents[len(Path(scripts[0]).parts) - 1]
    return folder


def _outputs(
    workspace: Workspace, then: Recorded, now: Recorded, former: Path, folder: Path, tolerance: float
) -> Iterator[Compared]:
    before, after = _grouped(then.outputs), _grouped(now.outputs)
    for path in sorted(before.keys() | after.keys()):
        old, new = before[path], after[path]
        same = [version for version in old if version in new]
        for version in same:
            old.remove(version)
            new.remove(version)
        if not old and not new:
            yield Compared(path, "identical")
        elif len(old) > len(new):
            yield Compared(path, "different", note="it was not written again")
        elif len(new) > len(old):
            yield Compared(path, "different", note="it was not written then")
        for one, other in zip(old, new, strict=False):
            contents = _content(workspace, then, path, one, former), _content(workspace, now, path, other, folder)
            if None in contents:
                note = f"was {one[:16]} and is {other[:16]}; the former content is not kept, so not by how much"
                yield Compared(path, "different", note=note)
            else:
                yield compare(path, contents[0] or b"", contents[1] or b"", tolerance)


def _grouped(outputs: list[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for path, version in outputs:
        found[path].append(version)
    return found


def _content(workspace: Workspace, of: Recorded, path: str, version: str, folder: Path) -> bytes | None:
    """Return what a run wrote: from the store, from a file that still holds it, or from the run's artifacts."""
    if len(version) == data.DIGEST and workspace.store.has(version):
        return workspace.store.get(version)
    if data.digest(folder / path) == version:
        return read(folder / path)
    try:
        found = Artifacts(workspace).file(f"{artifacts_of(of.row)}/{path.removeprefix('artifacts/')}")
        return bytes(found.read_bytes())
    except (BasculeError, OSError):
        return None


def _metrics(then: Recorded, now: Recorded, tolerance: float) -> Iterator[Compared]:
    names = {name for name, _ in (*then.points, *now.points)}
    for name in sorted(names):
        before = {key: values for key, values in then.points.items() if key[0] == name}
        after = {key: values for key, values in now.points.items() if key[0] == name}
        if before == after:
            yield Compared(f"metric {name}", "identical", sum(map(len, before.values())))
            continue
        lengths = [{key: len(values) for key, values in side.items()} for side in (before, after)]
        if lengths[0] != lengths[1]:
            counts = [sum(one.values()) for one in lengths]
            yield Compared(f"metric {name}", "different", note=f"{counts[0]} points then, {counts[1]} now")
            continue
        try:
            pairs = [(before[key], after[key]) for key in sorted(before)]
            found = weighed(f"metric {name}", pairs, tolerance)
        except Unlike as error:  # pragma: no cover - lengths are equal
            found = Compared(f"metric {name}", "different", note=str(error))
        if found.values == 1:
            (old,), (new,) = pairs[0]
            found = replace(found, note=f"{old!r} then, {new!r} now")
        yield found


def _ended(then: Recorded, now: Recorded) -> Iterator[Compared]:
    """Compare how both ended: by their exit codes, or in a word where a process recorded itself and none is known."""
    name, old, new = EXIT, then.tags.get("exit_code"), now.tags.get("exit_code")
    if old is None:
        name, old, new = END, then.row["status"], now.row["status"]
    if old != new:
        why = f": {now.row['error']}" if now.row["error"] else ""
        yield Compared(name, "different", note=f"{old} then, {new} now{why}")


def _terms(then: Recorded, now: Recorded, ready: environment.Ready) -> Iterator[Term]:
    yield "python", str(then.environment.get("python")), ready.python
    yield from terms.machine(then.environment)
    yield from terms.variables(then.variables, ready.variables)
    yield from terms.packages(then.packages, ready.packages)
    yield from terms.params(then.params, now.params)


def _tag(workspace: Workspace, run_id: str, recorded: Recorded, verdict: str) -> None:
    """Say of the new run what it is: a reproduction, of which run, and how it compares."""
    row = recorded.row
    with workspace.catalog.write() as conn:
        values = {"kind": "reproduce", "name": f"reproduce {row['name']}", "branch": row["branch"]}
        conn.execute(update(runs).where(runs.c.id == run_id).values(**values))
    told = {REPRODUCES: recorded.id, "verdict": verdict, "command": recorded.tags.get("command", "")}
    resume(workspace, run_id).tags(told)
