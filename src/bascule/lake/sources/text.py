"""The first lines of a CSV file, read by ourselves: the dialect and the header decide everything after them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from bascule.errors import InputError

DELIMITERS = (",", "\t", ";", "|")
PEEK_BYTES = 1 << 18
PEEK_LINES = 100
_NUMBER = re.compile(r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")


@dataclass(frozen=True, slots=True)
class Head:
    """What the start of a CSV file says: what stands between fields, and the columns' names."""

    delimiter: str
    columns: tuple[str, ...]


def read_head(path: Path) -> Head:
    """Return a CSV file's delimiter and header.

    The delimiter is the one of `,` tab `;` `|` that cuts the header and the lines after it into the same number of
    fields, the greatest such number.

    Raises:
        InputError: when the file is empty, is not UTF-8, or has no usable header.
    """
    with opened(path) as source:
        data = source.read(PEEK_BYTES)
    if not data.strip():
        raise InputError(f"{path} is empty.", hint="Give a file with a header and rows.")
    if len(data) == PEEK_BYTES:
        data = data[: data.rfind(b"\n") + 1] or data
    text = _decoded(data, path)
    first = ("\t", *DELIMITERS) if ".tsv" in path.suffixes else DELIMITERS
    heads = [(_fields(text, delimiter), delimiter) for delimiter in dict.fromkeys(first)]
    score, delimiter = max(heads, key=lambda found: found[0][0])  # the first of equals
    return Head(delimiter, _header(score[1], path))


def opened(path: Path) -> pa.NativeFile:
    """Open a file for reading, decompressed when its ending says that it is compressed."""
    try:
        return pa.input_stream(str(path), compression="detect")
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read: {error}.", hint="Check the file and its rights.") from error


def line_at(path: Path, position: int) -> int:
    """Return the number of the line, from 1, in which a byte position (from 0) of the decompressed file lies.

    Where lines end with CR LF, DuckDB says of a line that it begins at the LF before it: that is the line that follows.
    """
    lines, last = 1, b""
    with opened(path) as source:
        while position > 0 and (chunk := source.read(min(position, 1 << 20))):
            lines += chunk.count(b"\n")
            position, last = position - len(chunk), chunk[-1:]
        return lines + (last == b"\r" and source.read(1) == b"\n")


def lines_at(path: Path, positions: Sequence[int]) -> list[int]:
    """Return what `line_at` does for several positions, which are sorted, in one reading."""
    found: list[int] = []
    lines, begin, last = 1, 0, b""
    with opened(path) as source:
        chunk = source.read(1 << 20)
        for position in positions:
            while chunk and begin + len(chunk) <= position:
                lines, begin, last = lines + chunk.count(b"\n"), begin + len(chunk), chunk[-1:]
                chunk = source.read(1 << 20)
            at = position - begin
            before = chunk[at - 1 : at] if at > 0 else last
            found.append(lines + chunk.count(b"\n", 0, at) + (before == b"\r" and chunk[at : at + 1] == b"\n"))
    return found


def rows_where(
    path: Path, head: Head, places: Sequence[int], test: Callable[[int, str], bool]
) -> Iterator[tuple[int, int, str, list[str]]]:
    """Iterate over the rows with a value for which a test holds: its line, the value's place, the value, the row."""
    csv.field_size_limit(1 << 30)
    with opened(path) as source:
        lines = (line.decode("utf-8", "replace") for line in lines_of(source))
        reader = csv.reader(lines, delimiter=head.delimiter)
        next(reader, None)
        start = reader.line_num + 1
        for row in reader:
            if len(row) == len(head.columns):
                place = next((place for place in places if test(place, row[place])), None)
                if place is not None:
                    yield start, place, row[place], row
            start = reader.line_num + 1


def first_values(path: Path, head: Head, places: Sequence[int]) -> list[list[str]]:
    """Return the values of some columns in the first lines of a file."""
    with opened(path) as source:
        data = source.read(PEEK_BYTES)
    start = data[: data.rfind(b"\n") + 1] or data
    found: list[list[str]] = [[] for _ in places]
    try:
        reader = csv.reader(io.StringIO(start.decode("utf-8-sig", "replace"), newline=""), delimiter=head.delimiter)
        next(reader, None)
        for _, row in zip(range(PEEK_LINES), reader, strict=False):
            for values, place in zip(found, places, strict=True):
                values += row[place : place + 1]
    except csv.Error:
        return [[] for _ in places]
    return found


