"""How a project begins, whole: its files, its workspace, its git repository. All of it or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bascule.errors import InputError
from bascule.history import Workspace
from bascule.project.file import FILE_NAME, load_project
from bascule.project.init import InitReport, begin_repository, copy_template, empty_project, init_project
from bascule.project.init.folder import TABLES

WORKSPACE = ".bascule"


def begin_project(
    data: Path | str | None,
    label: str | None,
    into: Path | str,
    *,
    template: str | None = None,
    name: str | None = None,
    catalog: str = "",
    storage: str = "",
    git: bool = True,
    profile: bool = False,
) -> InitReport:
    """Write a project from a look at a folder of data, or from a template, and make its workspace.

    Without a label the project keeps tables and their contracts; without data it is looked whether the project's folder
    has any, and otherwise the project is empty.

    Where there is a project without a workspace, as after `git clone` or in a folder that an attempt left when it was
    killed, only the workspace is made, whatever else was asked for.

    Args:
        data: a folder of CSV, Parquet or JSON files, or one file.
        label: what is to be learned: a column or an expression; see `init_project`. None for no model.
        into: the project's folder.
        template: a project that comes with Bascule, instead of data and a label.
        catalog, storage: a team's database and object storage; in the workspace's folder when empty.
        git: also make a git repository, if the folder lies in none.
        profile: also write a page for each table of the data; see `init_project`.

    Raises:
        InputError: the data or the label cannot be used, or data and a template are both given.
        NotFound: a column, a table or a template that does not exist.
        AlreadyExists: there is a project in the folder already.
        EnvironmentProblem: the disk, the database or the storage does not answer. Nothing is left behind.
    """
    target = Path(into)
    here = (target / FILE_NAME).is_file()
    place = target / (load_project(target).workspace.url if here else WORKSPACE)
    missing = not (place / "workspace.toml").exists()
    if here and missing:
        Workspace.create(place, catalog=catalog, storage=storage).close()
        found = load_project(target)
        first = () if found.source or found.stream or found.training else ("bascule track python train.py",)
        return InitReport(target, (), ("the project was here already; its workspace was made",), first=first)
    if data is not None and template is not None:
        raise InputError("Both data and a template are given.", hint="Leave one of them out.")
    if data is None and label is not None:
        raise InputError("A label is given, and no data.", hint=f"bascule init DATA --label '{label}'")
    if template is not None:
        report = copy_template(template, target)
    elif _has_tables(target) or (data is not None and (label is not None or not _is_empty(data, target))):
        report = init_project(data or target, label, target, name, profile=profile)
    else:
        report = empty_project(target, name)
    if missing:
        try:
            Workspace.create(target, catalog=catalog, storage=storage).close()
        except BaseException:
            _take_back(report)
            raise
    texts = [one for one in report.files if one.suffix != ".html"]
    if git and (done := begin_repository(target, texts)):
        report = replace(report, assumptions=(*report.assumptions, done))
    return report


def _is_empty(data: Path | str, target: Path) -> bool:
    """Tell whether the data is the project's own folder with nothing in it: `bascule init .` in a new folder."""
    folder = Path(data)
    return folder.is_dir() and folder.resolve() == target.resolve() and not any(_visible(folder))


def _visible(folder: Path) -> Iterator[Path]:
    return (one for one in folder.iterdir() if not one.name.startswith((".", "_")))


def _has_tables(folder: Path) -> bool:
    return folder.is_dir() and any(
        one.suffix.lower() in TABLES and one.is_file() and not one.name.startswith((".", "_"))
        for place in (
            folder,
            *(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith((".", "_"))),
        )
        for one in place.iterdir()
    )


def _take_back(report: InitReport) -> None:
    """Remove the files that were written, and the folders that this leaves empty."""
    for file in report.files:
        (report.folder / file).unlink(missing_ok=True)
    folders = {report.folder / parent for file in report.files for parent in file.parents[:-1]}
    for folder in sorted(folders, key=lambda one: -len(one.parts)):
        if not any(folder.iterdir()):
            shutil.rmtree(folder)
