"""A run in CI from the server's variables to everyone who is told: files, the job's summary, the pull request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bascule.errors import BasculeError, EnvironmentProblem, InputError
from bascule.project.ci.comment import cut
from bascule.project.ci.forges import comments_of
from bascule.project.ci.job import Job, detect
from bascule.project.ci.posting import Posted, post
from bascule.project.ci.reporting import SUMMARY_LIMIT, comment_of, marker_of, write_files
from bascule.project.ci.running import Verdict, prepare, run_ci
from bascule.project.git import Git
from bascule.project.place import PROJECT_FILE, Place
from bascule.project.runner import Watcher


@dataclass(frozen=True)
class Told:
    """A verdict, and who was told of it.

    Attributes:
        text: the verdict for a terminal.
        comment: where the comment is seen; None when there is none.
        notes: what could not be told, as sentences.
    """

    verdict: Verdict
    text: str
    comment: str | None
    notes: tuple[str, ...]


def run_and_tell(
    place: Place,
    environ: Mapping[str, str],
    into: str | None = None,
    *,
    output: Path | None = None,
    comment: bool = True,
    rows: int = 3,
    allow_breaking: str | None = None,
    watcher: Watcher | None = None,
    **options: Any,
) -> Told:
    """Run the job that the environment describes, and tell of it. That a forge takes no comment fails no job.

    Args:
        place: where the project is; a branch that was named goes before the server's.
        into: the branch to be merged into, when the server does not say.
        output: the folder for the files.
        allow_breaking: why readers of a table may break, as the merge will be told.
        options: of the forge's API: `sleep`, `patience`.

    Raises:
        NotFound, InputError: there is no project, or a variable of the server is wrong.
    """
    job = detect(environ)
    target = into or job.target
    branch = None if place.has_chosen_branch else job.branch
    here = prepare(place, branch, target, environ.get("BASCULE_CATALOG", ""), environ.get("BASCULE_STORAGE", ""))
    verdict = run_ci(here, target, watcher, allow_breaking=allow_breaking)
    name = _name(here)
    if output is not None:
        verdict = replace(verdict, files=write_files(verdict, output, name, _below(here), rows))
    notes = list(_summarise(job, verdict, name, rows))
    where: str | None = None
    if comment and job.number is not None:
        where, note = _comment(job, verdict, name, rows, options)
        notes += [note] if note else []
    return Told(verdict, _text(verdict), where, tuple(notes))


def put(place: Place, environ: Mapping[str, str], file: Path, **options: Any) -> Posted:
    """Put a Markdown file on the pull request that the environment describes, as its one comment."""
    job = detect(environ)
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file} cannot be read as text: {getattr(error, 'strerror', None) or error}", hint="Name a Markdown file."
        ) from error
    marker = marker_of(_name(place))
    text = text if text.startswith(marker) else f"{marker}\n{text}"
    return post(job, cut(text, comments_of(job, **options).limit), marker, **options)


def _comment(
    job: Job, verdict: Verdict, name: str, rows: int, options: dict[str, Any]
) -> tuple[str | None, str | None]:
    if not job.comments:
        why = "a fork gets no token" if job.fork else "there is no token (BASCULE_FORGE_TOKEN)"
        return None, f"No comment is written: {why}. The job's summary and its files have the report."
    try:
        text = comment_of(verdict, name, comments_of(job).limit, rows=rows, more="The job's files have all of it.")
        return post(job, text, marker_of(name), **options).where, None
    except BasculeError as error:
        return None, f"No comment is written: {error.message} {error.hint}".replace(job.token, "•••").strip()


def _summarise(job: Job, verdict: Verdict, name: str, rows: int) -> list[str]:
    if job.summary is None:
        return []
    try:
        with open(job.summary, "a", encoding="utf-8") as out:
            out.write(comment_of(verdict, name, SUMMARY_LIMIT // 4, rows=rows) + "\n")
    except OSError as error:
        return [f"The job's summary cannot be written: {error.strerror}."]
    return []


def _name(place: Place) -> str:
    return place.file.project.name if (place.folder / PROJECT_FILE).is_file() else place.folder.name


def _below(place: Place) -> str:
    """The project's folder from the top of its repository."""
    try:
        top = Path(Git(place.folder).run("rev-parse", "--show-toplevel")).resolve()
    except (InputError, EnvironmentProblem):
        return ""
    below = place.folder.relative_to(top).as_posix()
    return "" if below == "." else below


def _text(verdict: Verdict) -> str:
    from bascule.contracts import render_text

    lines = [render_text(report) for report in verdict.reports if report.problems]
    if verdict.readiness is not None:
        lines.append(verdict.readiness.text())
    if verdict.error is not None and not lines:
        lines.append(verdict.error.message)
    ran = sum(receipt.status == "ran" for receipt in verdict.receipts)
    lines.append(
        f"{'passed' if verdict.passed else 'failed'}: {ran} of {len(verdict.receipts)} steps ran on {verdict.branch}, "
        f"{len(verdict.reports)} reports, {verdict.duration_s:.1f} s."
    )
    return "\n\n".join(lines)