def first_not_utf8(path: Path) -> tuple[int, bytes] | None:
    """Return the number of the first line that is not UTF-8, and its bytes."""
    with opened(path) as source:
        for number, line in enumerate(lines_of(source), 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return number, line[error.start : error.start + 1]
    return None


def first_other_ending(path: Path) -> int | None:
    """Return the number of the first line that does not end as the first one does, by CR LF or LF; None when all do."""
    with opened(path) as source:
        lines = lines_of(source)
        first = next(lines, b"").endswith(b"\r\n")
        for number, line in enumerate(lines, 2):
            if line.endswith(b"\n") and line.endswith(b"\r\n") != first:
                return number
    return None


def first_value(path: Path, head: Head, column: int, test: Callable[[str], bool]) -> tuple[int, str] | None:
    """Return the line and the text of the first value in a column that a test holds for."""
    with opened(path) as source:
        lines = (line.decode("utf-8", "replace") for line in lines_of(source))
        reader = csv.reader(lines, delimiter=head.delimiter)
        try:
            next(reader, None)
            start = reader.line_num + 1
            for row in reader:
                if len(row) > column and test(row[column]):
                    return start, row[column]
                start = reader.line_num + 1
        except csv.Error:  # a field beyond what the module reads; the caller says what it knows without the line
            return None
    return None


NOT_UTF8 = (
    'Say how it is written: --option encoding=cp1252, or options = { encoding = "cp1252" } under its [source]; '
    "or convert it: iconv -f cp1252 -t utf-8 OLD > NEW"
)


def not_utf8(path: Path) -> InputError:
    """Return the error for a file that is not UTF-8, with the first line that is not."""
    found = first_not_utf8(path)
    where, what = (f"{path}:{found[0]}", f" (byte 0x{found[1].hex()})") if found else (str(path), "")
    return InputError(
        f"{where}: this is not UTF-8 text{what}.",
        hint=NOT_UTF8,
    )


def lines_of(source: pa.NativeFile) -> Iterator[bytes]:
    """Iterate over the lines of an opened file, each with its end."""
    return iter(io.BufferedReader(source))


def _decoded(data: bytes, path: Path) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(data) - error.start > 3:  # else it may only be cut in the middle of a character
            raise not_utf8(path) from error
        return data[: error.start].decode("utf-8-sig")


def _fields(text: str, delimiter: str) -> tuple[tuple[float, int], list[str]]:
    rows = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            if row:
                rows.append(row)
            if len(rows) >= PEEK_LINES:
                break
    except csv.Error:
        return (0, 0), []
    header = rows[0] if rows else []
    agreeing = sum(len(row) == len(header) for row in rows)
    # Half of the rows must agree before their number of fields counts: a comma in a text must not win. Where most have
    # several fields and few agree, the lines are wrong, and not the sign: better than one column by another sign.
    parted = 2 * sum(len(row) > 1 for row in rows[1:]) > len(rows) - 1
    fields = len(header) if agreeing * 2 >= len(rows) else 1.5 if parted and len(header) > 1 else 0
    return (fields, agreeing), header


def _header(cells: list[str], path: Path) -> tuple[str, ...]:
    names = [cell.strip() for cell in cells]
    numbers = [name for name in names if _NUMBER.match(name)]
    if not any(names) or numbers:
        what = f"it begins with {numbers[0]!r}" if numbers else "it is blank"
        raise InputError(
            f"{path}:1: the first line does not name the columns: {what}.",
            hint="Put a line with the columns' names first.",
        )
    if odd := next((name for name in names if any(sign < " " for sign in name)), None):
        raise InputError(
            f"{path}:1: the column name {odd!r} has a sign that is none.",
            hint="If the file is UTF-16, say so: --option encoding=utf-16.",
        )
    names = [name or f"column{number}" for number, name in enumerate(names, 1)]
    seen: dict[str, str] = {}
    for name in names:
        if name.casefold() in seen:
            raise InputError(f"{path}:1: two columns are named {name!r}.", hint="Give every column a name of its own.")
        seen[name.casefold()] = name
    return tuple(names)
