"""Which tables a folder holds: one for each file, or one for each group of files that belong together."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from bascule.errors import InputError
from bascule.lake.origins.local import CONVERTED
from bascule.lake.sources.discovery import FORMATS

TABLES = (*FORMATS, *CONVERTED)
IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff")
TEXTS = (".txt", ".md", ".html", ".pdf")
_DATED = re.compile(r"(?:[-_. ]*(?:part|batch|chunk|page)?[-_. ]*\d+[a-z]?)+$", re.IGNORECASE)
_PARTITION = re.compile(r"\d+|[A-Za-z_]\w*=.*")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_]+")


@dataclass(frozen=True)
class FileGroup:
    """The files of one table.

    Attributes:
        name: the table's name.
        files: the files, in order.
        pattern: what matches exactly these files, relative to the folder.
    """

    name: str
    files: tuple[Path, ...]
    pattern: str


@dataclass(frozen=True)
class Folder:
    """What a folder holds: its tables, and how many files of kinds that are no tables."""

    root: Path
    groups: tuple[FileGroup, ...]
    images: int
    texts: int


def look(path: Path) -> Folder:
    """Find the tables in a folder, or in the folder of one file.

    Files of one folder and format whose names differ in a number or a date only and whose columns are equal are batches
    of one table. Hidden files are left alone.

    Raises:
        InputError: there is no such folder, it holds no table, or a file is empty.
    """
    if not path.exists():
        raise InputError(
            f"There is no folder {path}.", hint="Give the folder that holds your CSV, Parquet or JSON files."
        )
    root = path if path.is_dir() else path.parent
    files = [path] if path.is_file() else _files(path)
    if not files:
        raise InputError(f"The folder {path} is empty.", hint="Put CSV, Parquet or JSON files into it.")
    tables = [one for one in files if _format(one)]
    images, texts = (sum(one.suffix.lower() in suffixes for one in files) for suffixes in (IMAGES, TEXTS))
    if not tables:
        raise _no_tables(path, files, images, texts)
    empty = next((one for one in tables if one.stat().st_size == 0), None)
    if empty:
        raise InputError(f"The file {empty} is empty.", hint="Remove it, or write it again with at least a header.")
    return Folder(root, tuple(_named(root, _grouped(root, tables), whole=path.is_dir())), images, texts)


def tidy_name(text: str) -> str:
    """Return a text as a name: letters, digits and underscores, starting with a letter."""
    name = _NOT_IN_A_NAME.sub("_", text).strip("_") or "data"
    return name if name[0].isalpha() else f"t_{name}"


def _files(folder: Path) -> list[Path]:
    return sorted(
        one
        for one in folder.rglob("*")
        if one.is_file() and not any(part.startswith((".", "_")) for part in one.relative_to(folder).parts)
    )


def _format(file: Path) -> str:
    suffixes = [one.lower() for one in file.suffixes]
    plain = suffixes[:-1] if suffixes and suffixes[-1] in (".gz", ".zst") else suffixes
    return plain[-1] if plain and plain[-1] in TABLES else ""


def _grouped(root: Path, files: list[Path]) -> list[list[Path]]:
    """Put batches of one table together; a file without fellows stays alone."""
    alike: dict[tuple[Path, str, str], list[Path]] = {}
    for file in files:
        alike.setdefault((_logical_folder(root, file), _format(file), _undated(file)), []).append(file)
    groups: list[list[Path]] = []
    for fellows in alike.values():
        by_columns: dict[object, list[Path]] = {}
        for file in fellows if len(fellows) > 1 else ():
            by_columns.setdefault(_columns(file), []).append(file)
        groups += by_columns.values() if len(by_columns) == 1 else [[file] for file in fellows]
    return groups


def _logical_folder(root: Path, file: Path) -> Path:
    """Return the folder of a file without partition folders such as `2013` or `month=01`."""
    folder = file.parent
    while folder != root and _PARTITION.fullmatch(folder.name):
        folder = folder.parent
    return folder


def _stem(file: Path) -> str:
    return file.name[: file.name.lower().index(_format(file))]


def _undated(file: Path) -> str:
    stem = _DATED.sub("", _stem(file))
    return "" if stem.lower() in ("part", "data", "batch", "chunk", "page") else stem


def _columns(file: Path) -> object:
    """Return something that is equal for files with equal columns: names for Parquet, the header of a text file."""
    if _format(file) in (".parquet", ".pq"):
        try:
            return tuple(pq.read_schema(file).names)
        except (OSError, ValueError) as error:
            raise InputError(
                f"The file {file} is not Parquet: {error}.", hint="Write it again, or remove it."
            ) from None
    if _format(file) not in (".csv", ".tsv"):
        return ""
    with gzip.open(file) if file.suffix.lower() == ".gz" else file.open("rb") as opened:
        return opened.readline().removeprefix(b"\xef\xbb\xbf").strip()


def _named(root: Path, groups: Iterable[list[Path]], *, whole: bool) -> list[FileGroup]:
    """Give each group a name of its own and the pattern that matches it."""
    named: list[FileGroup] = []
    for files in groups:
        folder = _logical_folder(root, files[0])
        several = len(files) > 1
        name = tidy_name((_undated(files[0]) if several else _stem(files[0])) or folder.resolve().name)
        taken = {one.name.lower() for one in named}  # SQL does not tell `Sales` from `sales`
        if name.lower() in taken:
            name = tidy_name(f"{folder.name}_{name}")
        if name.lower() in taken:
            name = f"{name}_{_format(files[0])[1:]}"
        base, number = name, 2
        while name.lower() in taken:
            name, number = f"{base}_{number}", number + 1
        pattern = _pattern(root, folder, files) if several and whole else files[0].relative_to(root).as_posix()
        named.append(FileGroup(name, tuple(files), pattern))
    return sorted(named, key=lambda one: one.name)


def _pattern(root: Path, folder: Path, files: list[Path]) -> str:
    """Return the simplest pattern that matches the files and nothing else.

    Raises:
        InputError: files of other tables lie in between, so that none does.
    """
    prefix = _undated(files[0])
    suffix = files[0].name[len(_stem(files[0])) :]
    deep = "**/" if any(one.parent != folder for one in files) else ""
    for pattern in (f"{deep}*{suffix}", f"{deep}{prefix}*{suffix}", f"{deep}{prefix}*[0-9]{suffix}"):
        if sorted(one for one in folder.glob(pattern) if one.is_file()) == sorted(files):
            return (folder / pattern).relative_to(root).as_posix()
    raise InputError(
        f"The {len(files)} files named like {files[0].name} look like one table, but other files are named alike.",
        hint=f"Move them into a folder of their own, such as {root / (prefix or 'batches')}/.",
    )


def _no_tables(path: Path, files: list[Path], images: int, texts: int) -> InputError:
    kinds = Counter(one.suffix.lower() or "no suffix" for one in files)
    found = ", ".join(f"{kind} {count:,}" for kind, count in kinds.most_common(5))
    hint = "Give a folder with CSV, TSV, Parquet, JSON, JSON Lines, Avro, Arrow, Excel or ZIP files."
    if images or texts:
        kind = "images" if images >= texts else "texts"
        hint = (
            f"It holds {kind}. A project of {kind} can't be made by looking at the files alone yet: "
            f"add a table that names each file and its label."
        )
    return InputError(f"The folder {path} holds no table: {found}.", hint=hint)
