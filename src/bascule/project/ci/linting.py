"""Project files and contracts, held to what they may say; no workspace is needed, and nothing is run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bascule.contracts import Contract
from bascule.contracts.document import parse_document
from bascule.errors import BasculeError, InputError
from bascule.project.file import load_project
from bascule.project.place import PROJECT_FILE, Place


@dataclass(frozen=True)
class Mistake:
    """Something that a file may not say.

    Attributes:
        file: as it was named.
        message: with line and key, where they are known.
        hint: what to do.
    """

    file: str
    message: str
    hint: str

    def text(self) -> str:
        """It in a line or two."""
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


@dataclass(frozen=True)
class Linted:
    """What was looked at, and what is wrong in it."""

    files: tuple[str, ...]
    mistakes: tuple[Mistake, ...]

    def as_dict(self) -> dict[str, Any]:
        """It as one JSON object."""
        found = [{"file": one.file, "message": one.message, "hint": one.hint} for one in self.mistakes]
        return {"files": list(self.files), "mistakes": found}


def lint(place: Place, files: Sequence[Path] = ()) -> Linted:
    """Look at project files and contracts, each by itself, and return every file's first mistake.

    Args:
        place: whose project file and contracts are looked at when no file is named.
        files: project files by their name, all others as contracts.

    Raises:
        NotFound: there is no project, and no file is named.
    """
    chosen = list(files) or list(_of_project(place))
    mistakes: list[Mistake] = []
    for file in chosen:
        try:
            _look(file)
        except BasculeError as error:
            mistakes.append(Mistake(str(file), error.message, error.hint))
    return Linted(tuple(map(str, chosen)), tuple(mistakes))


def _of_project(place: Place) -> Iterator[Path]:
    yield place.folder / PROJECT_FILE
    try:
        settings = place.file
    except BasculeError:  # told of the file itself
        return
    yield from dict.fromkeys(settings.path(one.file) for one in settings.contract.values())


def _look(file: Path) -> None:
    if file.name == PROJECT_FILE:
        load_project(file.parent)
        return
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file} cannot be read as text: {getattr(error, 'strerror', None) or error}", hint="Save it as UTF-8 text."
        ) from error
    schema = parse_document(text, file).get("schema")
    tables = [(one.get("physicalName") or one.require("name")).text() for one in schema.items()] if schema else []
    for table in tables:
        Contract.parse(text, file, table)
    if not tables:
        Contract.parse(text, file)  # says what is missing
