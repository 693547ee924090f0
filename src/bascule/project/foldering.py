"""Folders of images, texts or sound: the files become a file set, and a table beside it says what each of them is."""

from __future__ import annotations

import mimetypes
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from bascule.catalog import new_id
from bascule.errors import InputError, NotFound
from bascule.history import Workspace
from bascule.lake.engine import opened
from bascule.lake.filesets import FileSet
from bascule.lake.iceberg import files
from bascule.lake.origins import Gathered, Options, Part
from bascule.lake.origins.origin import named
from bascule.lake.origins.spool import ROWS_AT_ONCE, write_arrow
from bascule.lake.seen import Source
from bascule.lake.sources import Rejected, read_source

SCHEME = "folder://"
PARTS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
PARTS |= dict.fromkeys(("val", "valid", "validation", "dev"), "validation")
NAMES = ("path", "file", "file_name", "filename", "image", "audio", "name")
OWN = ("path", "bytes", "digest", "type")


@dataclass(frozen=True)
class Labels:
    """What is known of files beside themselves.

    Attributes:
        columns: the columns that it gives.
        of: returns their values for a path; None when nothing is known of it.
        unused: what was said of files that are not there; known when all were asked for.
    """

    columns: Mapping[str, pa.DataType]
    of: Callable[[str], Mapping[str, Any] | None]
    unused: Callable[[], list[Rejected]] = list
    manifest: str = ""


def is_folder(source: str) -> bool:
    """Tell whether a source is a folder whose files are the data: `folder://PATH`."""
    return source.startswith(SCHEME)


def gathering(
    workspace: Workspace, table: str, source: str, into: str, options: Options, folder: Path | None, tell: Any
) -> Callable[..., Any]:
    """Return what gives a folder's files as a file set, `files/TABLE`, and the rows that say what each of them is.

    The option `labels` says where labels come from: `folder`, the name of the folder that a file is in (and of one
    named train, test or validation above it, the `split`); a regular expression over the path whose named groups are
    columns; or a manifest, a data file with a column `path`. Without it, the folders' names if there are any.

    Raises:
        NotFound: there is no such folder.
        InputError: an option is wrong.
    """
    root = (folder or Path.cwd()) / source.removeprefix(SCHEME)
    if not root.is_dir():
        raise NotFound("folder", str(root))
    if unknown := sorted(set(options.more) - {"labels"}):
        raise InputError(f"{source} has no option {unknown[0]!r}.", hint="It reads labels.")

    @contextmanager
    def gathered(known: Sequence[Source]) -> Iterator[Gathered]:
        history, branch = workspace.history, f"ingest/{table}-{new_id('b')[-8:]}"
        history.create_branch(branch, history.resolve(into))
        spool = workspace.temporary_folder / f"listing-{uuid.uuid4().hex[:12]}.parquet"
        try:
            FileSet(workspace, table, branch).add(root)
            value = history.get(branch, f"files/{table}")
            paths = [info.path for info in _list(workspace, table, branch)]
            labels = _labels(options.more.get("labels", ""), root, folder or Path.cwd(), paths)
            rejected = _write(workspace, table, branch, labels, spool, tell)
            version = {"files": history.digest(branch, f"files/{table}") or ""}
            digest = named(files.digest(spool), *(str(one) for one in rejected))
            part = Part(spool, digest, f"{root.name}/", source, version, rejected)
            yield Gathered((part,), tuple(known), {}, {f"files/{table}": value})
        finally:
            history.delete_branch(branch, force=True)
            spool.unlink(missing_ok=True)

    return gathered


def _list(workspace: Workspace, table: str, branch: str) -> Iterator[Any]:
    return FileSet(workspace, table, branch).list()


