"""Which files a path means, and what format they are in."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
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
NOTHING_MORE: Mapping[str, str] = {}


def find(source: str | Path | Sequence[Path], more: Mapping[str, str] = NOTHING_MORE) -> list[Path]:
    """Return the files of a file path, a folder (what is directly in it) or a glob, sorted by path; or those of a list.

    Args:
        more: formats that are known beside those of this module, by ending.

    Raises:
        NotFound: when there is none, with names nearby.
        InputError: when a file's ending says no known format, or the files are of several.
    """
    if not isinstance(source, str | Path):
        return list(source)
    path = Path(source)
    if path.is_file():
        found = [path]
    elif path.is_dir():
        found = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith(".") and known(p, more))
        if not found:
            raise NotFound("source file", str(source), hint=f"The folder holds none of {_endings(more)}.")
    else:
        found = sorted(Path(p) for p in glob.glob(str(source), recursive=True) if Path(p).is_file())
    if not found:
        raise _nothing(path, more)
    kinds = sorted({format_of(file, more) for file in found})
    if len(kinds) > 1:
        raise InputError(f"{source} holds files of several formats: {', '.join(kinds)}.", hint="Name one: a glob can.")
    return found


def _nothing(path: Path, more: Mapping[str, str]) -> NotFound:
    """Return the error for a source that is not there, with the data files that lie where it was looked for."""
    if not path.parent.is_dir():
        return NotFound("source file", str(path), hint=f"There is no folder {path.parent}.")
    near = [str(path.parent / one.name) for one in path.parent.iterdir() if known(one, more)]
    if not near:
        return NotFound("source file", str(path), hint=f"The folder {path.parent} holds none of {_endings(more)}.")
    return NotFound("source file", str(path), near)


def format_of(path: Path, more: Mapping[str, str] = NOTHING_MORE) -> str:
    """Return `csv`, `parquet` or `json`, or one of more formats, by a file's ending."""
    if not known(path, more):
        raise InputError(f"The ending of {path} says no known format.", hint=f"Known are {_endings(more)}.")
    return FORMATS.get(_ending(path)) or more[path.suffix.lower()]


def known(path: Path, more: Mapping[str, str] = NOTHING_MORE) -> bool:
    """Tell whether a file's ending says a format that can be read."""
    return _ending(path) in FORMATS or path.suffix.lower() in more


def _ending(path: Path) -> str:
    endings = [part.lower() for part in path.suffixes[-2:]]
    if endings and endings[-1] in COMPRESSIONS:
        endings.pop()
    return endings[-1] if endings else ""


def _endings(more: Mapping[str, str] = NOTHING_MORE) -> str:
    return ", ".join((*FORMATS, *more)) + ", also with " + " or ".join(COMPRESSIONS)
