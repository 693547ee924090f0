"""JSON files: one array of objects, or one object a line."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from bascule.errors import InputError
from bascule.lake import engine
from bascule.lake.iceberg.types import literal, quoted
from bascule.lake.sources import nested, text
from bascule.lake.sources.conversions import Conversion, convert
from bascule.lake.sources.csvfiles import without_lossy
from bascule.lake.sources.quarantine import MOST, Rejected, bounded

LARGEST = "maximum_object_size = 67108864"


@dataclass(frozen=True, slots=True)
class JsonFile:
    """One JSON file, looked through once: its columns with the type that all values have.

    Attributes:
        sifted: what is read in its place: the same without the lines that cannot be read.
        rejected: those lines.
    """

    path: Path
    types: Mapping[str, str]
    sifted: Path | None = None
    rejected: tuple[Rejected, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names in order."""
        return tuple(self.types)

    def conversions(self, wanted: Mapping[str, str]) -> list[Conversion]:
        """Return how to read each column, as the type wanted for its name or else as what it is."""
        return [
            convert(name, kind, wanted.get(name.casefold(), kind), from_text=False) for name, kind in self.types.items()
        ]

    def relation(self, columns: Sequence[Conversion], rejects: str = "", *, aside: bool = False) -> str:
        """Return SQL for FROM that reads the columns, in their order. JSON has no rejects: it fails as a whole.

        Args:
            aside: leave out rows with a value that would change.
        """
        chosen = ", ".join(f"{c.expression if aside else c.checked} AS {quoted(c.name)}" for c in columns)
        listed = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in self.types.items())
        path = literal(str(self.sifted or self.path))
        held = without_lossy(columns) if aside else ""
        return f"(SELECT {chosen} FROM read_json({path}, columns = {{{listed}}}, {LARGEST}){held})"


def look(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    folder: Path | None = None,
    *,
    expected: pa.Schema | None = None,
    share: float = 0.0,
) -> JsonFile:
    """Look a JSON file through.

    Args:
        folder: where the lines that can be read go when some cannot; None when all must.
        expected: the columns of the table that it is for, if that is there.
        share: which part of the records may be of other types than the rest when a table begins.

    Raises:
        InputError: when it is empty, is not JSON, or is not made of objects; with the line where that shows.
    """
    with text.opened(path) as source:
        if not source.read(1 << 16).strip():
            raise InputError(f"{path} is empty.", hint="Give a file with rows.")
    sifted: tuple[Path | None, tuple[Rejected, ...]] = (None, ())
    try:
        described = _described(connection, path)
    except duckdb.Error as error:
        found = _sifted(path, folder) if folder is not None else None
        if found is None:
            raise told(path, error) from error
        sifted = found
        try:
            described = _described(connection, found[0])
        except duckdb.Error as second:
            raise told(path, second) from second
    if described.columns == ["json"] and folder is not None and sifted[0] is None:  # some lines are no objects
        found = _sifted(path, folder)
        if found is not None and found[1]:
            described, sifted = _described(connection, found[0]), found
    if described.columns == ["json"]:
        raise InputError(f"{path} does not hold objects, so it has no columns.", hint='Write rows as {"name": value}.')
    described, sifted = _fitting(connection, path, folder, described, sifted, expected, share)
    # What is of several types is text, as JSON writes it.
    types = {
        name: "VARCHAR" if str(kind) == "JSON" else str(kind)
        for name, kind in zip(described.columns, described.types, strict=True)
    }
    _refuse_hidden(connection, sifted[0] or path, list(types), path)
    return JsonFile(path, types, *sifted)


