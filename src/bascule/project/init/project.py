"""From a folder of data to a project in plain text."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from bascule.contracts import suggest
from bascule.counting import counted
from bascule.errors import AlreadyExists, EnvironmentProblem, InputError
from bascule.project.file import FILE_NAME, load_project
from bascule.project.init.design import Design, make_design
from bascule.project.init.findings import find_all
from bascule.project.init.folder import look, tidy_name
from bascule.project.init.keys import find_key
from bascule.project.init.label import find_label
from bascule.project.init.report import InitReport
from bascule.project.init.sql import quoted
from bascule.project.init.tables import Table, load_tables, shown_order
from bascule.project.init.texts import ignore_text, population_text, project_text, relative_to, tables_text
from bascule.project.init.times import mark_times, mark_years

MEMORY = "2GB"  # beyond it DuckDB works on disk


def init_project(
    data_folder: Path | str, label: str | None, into: Path | str, name: str | None = None, *, profile: bool = False
) -> InitReport:
    """Look at a folder of CSV, Parquet or JSON files and write a project that learns `label` from them.

    Without a label the project has the tables and their contracts, and learns nothing.

    Everything that is decided is written as plain text that the user owns, and said in the report. Either all files are
    written or none.

    Args:
        data_folder: the folder with the data, or one file.
        label: a column or an SQL expression; see `find_label`. None for a project that learns nothing.
        into: the folder of the project; it is made when it does not exist.
        name: the project's name; the folder's name when not given.
        profile: also write a page for each table, `profiles/NAME.html`. They hold values of the data, so git ignores
            them.

    Raises:
        InputError: the data cannot be read, or the label cannot be found or learned.
        NotFound: a column or a table of the label does not exist.
        AlreadyExists: there is a project in the folder already.
    """
    target = Path(into)
    _refuse_project(target)
    folder = look(Path(data_folder))
    with _connection() as connection:
        loaded = load_tables(connection, folder)
        order = shown_order(table.dates for table in loaded)
        tables = [mark_times(connection, table, order) for table in loaded]
        tables = [table.with_key(find_key(connection, table)) for table in tables]
        tables = [mark_years(connection, table) for table in tables]
        called = name or project_name(target)
        found = find_label(connection, tables, label) if label is not None else None
        design = make_design(connection, find_all(connection, tables, found)) if found is not None else None
        said = list(design.said) if design is not None else [_seen(table) for table in tables]
        if folder.images or folder.texts:
            said.append(f"{folder.images + folder.texts:,} images and texts in the folder are left alone")
        shown = design.tables if design is not None else tables
        paths = _paths(shown, folder.root, target)
        files = {FILE_NAME: project_text(design, called, paths) if design else tables_text(shown, called, paths)}
        files |= (_queries(connection, design) if design else {}) | _contracts(connection, shown)
        files[".gitignore"] = ignore_text(paths.values())
        if profile:
            from bascule.project.profiling.beginning import PROFILES, pages  # it knows what init knows

            files |= pages(connection, shown, design.label if design else None)
            files[".gitignore"] += f"{PROFILES}/\n"
    written = write_files(target, files)
    if design is None:
        return InitReport(target, written, tuple(said))
    return InitReport(target, written, tuple(said), design.kind, design.label.task, design.label.expression)


def empty_project(into: Path | str, name: str | None = None) -> InitReport:
    """Write a project without tables: for scripts that are recorded, and for what comes later.

    Raises:
        AlreadyExists, EnvironmentProblem: as `write_files`.
    """
    target = Path(into)
    _refuse_project(target)
    files = {FILE_NAME: tables_text((), name or project_name(target), {}), ".gitignore": ignore_text(())}
    return InitReport(target, write_files(target, files))


def project_name(folder: Path) -> str:
    """Return a folder's name as the name of a project."""
    return tidy_name(folder.resolve().name)


def write_files(target: Path, files: Mapping[str, str]) -> tuple[Path, ...]:
    """Write the texts of a project, all or none, after reading them back as a project.

    The project file comes last: where it is, all others are. What an attempt that was killed left is written over.

    Raises:
        AlreadyExists: one of the files exists; a `.gitignore` is left as it is instead.
        EnvironmentProblem: the disk does not take them.
    """
    taken = [one for one, text in files.items() if one != ".gitignore" and not _is_left_over(target / one, text)]
    if taken:
        raise AlreadyExists("file", str(target / taken[0]), hint="Choose another folder, or move it away.")
    wanted = {one: text for one, text in files.items() if one != ".gitignore" or not (target / one).exists()}
    wanted[FILE_NAME] = wanted.pop(FILE_NAME)
    with tempfile.TemporaryDirectory(prefix="bascule-init-") as draft:
        _write(Path(draft), files)
        load_project(Path(draft) / FILE_NAME)
    made: list[Path] = []
    try:
        _write(target, wanted, made)
    except OSError as error:
        for path in reversed(made):
            path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        raise EnvironmentProblem(
            f"The project could not be written to {target}: {error.strerror}.", hint="Nothing was left there."
        ) from None
    return tuple(Path(one) for one in wanted)


def _is_left_over(path: Path, text: str) -> bool:
    """Tell whether a file is not there, or holds the text as far as it had been written."""
    try:
        return text.encode().startswith(path.read_bytes())
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _write(target: Path, files: Mapping[str, str], made: list[Path] | None = None) -> None:
    """Write texts under a folder, each whole or not; what is made, folders too, is added to `made` in order."""
    made = [] if made is None else made
    for name, text in files.items():
        path = target / name
        missing = [one for one in (path.parent, *path.parent.parents) if not one.exists()]
        for folder in reversed(missing):
            folder.mkdir()
            made.append(folder)
        draft = path.with_name(f"{path.name}.new")
        made += [path, draft]
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.replace(draft, path)


def _seen(table: Table) -> str:
    key = f"a row is named by {', '.join(table.key)}" if table.key else "no columns name a row"
    return f"table {table.name}: {counted(table.rows, 'row')} from {counted(len(table.group.files), 'file')}; {key}"


def _paths(tables: Sequence[Table], data: Path, target: Path) -> dict[str, str]:
    root = Path(os.path.abspath(target))
    return {one.name: relative_to(Path(os.path.abspath(data)) / one.group.pattern, root) for one in tables}


def _queries(connection: duckdb.DuckDBPyConnection, design: Design) -> dict[str, str]:
    queries = {"features/population.sql": population_text(design)}
    queries |= {f"features/{view.name}.sql": view.sql for view in design.views}
    for query in queries.values():
        connection.sql(f"select * from ({query}) limit 1").to_arrow_table()
    return queries


def _contracts(connection: duckdb.DuckDBPyConnection, tables: Sequence[Table]) -> dict[str, str]:
    return {
        f"contracts/{one.name}.yaml": suggest(connection, quoted(one.name), one.name, key=one.key) for one in tables
    }


@contextmanager
def _connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database on disk, so that data larger than memory can be looked at, and remove it afterwards."""
    folder = tempfile.mkdtemp(prefix="bascule-init-")
    try:
        with duckdb.connect(str(Path(folder) / "look.db")) as connection:
            connection.execute(f"set TimeZone = 'UTC'; set memory_limit = '{MEMORY}'")
            yield connection
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _refuse_project(target: Path) -> None:
    if target.is_file():
        raise InputError(f"{target} is a file.", hint="Give the folder that the project should be written to.")
    if (target / FILE_NAME).exists():
        raise AlreadyExists("project", str(target / FILE_NAME), hint="Choose another folder, or move it away.")
