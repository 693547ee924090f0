"""The project file: finding it, reading it, and telling exactly what is wrong with it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from bascule.errors import InputError, ProjectFileError, suggestion
from bascule.project import convert
from bascule.project.locate import KeyPath, key_lines, key_text, line_of
from bascule.project.pythonviews import PLACE, declared, python_sql
from bascule.project.section import Section
from bascule.project.sections import (
    Checks,
    ContractRef,
    Deployment,
    Entity,
    FeatureView,
    Forget,
    Gates,
    Joins,
    Merge,
    Model,
    Monitoring,
    Pii,
    Project,
    ProjectSections,
    RequestView,
    Retrain,
    Service,
    Source,
    Stream,
    Training,
    Workspace,
)

FILE_NAME = "bascule.toml"
SINGLE: dict[str, type[Section]] = {
    "project": Project,
    "joins": Joins,
    "training": Training,
    "model": Model,
    "gates": Gates,
    "deployment": Deployment,
    "monitoring": Monitoring,
    "retrain": Retrain,
    "checks": Checks,
    "merge": Merge,
    "forget": Forget,
    "pii": Pii,
    "workspace": Workspace,
}
NAMED: dict[str, tuple[type[Section], ...]] = {
    "source": (Source,),
    "contract": (ContractRef,),
    "entity": (Entity,),
    "features": (FeatureView, RequestView),
    "service": (Service,),
    "stream": (Stream,),
}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_QUERY = re.compile(r"\s*(select|with|from)\s", re.IGNORECASE)
_TOML_LINE = re.compile(r"\(at line (\d+), column \d+\)")


class ProjectFile(ProjectSections, frozen=True, kw_only=True):
    """A project: its sections, the folder that their paths start from, and where each key stands.

    Written in Python instead of TOML it is the same object: `ProjectFile(project=Project(name="flights"), …)`; call
    `check()` for the checks that reading a file makes.

    Attributes:
        folder: the folder that paths are relative to.
        file: the file it was read from, or None.
        lines: the line of each key, for messages.
    """

    folder: Path = Path(".")
    file: Path | None = None
    lines: dict[KeyPath, int] = msgspec.field(default_factory=dict)

    def path(self, relative: str) -> Path:
        """Return a path of the file as a path of the machine."""
        return self.folder / relative

    def sql(self, *key: str) -> str:
        """Return the text of the SQL file that a key names, such as `sql("features", "weather", "sql")`.

        Raises:
            ProjectFileError: the file is missing, empty, or not UTF-8.
        """
        relative = self._at(key)
        if called := PLACE.fullmatch(relative):
            return python_sql(self.path(called["file"]), called["function"])
        path = self.path(relative)
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError as error:
            raise self.problem(key, f"{relative} is not UTF-8 text (byte {error.start}).") from None
        except OSError:
            if _QUERY.match(relative):
                hint = "Write the query into a file, such as features/orders.sql, and give its name."
                raise self.problem(key, "a query stands where the name of a file should.", hint) from None
            raise self.problem(key, f"there is no file {relative}.", self._nearest_file(relative)) from None
        if not text.strip():
            raise self.problem(key, f"{relative} is empty.", "Write one SELECT into it.")
        return text

    def views(self) -> dict[str, FeatureView]:
        """Return the feature views that read tables, by name."""
        return {name: view for name, view in self.features.items() if isinstance(view, FeatureView)}

    def request_views(self) -> dict[str, RequestView]:
        """Return the feature views that are computed from the request, by name."""
        return {name: view for name, view in self.features.items() if isinstance(view, RequestView)}

    def problem(self, key: KeyPath | tuple[str, ...], message: str, hint: str = "") -> ProjectFileError:
        """Return the error that says what is wrong with a key, where it stands, and what to do."""
        return ProjectFileError(
            message, file=self.file or FILE_NAME, line=line_of(self.lines, key), key=key_text(key), hint=hint
        )

    def check(self) -> None:
        """Check what the sections say about one another and about files.

        Raises:
            ProjectFileError: at the first thing that does not hold.
        """
        from bascule.project.references import check_references

        check_references(self)

    def _at(self, key: tuple[str, ...]) -> str:
        value: Any = self
        for part in key:
            value = value[part] if isinstance(value, dict) else getattr(value, part)
        return str(value)

    def _nearest_file(self, relative: str) -> str:
        folder = self.path(relative).parent
        names = sorted(one.name for one in folder.iterdir() if one.is_file()) if folder.is_dir() else []
        near = suggestion(Path(relative).name, names, "file")
        return near if names else f"There is no folder {Path(relative).parent.as_posix()} there either."


def find_project_file(start: Path | str | None = None) -> Path:
    """Return the nearest `bascule.toml` in a folder or above it; the current folder when none is given.

    Raises:
        InputError: there is none.
    """
    origin = Path(start or ".").absolute()
    if origin.is_file():
        return origin
    if not origin.exists():
        raise InputError(f"There is no file or folder {start}.", hint="Give a project's folder or its bascule.toml.")
    for folder in (origin, *origin.parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    raise InputError(
        f"There is no {FILE_NAME} in {origin} or in a folder above it.",
        hint="Make a project with: bascule init DATA_FOLDER --label EXPRESSION",
    )


def load_project(path: Path | str | None = None) -> ProjectFile:
    """Read the project file at a path, or the nearest one above it, and check it whole.

    Raises:
        InputError: there is no project file.
        ProjectFileError: it says something that cannot be used; with file, line and key.
    """
    file = find_project_file(path)
    try:
        text = file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProjectFileError(
            f"is not UTF-8 text (byte {error.start}).", file=file, hint="Save it as UTF-8."
        ) from None
    except OSError as error:
        raise ProjectFileError(
            f"cannot be read: {error.strerror}.", file=file, hint="Check the file's rights."
        ) from None
    project = _with_python_views(parse_project(text, file))
    project.check()
    return project


def _with_python_views(project: ProjectFile) -> ProjectFile:
    """The project with the views that its Python files declare."""
    found = declared(project.folder)
    for name, (_, place, line) in found.items():
        if name in project.features:
            where = f"{project.file or FILE_NAME}:{line_of(project.lines, ('features', name))}"
            raise ProjectFileError(
                f"the feature view {name!r} is there already, in {where}.",
                file=place,
                line=line,
                hint="Rename one of them.",
            )
    views = {name: view for name, (view, _, _) in found.items()}
    return msgspec.structs.replace(project, features={**project.features, **views}) if views else project


def parse_project(text: str, file: Path | str = FILE_NAME) -> ProjectFile:
    """Read the text of a project file. What it says about other files is left to `ProjectFile.check`.

    Raises:
        ProjectFileError: it is not TOML, or a section, a key or a value is wrong.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _not_toml(str(error), text, file) from None
    lines = key_lines(text)
    try:
        sections = _sections(raw)
    except convert.Refused as refused:
        line = line_of(lines, refused.path)
        raise ProjectFileError(
            refused.message, file=file, line=line, key=key_text(refused.path), hint=refused.hint
        ) from None
    return ProjectFile(**sections, folder=Path(file).parent, file=Path(file), lines=lines)