def _fitting(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    folder: Path | None,
    described: duckdb.DuckDBPyRelation,
    sifted: tuple[Path | None, tuple[Rejected, ...]],
    expected: pa.Schema | None,
    share: float,
) -> tuple[duckdb.DuckDBPyRelation, tuple[Path | None, tuple[Rejected, ...]]]:
    """Leave out the records with a value, within others, of another type than the table's or the other records'.

    Where the types of the columns say that there is none, which is nearly always, nothing is read for it.

    Raises:
        InputError: there is one and none may be left out, or nothing else is there.
    """
    wrong = _finder(connection, sifted[0] or path, described, expected, share if folder is not None else 0.0)
    if wrong is None:
        return described, sifted
    file = JsonFile(path, {}, *sifted)
    clean = (folder or path.parent) / f"{uuid.uuid4().hex}.jsonl"
    places: list[int] = []
    found: list[tuple[nested.Misfit, str]] = []
    with clean.open("w", encoding="utf-8") if folder is not None else nullcontext() as out:
        for place, record in enumerate(_objects(connection, sifted[0] or path), 1):
            misfit = wrong(json.loads(record))
            if misfit is None:
                if out is not None:
                    out.write(f"{' '.join(record.splitlines())}\n")
                continue
            if out is None:
                line = lines_of_rows(file, [place])[0]
                hint = "If the column's meaning changed, give it a new name; if the file is wrong, repair it."
                raise InputError(f"{path}:{line}: {misfit.reason}", hint=hint)
            places.append(place)
            found.append((misfit, record))
    if not found:
        return described, sifted
    lines = lines_of_rows(file, places)
    rejected = [
        Rejected(str(path), line, misfit.reason, bounded(record), misfit.path)
        for line, (misfit, record) in zip(lines, found, strict=True)
    ]
    if not clean.stat().st_size:
        raise InputError(f"{path}: no record can be read; the first: {rejected[0]}", hint="Repair the file.")
    every = sorted((*sifted[1], *rejected), key=lambda one: one.line or 0)
    return _described(connection, clean), (clean, tuple(every))


def _finder(
    connection: duckdb.DuckDBPyConnection,
    read: Path,
    described: duckdb.DuckDBPyRelation,
    expected: pa.Schema | None,
    share: float,
) -> Callable[[Any], nested.Misfit | None] | None:
    """Return what finds a record's value that does not fit; None where the columns' types say that there is none."""
    mixed = {name.casefold() for name, kind in zip(described.columns, described.types, strict=True) if _is_mixed(kind)}
    if expected is None:
        if not mixed or not share:
            return None
        kinds = nested.Kinds()
        for record in _objects(connection, read):
            kinds.add(json.loads(record))
        settled = kinds.settled(share)
        return (lambda record: nested.stranger(record, settled)) if settled else None
    found = {one.name.casefold(): one.type for one in described.to_arrow_table().schema}
    names = {name.casefold(): name for name in described.columns}
    risky = [
        (names[one.name.casefold()], one)
        for one in expected
        if pa.types.is_nested(one.type)
        and one.name.casefold() in found
        and nested.may_misfit(found[one.name.casefold()], one.type)
    ]
    if not risky:
        return None

    def wrong(record: Any) -> nested.Misfit | None:
        for name, one in risky:
            misfit = nested.misfit(record.get(name), one.type, one.name, mixed=name.casefold() in mixed)
            if misfit is not None:
                return misfit
        return None

    return wrong


def _is_mixed(kind: object) -> bool:
    return re.search(r"\bJSON\b", str(kind)) is not None


def _objects(connection: duckdb.DuckDBPyConnection, path: Path) -> Iterator[str]:
    """Iterate over the texts of a file's records."""
    rows = connection.cursor().execute(f"SELECT json::VARCHAR FROM read_json_objects({literal(str(path))}, {LARGEST})")
    while some := rows.fetchmany(10_000):
        yield from (record for (record,) in some)


def _refuse_hidden(connection: duckdb.DuckDBPyConnection, read: Path, names: Sequence[str], path: Path) -> None:
    """Raise `InputError` for fields that only upper and lower case tells apart: DuckDB would lose one of them."""
    for name in names:
        base, _, number = name.rpartition("_")
        twin = next((other for other in names if other.casefold() == base.casefold() and other != base), None)
        if twin is None or not number.isdigit():
            continue
        objects = f"read_json_objects({literal(str(read))}, {LARGEST})"
        found = connection.execute(f"SELECT count(*) FROM {objects} WHERE json_exists(json, ?)", [f'$."{name}"'])
        if not found.fetchall()[0][0]:
            raise InputError(
                f"{path} has the fields {twin!r} and {base!r}, which tables do not tell apart.",
                hint="Give every field a name of its own.",
            )


