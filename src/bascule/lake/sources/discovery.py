"""Which files a path means, and what format they are in."""

from __future__ import annotations

import glob
from pathlib import Path

from bascule.errors import InputError, NotFound

FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
}
COMPRESSIONS = (".gz", ".zst")


def find(source: str | Path) -> list[Path]:
    """Return the files of a file path, a folder (what is directly in it) or a glob, sorted by path.

    Raises:
        NotFound: when there is none, with names nearby.
        InputError: when a file's ending says no known format, or the files are of several.
    """
    path = Path(source)
    if path.is_file():
        found = [path]
    elif path.is_dir():
        found = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith(".") and known(p))
        if not found:
            raise NotFound("source file", str(source), hint=f"The folder holds none of {_endings()}.")
    else:
        found = sorted(Path(p) for p in glob.glob(str(source), recursive=True) if Path(p).is_file())
    if not found:
        raise _nothing(path)
    kinds = sorted({format_of(file) for file in found})
    if len(kinds) > 1:
        raise InputError(f"{source} holds files of several formats: {', '.join(kinds)}.", hint="Name one: a glob can.")
    return found


def _nothing(path: Path) -> NotFound:
    """Return the error for a source that is not there, with the data files that lie where it was looked for."""
    if not path.parent.is_dir():
        return NotFound("source file", str(path), hint=f"There is no folder {path.parent}.")
    near = [str(path.parent / one.name) for one in path.parent.iterdir() if known(one)]
    if not near:
        return NotFound("source file", str(path), hint=f"The folder {path.parent} holds none of {_endings()}.")
    return NotFound("source file", str(path), near)


def format_of(path: Path) -> str:
    """Return `csv`, `parquet` or `json`, by a file's ending."""
    if not known(path):
        raise InputError(f"The ending of {path} says no known format.", hint=f"Known are {_endings()}.")
    return FORMATS[_ending(path)]


def known(path: Path) -> bool:
    """Tell whether a file's ending says a format that can be read."""
    return _ending(path) in FORMATS


def _ending(path: Path) -> str:
    endings = [part.lower() for part in path.suffixes[-2:]]
    if endings and endings[-1] in COMPRESSIONS:
        endings.pop()
    return endings[-1] if endings else ""


def _endings() -> str:
    return ", ".join(FORMATS) + ", also with " + " or ".join(COMPRESSIONS)
