"""The command that begins a project: init."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from bascule.cli.options import FORM, Form
from bascule.cli.output import answer

if TYPE_CHECKING:
    from bascule.project.init import InitReport


def init(
    data: Path | None = None,
    /,
    *,
    label: Annotated[
        str | None, Parameter(help="What is to be learned: a column or an expression; nothing if not given.")
    ] = None,
    template: Annotated[str | None, Parameter(help="Begin with a project that comes with Bascule: flights.")] = None,
    into: Annotated[Path, Parameter(help="The project's folder.")] = Path("."),
    name: Annotated[str | None, Parameter(help="The project's name; its folder's when not given.")] = None,
    catalog: Annotated[str, Parameter(help="PostgreSQL for a team: postgresql://user@host/name.")] = "",
    storage: Annotated[str, Parameter(help="Object storage for a team: s3://bucket/prefix.")] = "",
    git: Annotated[bool, Parameter(help="Make a git repository, if the folder is in none.")] = True,
    profile: Annotated[
        bool, Parameter(help="Also write a page about each table: profiles/NAME.html.", negative="")
    ] = False,
    form: Form = FORM,
) -> None:
    """Look at a folder of data, write a project in plain text, and make its workspace.

    Without --label the project has tables and contracts alone; without data too, it takes what the folder has.
    In a project that has no workspace yet, such as a clone, it makes that and nothing else.

    Args:
        data: a folder of CSV, Parquet or JSON files, or one file.
    """
    from bascule.project.beginning import begin_project

    report = begin_project(
        data, label, into, template=template, name=name, catalog=catalog, storage=storage, git=git, profile=profile
    )
    answer(form, report.as_dict(), _told(report))


def _told(report: InitReport) -> str:
    if not report.files:
        following = " or ".join(report.first) or "bascule run"
        return f"The project in {report.folder.resolve()} has its workspace now.\n\nNext: {following}"
    lines = [f"A project in {report.folder}:", *(f"  {path.as_posix()}" for path in report.files)]
    if report.label:
        lines += ["", f"It learns {report.label} ({report.task}, {report.kind} data)."]
    if report.assumptions:
        lines += ["", "What was assumed; the files say it too, and are yours to change:"]
        lines += [f"  - {assumption}" for assumption in report.assumptions]
    if not report.label and not report.first:
        has_tables = any(path.parts[0] == "contracts" for path in report.files)
        lines += ["", "It learns nothing yet; bascule.toml says how to add a label."]
        return "\n".join([*lines, "", f"Next: {'bascule run' if has_tables else 'bascule ingest TABLE FILE'}"])
    return "\n".join([*lines, "", f"Next: {', then '.join([*report.first, 'bascule run'])}"])