def set_aside(
    connection: duckdb.DuckDBPyConnection, file: JsonFile, columns: Sequence[Conversion], name: str
) -> list[Rejected]:
    """Return the records of a file that are left out when it is read: lines that are no objects, values that change."""
    found = [replace(one, file=name) for one in file.rejected]
    risky = [c for c in columns if c.lossy or c.refused]
    if not risky:
        return found
    raw = [Conversion(c.name, c.read, c.read, quoted(c.name)) for c in columns]
    which = " ".join(f"WHEN {c.lossy or c.refused} THEN {place}" for place, c in enumerate(risky))
    numbered = f"(SELECT row_number() OVER () AS __row, * FROM {file.relation(raw)})"
    query = f"SELECT __row, CASE {which} END AS __which, * FROM {numbered} WHERE __which IS NOT NULL LIMIT {MOST + 1}"
    rows = connection.sql(query).to_arrow_table().to_pylist()
    lines = lines_of_rows(file, [row.pop("__row") for row in rows])
    for row, line in zip(rows, lines, strict=True):
        column = risky[row.pop("__which")]
        reason = f"column {column.name!r} is {column.wanted} and cannot hold {str(row[column.name])[:200]!r}."
        text_of = json.dumps(row, default=str, ensure_ascii=False)
        found.append(Rejected(name, line, reason, bounded(text_of), column.name))
    return found


def lines_of_rows(file: JsonFile, rows: Sequence[int]) -> list[int]:
    """Return the lines, from 1, of some rows in rising order; of one document the rows themselves."""
    gone, found, left = {one.line for one in file.rejected}, [], list(rows)[::-1]
    row = 0
    with text.opened(file.path) as source:
        for number, line in enumerate(text.lines_of(source), 1):
            words = line.strip().removeprefix(b"\xef\xbb\xbf")
            if not row and words.startswith(b"["):
                return list(_places(gone, rows))
            row += bool(words) and number not in gone
            while left and left[-1] == row:
                found.append(number)
                left.pop()
            if not left:
                break
    return found + left[::-1]


def _places(gone: Collection[int | None], rows: Sequence[int]) -> Iterator[int]:
    """Iterate over the places in a document of rows that are counted without those that were left out."""
    place = row = 0
    for wanted in rows:
        while row < wanted:
            place += 1
            row += place not in gone
        yield place


def _described(connection: duckdb.DuckDBPyConnection, path: Path) -> duckdb.DuckDBPyRelation:
    return connection.sql(f"SELECT * FROM read_json({literal(str(path))}, sample_size = -1, {LARGEST}) LIMIT 0")


def _sifted(path: Path, folder: Path) -> tuple[Path, tuple[Rejected, ...]] | None:
    """Write the lines of a file that are objects to a file of their own; None when it is one document, or has none."""
    rejected: list[Rejected] = []
    clean = folder / f"{uuid.uuid4().hex}.jsonl"
    with text.opened(path) as source, clean.open("wb") as out:
        first = True
        for number, line in enumerate(text.lines_of(source), 1):
            if first and line.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
                return None
            first = first and not line.strip()
            wrong = _wrong(line, number)
            if wrong:
                rejected.append(Rejected(str(path), number, wrong, bounded(line.decode("utf-8", "replace"))))
            elif line.strip():
                out.write(line.rstrip(b"\r\n") + b"\n")
    return (clean, tuple(rejected)) if clean.stat().st_size else None


def _wrong(line: bytes, number: int) -> str:
    try:
        words = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        return "" if not words or isinstance(json.loads(words), dict) else "this is not an object."
    except UnicodeDecodeError as error:
        return f"this is not UTF-8 text (byte 0x{line[error.start : error.start + 1].hex()})."
    except json.JSONDecodeError as error:
        return f"this is not JSON: {error.msg}."
    except RecursionError:
        return "this is nested too deep."


def told(path: Path, error: duckdb.Error) -> InputError:
    """Return the error for a JSON file that cannot be read, with the first line that is wrong."""
    line, what = _first_bad(path)
    if line:
        return InputError(f"{path}:{line}: {what}.", hint="Repair the line; nothing of the file was taken.")
    return InputError(
        f"{path} cannot be read as JSON: {engine.message(error).splitlines()[0]}",
        hint="Write one object a line, or one list of objects.",
    )


def _first_bad(path: Path) -> tuple[int, str]:
    if found := text.first_not_utf8(path):
        return found[0], f"this is not UTF-8 text (byte 0x{found[1].hex()})"
    with text.opened(path) as source:
        whole = source.read().decode("utf-8-sig")
    if whole.lstrip().startswith("["):
        try:
            json.loads(whole)
        except json.JSONDecodeError as error:
            return error.lineno, f"this is not JSON: {error.msg}"
        except RecursionError:
            return 1, "this is nested too deep"
        return 0, ""
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            json.loads(line or "null")
        except json.JSONDecodeError as error:
            return number, f"this is not JSON: {error.msg}"
        except RecursionError:
            return number, "this is nested too deep"
    return 0, ""
