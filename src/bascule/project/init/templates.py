"""Projects that come with Bascule and are copied by `bascule init --template NAME`."""

from __future__ import annotations

from pathlib import Path

from bascule.errors import AlreadyExists, NotFound
from bascule.project.file import FILE_NAME
from bascule.project.init.project import write_files
from bascule.project.init.report import InitReport

_HERE = Path(__file__).resolve()
#: In a wheel the examples lie beside the code; in a checkout they are where people look for them.
FOLDERS = (_HERE.parents[1] / "templates", _HERE.parents[4] / "examples")
_NO_TEXT = {"data", "__pycache__", ".bascule"}


def templates() -> dict[str, Path]:
    """Return the folders of the templates, by name."""
    found: dict[str, Path] = {}
    for folder in FOLDERS:
        if folder.is_dir():
            for one in sorted(folder.iterdir()):
                if (one / FILE_NAME).is_file():
                    found.setdefault(one.name, one)
    return found


def copy_template(name: str, into: Path | str) -> InitReport:
    """Write the files of a template into a folder; all or none.

    Raises:
        NotFound: there is no such template.
        AlreadyExists: one of its files exists in the folder.
    """
    known = templates()
    if name not in known:
        raise NotFound("template", name, known)
    target, source = Path(into), known[name]
    if (target / FILE_NAME).exists():
        raise AlreadyExists("project", str(target / FILE_NAME), hint="Choose another folder, or move it away.")
    files = {
        one.relative_to(source).as_posix(): one.read_text("utf-8")
        for one in sorted(source.rglob("*"))
        if one.is_file() and not _NO_TEXT & set(one.relative_to(source).parts)
    }
    written = write_files(target, {FILE_NAME: files.pop(FILE_NAME), **files})
    first = ("python data.py",) if "data.py" in files else ()
    return InitReport(target, written, first=first)
