"""Bringing over what other tools hold: import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from bascule.cli.options import COMMON, FORM, Common, Form
from bascule.cli.output import answer, columns
from bascule.counting import counted

if TYPE_CHECKING:
    from bascule.protocols.mlflow.importing import Imported

bring = App(name="import", help="Bring over what other tools hold.")


@bring.command
def mlflow(
    source: str,
    /,
    *,
    artifacts: Annotated[
        list[Path] | None,
        Parameter(help="A folder that files of runs may be read from besides; may be repeated.", negative=""),
    ] = None,
    conflicts: Annotated[
        Literal["refuse", "skip", "merge"],
        Parameter(help="An experiment whose name or number is taken: stop, leave it out, or go on under its name."),
    ] = "refuse",
    dry_run: Annotated[bool, Parameter(help="Say what would be brought over; write nothing.", negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Copy an MLflow server's, database's or mlruns folder's experiments, runs, files and models; ids are kept.

    Registered models come onto the current branch. What is here already stays, so the command may be repeated: it goes
    on where it was stopped. The source is only read. Credentials: MLFLOW_TRACKING_TOKEN, or _USERNAME and _PASSWORD.

    Args:
        source: http://HOST:PORT, sqlite:///FILE, or a folder.
    """
    from bascule.cli.progress import moving

    with moving(quiet=common.json) as progress:
        done = common.open().import_mlflow(
            source, artifacts=artifacts or (), conflicts=conflicts, dry_run=dry_run, progress=progress
        )
    answer(common, done.as_dict(), "\n".join(_lines(done)))


@bring.command
def feast(
    repository: Path,
    /,
    *,
    into: Annotated[Path, Parameter(help="The project's folder; made when it is not there.")] = Path(),
    form: Form = FORM,
) -> None:
    """Write what a Feast repository declares into a project, and say what was left out. No file of it is run.

    Args:
        repository: the folder with feature_store.yaml.
    """
    from msgspec import to_builtins

    from bascule.project.feast import import_feast

    found = import_feast(repository, into)
    taken = [
        (name.replace("_", " "), len(names), names)
        for name in ("sources", "entities", "views", "features_on_demand", "services")
        if (names := getattr(found, name))
    ]
    lines = [f"{found.project} and {len(found.files) - 1} queries are written.", columns(taken)]
    for title, texts in (("Left out:", found.left_out), ("Done in another way here:", found.notes)):
        lines += ["", title, *(f"  {text}" for text in texts)] if texts else []
    answer(form, to_builtins(found), "\n".join([*lines, "", "Next: bascule init and bascule run in its folder."]))


def _lines(done: Imported) -> list[str]:
    verb = "Would bring" if done.dry_run else "Brought"
    of_models = f"{counted(done.models, 'logged model')}, {counted(done.registered, 'registered model')}"
    of_models += f" with {counted(done.versions, 'version')}"
    points = "" if done.dry_run else f" with {done.points:,} points"
    lines = [
        f"{verb} {counted(done.experiments, 'experiment')}, {counted(done.runs, 'run')}{points}, "
        f"{counted(done.traces, 'trace')}, {of_models}, "
        f"{counted(done.files, 'file')} ({done.bytes / 1e6:,.1f} MB) from {done.source} to {done.branch}."
    ]
    if done.here:
        what = counted(done.here, "run, logged model or trace", "runs, logged models and traces")
        lines.append(f"Here already, and left as before: {what}.")
    lines += [f"conflict  {one}" for one in done.conflicts]
    for left in done.left:
        lines.append(f"left out  {left.count:,} {left.what}: {left.why}")
        lines += [f"          {name}" for name in left.names[:3]]
        lines += [f"          and {left.count - 3:,} more"] if len(left.names) > 3 else []
    return lines