def _sections(raw: dict[str, Any]) -> dict[str, Any]:
    convert.refuse_unknown(raw, (*SINGLE, *NAMED), (), "section")
    if "project" not in raw:
        raise convert.Refused((), "lacks the section [project].", 'Write [project] and, under it, name = "…".')
    sections: dict[str, Any] = {
        name: convert.section(raw[name], kind, (name,)) for name, kind in SINGLE.items() if name in raw
    }
    for name, kinds in NAMED.items():
        sections[name] = _named(raw.get(name, {}), kinds, name)
    return sections


def _named(raw: object, kinds: tuple[type[Section], ...], name: str) -> dict[str, Section]:
    if not isinstance(raw, dict):
        raise convert.Refused((name,), f"must be written as [{name}.NAME], not as {convert.found(raw)}.")
    tables = {}
    for key, value in raw.items():
        if not isinstance(value, dict):
            raise convert.Refused(
                (name, key), f"is {convert.found(value)}; it must be a table.", f"Write it as [{name}.NAME]."
            )
        if not _NAME.fullmatch(key):
            raise convert.Refused((name, key), f"{key!r} is not a name.", "A letter, then letters, digits, _, - or .")
        kind = kinds[-1] if "expressions" in value and "sql" not in value else kinds[0]
        tables[key] = convert.section(value, kind, (name, key))
    return tables


def _not_toml(message: str, text: str, file: Path | str) -> ProjectFileError:
    found = _TOML_LINE.search(message)
    line = int(found[1]) if found else text.count("\n") + 1
    reason = _TOML_LINE.sub("", message).removesuffix("(at end of document)").strip()
    return ProjectFileError(
        f"is not TOML: {reason}.", file=file, line=line, hint="Look at this line and the one before."
    )