def _write(workspace: Workspace, table: str, branch: str, labels: Labels, spool: Path, tell: Any) -> list[Rejected]:
    columns = {"path": pa.string(), "bytes": pa.int64(), "digest": pa.string(), "type": pa.string(), **labels.columns}
    schema, unlabelled = pa.schema(list(columns.items())), 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal unlabelled
        rows: list[dict[str, Any]] = []
        for info in _list(workspace, table, branch):
            if info.path == labels.manifest:
                continue
            said = labels.of(info.path)
            unlabelled += said is None
            kind = mimetypes.guess_type(info.path)[0]
            rows.append({"path": info.path, "bytes": info.bytes, "digest": info.digest, "type": kind, **(said or {})})
            if len(rows) >= ROWS_AT_ONCE:
                yield pa.RecordBatch.from_pylist(rows, schema=schema)
                rows = []
        if rows:
            yield pa.RecordBatch.from_pylist(rows, schema=schema)

    write_arrow(batches(), schema, spool)
    if unlabelled and labels.columns:
        tell(f"{unlabelled:,} files have no label")
    return labels.unused()


def _labels(said: str, root: Path, folder: Path, paths: Sequence[str]) -> Labels:
    if not said:
        said = "folder" if any("/" in path for path in paths) else "none"
    if said == "none":
        return Labels({}, lambda path: {})
    if said == "folder":
        return _by_folder(paths)
    for manifest in (root / said, folder / said):
        if manifest.is_file():
            return _by_manifest(manifest, root)
    if "(?P<" in said:
        return _by_pattern(said)
    raise InputError(
        f"labels = {said!r} is neither 'folder' nor 'none', no file, and has no named group.",
        hint="Give a manifest such as labels.csv, or a pattern such as '(?P<label>[a-z]+)_\\d+'.",
    )


def _by_folder(paths: Sequence[str]) -> Labels:
    tops = {path.partition("/")[0] for path in paths if "/" in path}
    split = bool(tops) and tops <= set(PARTS)
    columns = {"label": pa.string(), **({"split": pa.string()} if split else {})}

    def of(path: str) -> dict[str, Any] | None:
        above = PurePosixPath(path).parts[:-1]
        parts = {"split": PARTS[above[0]]} if split and above else {}
        rest = above[1:] if split else above
        return {"label": rest[-1], **parts} if rest else parts or None

    return Labels(columns, of)


def _by_pattern(said: str) -> Labels:
    try:
        pattern = re.compile(said)
    except re.error as error:
        raise InputError(f"labels = {said!r} is no regular expression: {error}.", hint="Repair it.") from error
    if own := sorted(set(pattern.groupindex) & set(OWN)):
        raise InputError(f"A group of labels is named {own[0]!r}, as a column of ours.", hint="Name it differently.")

    def of(path: str) -> dict[str, Any] | None:
        found = pattern.search(path)
        return found.groupdict() if found else None

    return Labels(dict.fromkeys(pattern.groupindex, pa.string()), of)


def _by_manifest(path: Path, root: Path) -> Labels:
    with opened() as connection:
        table = connection.sql(f"FROM {read_source(path, connection).relation}").to_arrow_table()
    name = next((one for wanted in NAMES for one in table.column_names if one.casefold() == wanted), None)
    if name is None:
        raise InputError(f"{path} has no column that names files.", hint=f"Call it {', '.join(NAMES[:4])}.")
    columns = {one.name: one.type for one in table.schema if one.name != name}
    if own := sorted(set(columns) & set(OWN)):
        raise InputError(f"{path} has a column {own[0]!r}, as ours is called.", hint="Rename it.")
    rows: dict[str, tuple[int, dict[str, Any]]] = {}
    for line, row in enumerate(table.to_pylist(), 2):
        key = str(row.pop(name) or "").removeprefix("./")
        if key in rows:
            raise InputError(f"{path}:{line}: {key!r} is there twice, first in row {rows[key][0]}.", hint="Repair it.")
        rows[key] = (line, row)
    used: set[str] = set()

    def of(file: str) -> dict[str, Any] | None:
        used.add(file)
        return rows[file][1] if file in rows else None

    def unused() -> list[Rejected]:
        gone = [(line, key) for key, (line, _) in rows.items() if key not in used]
        return [Rejected(path.name, line, f"there is no file {key!r} in the folder.", key) for line, key in gone]

    inside = path.relative_to(root).as_posix() if path.is_relative_to(root) else ""
    return Labels(columns, of, unused, inside)
