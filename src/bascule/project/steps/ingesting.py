"""Step `ingest:TABLE`: the files of a source that are not in the table yet, written, audited and published."""

from __future__ import annotations

import time
from pathlib import Path

from bascule.counting import counted
from bascule.lake import Lake, seen
from bascule.lake.ingestion import pending
from bascule.lake.origins import Options, is_address, is_held, peek, plain
from bascule.project.batches import bring_in
from bascule.project.checking import problems
from bascule.project.foldering import is_folder
from bascule.project.receipt import Output
from bascule.project.required import Required
from bascule.project.step import Context, Outcome, Progress, Terms
from bascule.tracking import Run


def name_of(source: str) -> str:
    """Return the name of the step that brings a source in."""
    return f"ingest:{source}"


def inputs(source: str, context: Context) -> Terms:
    """The files that the table will hold, by content, or what an address says of its state; and the settings."""
    settings = context.project.source[source]
    if is_address(settings.path):
        # What nothing but fetching tells is fetched each time.
        now = _peek(source, context) or {"asked": str(time.time_ns())}
        terms = {f"source:{name}": value for name, value in now.items()}
    else:
        held = _held(source, context) if settings.mode == "append" else {}
        terms = {f"file:{found.file}": digest for digest, found in held.items()}
        terms |= {f"file:{path.name}": digest for path, digest in _pending(source, context)}
    for name in ("dates", "query", "cursor"):
        if value := getattr(settings, name):
            terms[f"source:{name}"] = value
    return {**terms, "source:key": ", ".join(settings.key), "source:mode": settings.mode}


def idle(source: str, context: Context) -> Outcome | None:
    """Tell that everything is in the table already, or None."""
    settings = context.project.source[source]
    if is_address(settings.path):
        now = _peek(source, context)
        known = list(_held(source, context).values())
        if not now or not known or not is_held(known, settings.path, now, whole=settings.mode == "replace"):
            return None
        what = f"{plain(settings.path)} has nothing new"
    elif _pending(source, context):
        return None
    else:
        what = "every file is in it"
    found = context.workspace.history.get(context.branch, f"tables/{source}")
    return Outcome((_output(context, source),), summary=f"{what} ({found['rows']:,} rows)")


def work(source: str, context: Context, run: Run, progress: Progress) -> Outcome:
    """Bring them in.

    Raises:
        NotFound, InputError: a file cannot be read.
        CheckFailed: the contract refuses them; the branch is unchanged.
    """
    settings = context.project.source[source]
    if not is_address(settings.path):
        for path, digest in _pending(source, context):
            run.reads(path.as_uri(), digest, size=path.stat().st_size)
    batch = bring_in(
        context.workspace,
        source,
        settings.path if is_address(settings.path) else context.project.path(settings.path),
        context.branch,
        key=settings.key,
        mode=settings.mode,
        dates=settings.dates,
        tolerate=settings.tolerate,
        options=_options(source, context),
        folder=context.project.folder,
        run=run.id,
        required=Required.of(context.project),
        tell=lambda text: progress(text),
    )
    checks = tuple(problems(batch.checks)) if batch.checks else ()
    held = f"contract kept ({len(batch.checks.results)} checks)" if batch.checks else "no contract"
    files = sum(file.status == "ingested" for file in batch.report.files)
    if is_address(settings.path):
        for file in batch.report.files:
            run.reads(file.origin, file.digest, rows=file.rows)
    aside = f"; {counted(len(batch.report.rejected), 'record')} in quarantine" if batch.report.rejected else ""
    open_dates = "".join(f"; {assumed}" for assumed in batch.report.assumed)
    return Outcome(
        (_output(context, source),),
        checks,
        {"rows": float(batch.report.rows)},
        f"{counted(batch.report.rows, 'row')} of {counted(files, 'file')}, {held}{aside}{open_dates}",
        batch.commit.id if batch.commit else None,
    )


def _pending(source: str, context: Context) -> list[tuple[Path, str]]:
    settings = context.project.source[source]
    table = context.workspace.history.read(context.branch, f"tables/{source}")
    path = context.project.path(settings.path)
    return pending(Lake(context.workspace), table, path, mode=settings.mode, dates=settings.dates or "")


def _held(source: str, context: Context) -> dict[str, seen.Source]:
    table = context.workspace.history.read(context.branch, f"tables/{source}")
    return seen.sources(context.lake.table(table)) if table is not None else {}


def _peek(source: str, context: Context) -> dict[str, str]:
    settings = context.project.source[source]
    if is_folder(settings.path):
        return {}
    known = list(_held(source, context).values())
    spools = context.workspace.temporary_folder / "spool"
    told = _options(source, context)
    return peek(settings.path, spools, known=known, options=told, folder=context.project.folder)


def _options(source: str, context: Context) -> Options:
    settings = context.project.source[source]
    return Options(settings.query, settings.cursor, settings.options)


def _output(context: Context, source: str) -> Output:
    path = f"tables/{source}"
    found = context.workspace.history.get(context.branch, path)
    schema = Lake(context.workspace).schema(found)
    return Output(
        name=source,
        version=context.content(path),
        uri=f"bascule:{path}",
        rows=found["rows"],
        bytes=found["bytes"],
        schema={field.name: str(field.type) for field in schema},
    )
