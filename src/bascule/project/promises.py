"""The contracts that a project's files promise, as the objects that the history holds."""

from __future__ import annotations

from bascule.contracts import Contract
from bascule.errors import ProjectFileError
from bascule.history.commits import Object
from bascule.project.file import ProjectFile


def contract_of(project: ProjectFile, table: str) -> Object | None:
    """Return the contract of a table; None when the project has none for it.

    Raises:
        ProjectFileError, InputError: its file is missing or says something that cannot be.
    """
    settings = project.contract.get(table)
    return promise(project, ("contract", table, "file"), table, settings.file) if settings is not None else None


def promise(project: ProjectFile, key: tuple[str, ...], subject: str, file: str) -> Object:
    """Return the contract that a file holds for a table or a view.

    Args:
        key: where the project file names it.

    Raises:
        ProjectFileError, InputError: the file is missing or says something that cannot be.
    """
    path = project.path(file)
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise project.problem(key, f"there is no file {file}.") from None
    except UnicodeDecodeError as error:
        raise ProjectFileError(
            f"is not UTF-8 text (byte {error.start}).", file=path, hint="Save the file as UTF-8 text."
        ) from None
    Contract.parse(text, file=file)
    return {"kind": "contract", "table": subject, "text": text, "file": file}
