"""CSV and TSV files: strict, with types taken from every value and not from a sample."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path

import duckdb

from bascule.errors import InputError
from bascule.lake import engine
from bascule.lake.iceberg.types import literal, quoted
from bascule.lake.sources import digits, moments, text
from bascule.lake.sources.conversions import (
    FLOATING,
    MOMENTS,
    NAIVE,
    WHOLE,
    ZONED,
    Conversion,
    convert,
    convert_written,
)
from bascule.lake.sources.moments import Format, Written
from bascule.lake.sources.quarantine import Rejected, bounded
from bascule.lake.sources.rejects import by_line, reason, refuse_rejected, take_rejected
from bascule.lake.sources.text import Head

_COMMA_NUMBER = re.compile(r"^\s*(NA|[+-]?[\d.,]+([eE][+-]?\d+)?)\s*$")
_GROUPED = r"'[+-]?[1-9]\d{0,2}(,\d{3})+'"
ISO = ("", "%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True, slots=True)
class CsvFile:
    """One CSV file, looked through once: its head, and the type that all of a column's values have.

    Attributes:
        decimal: what stands before the decimals of a number: a point or a comma.
        written: columns that hold texts which look like moments, and how these may be written.
        formats: how they are read.
        sample: how many rows it was looked through for; 0 for all.
        commas: a column of texts may be one of numbers with decimal commas.
    """

    path: Path
    head: Head
    types: Mapping[str, str]
    null_values: tuple[str, ...]
    decimal: str = "."
    written: Mapping[str, Written] = field(default_factory=dict)
    formats: Mapping[str, Format] = field(default_factory=dict)
    sample: int = 0
    commas: bool = False

    @property
    def is_doubtful(self) -> bool:
        """Whether a sample leaves open how numbers or moments are written: only all values can say."""
        return self.commas or self.decimal != "." or bool(self.written)

    def texts(self) -> CsvFile:
        """Return the file with all columns as texts."""
        return replace(self, types=dict.fromkeys(self.names, "VARCHAR"), written={}, formats={})

    def relation(self, columns: Sequence[Conversion], rejects: str = "", *, aside: bool = False) -> str:
        """Return SQL for FROM that reads the columns, in their order.

        Args:
            rejects: keep what cannot be read in the connection's temporary table of this name, instead of failing.
            aside: leave out, without a limit, lines that cannot be read and rows with a value that would change.
        """
        named = {c.name.casefold(): c for c in columns}
        read = [(name, named[name.casefold()].read if name.casefold() in named else "VARCHAR") for name in self.names]
        listed = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in read)
        options = [self._options(), "auto_detect = false", f"columns = {{{listed}}}"]
        if rejects:
            limit = 0 if aside else 100
            options.append(f"store_rejects = true, rejects_limit = {limit}, rejects_table = {literal(rejects)}")
            options.append(f"rejects_scan = {literal(rejects + '_scans')}")
        chosen = ", ".join(f"{c.expression if aside else c.checked} AS {quoted(c.name)}" for c in columns)
        held = without_lossy(columns) if aside else ""
        return f"(SELECT {chosen} FROM read_csv({literal(str(self.path))}, {', '.join(options)}){held})"

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names in order."""
        return self.head.columns

    def conversions(self, wanted: Mapping[str, str]) -> list[Conversion]:
        """Return how to read each column, as the type wanted for its name or else as what it is."""
        return [self._conversion(name, wanted.get(name.casefold(), self.types[name])) for name in self.names]

    def _conversion(self, name: str, wanted: str) -> Conversion:
        if name in self.formats and wanted in MOMENTS:
            return convert_written(name, self.formats[name], wanted)
        return convert(name, self.types[name], wanted, from_text=True, decimal=self.decimal)

    def reading(self, orders: Mapping[str, str]) -> CsvFile:
        """Return the file with its moments read, by column in lower case, with the day or the month first."""
        formats = {name: how.read_as(orders.get(name.casefold(), "")) for name, how in self.written.items()}
        # What is not whole is used to name the values that do not fit; ISO 8601 is read by DuckDB, with its offsets.
        kept = {name: one for name, one in formats.items() if self.written[name].whole or not one.is_iso}
        types = {name: formats[name].type for name, how in self.written.items() if how.whole}
        return replace(self, formats=kept, types={**self.types, **types})

    def numbers(self, names: Sequence[str]) -> str:
        """Return text for FROM with some columns of numbers as texts that have decimal points."""
        listed = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in self.names)
        chosen = ", ".join(f"replace({quoted(name)}, ',', '.') AS {quoted(name)}" for name in names)
        shown = chosen if self.decimal == "," else ", ".join(quoted(name) for name in names)
        options = f"{_options(self.head, self.null_values)}, auto_detect = false, columns = {{{listed}}}"
        read = f"read_csv({literal(str(self.path))}, {options}, ignore_errors = true)"
        return f"(SELECT {shown} FROM {sampled(read, self.sample)})"

    def _options(self) -> str:
        return _options(self.head, self.null_values, self.decimal)


def look(connection: duckdb.DuckDBPyConnection, path: Path, null_values: tuple[str, ...], sample: int = 0) -> CsvFile:
    """Look a CSV file through.

    Args:
        sample: look at so many rows only: what is found is a guess then. 0 for all.

    Raises:
        InputError: when it is empty, not UTF-8, has no usable header, or cannot be cut into fields at all.
    """
    head = text.read_head(path)
    found = _sniffed(connection, path, head, null_values, ".", sample)
    decimal, turned = ".", []
    texts = [place for place, kind in enumerate(found.kinds) if kind == "VARCHAR"]
    if any(_may_have_commas(values) for values in text.first_values(path, head, texts)):
        other = _sniffed(connection, path, head, null_values, ",", sample)
        pairs = zip(head.columns, found.kinds, other.kinds, strict=True)
        turned = [name for name, a, b in pairs if (a, b) == ("VARCHAR", "DOUBLE")]
        plain = CsvFile(path, head, dict.fromkeys(head.columns, "VARCHAR"), null_values, sample=sample)
        if _is_better(found.kinds, other.kinds) and (head.delimiter != "," or _are_decimals(connection, plain, turned)):
            found, decimal = other, ","
    types = dict(zip(head.columns, found.kinds, strict=True))
    file = CsvFile(path, head, types, null_values, decimal, sample=sample, commas=bool(turned))
    doubles = [name for name, kind in types.items() if kind == "DOUBLE"]
    types |= digits.decimals(connection, file.numbers(doubles), doubles)
    return _with_moments(connection, replace(file, types=types), found)


def without_lossy(columns: Sequence[Conversion]) -> str:
    """Return the WHERE that leaves out rows with a value that its wanted type does not hold."""
    tests = " OR ".join(f"({test})" for c in columns for test in (c.lossy, c.refused) if test)
    return f" WHERE NOT coalesce({tests}, false)" if tests else ""


def without_values(connection: duckdb.DuckDBPyConnection, file: CsvFile) -> set[str]:
    """Return the columns that look like texts because the sample has no value of them."""
    names = [name for name, kind in file.types.items() if kind == "VARCHAR"]
    if not names:
        return set()
    rows = sampled(file.texts().relation(file.texts().conversions({})), file.sample)
    counts = connection.execute(f"SELECT {', '.join(f'count({quoted(name)})' for name in names)} FROM {rows}")
    return {name for name, count in zip(names, counts.fetchall()[0], strict=True) if not count}


def sampled(relation: str, rows: int) -> str:
    """Return text for FROM with the first rows of a relation; with all of them for 0."""
    return f"(SELECT * FROM {relation} LIMIT {rows})" if rows else relation


@dataclass(frozen=True, slots=True)
class _Sniffed:
    """What DuckDB says of a file: the type of each column by all of its values, and how its moments are written."""

    kinds: list[str]
    formats: Mapping[str, str]


def _with_moments(connection: duckdb.DuckDBPyConnection, file: CsvFile, sniffed: _Sniffed) -> CsvFile:
    """Return the file with what its texts, and the moments that DuckDB reads by a format of its own, may be."""
    guessed = {name: sniffed.formats[kind] for name, kind in file.types.items() if sniffed.formats.get(kind)}
    texts = [name for name, kind in file.types.items() if kind == "VARCHAR" or name in guessed]
    listed = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in file.names)
    options = f"{_options(file.head, file.null_values)}, auto_detect = false, columns = {{{listed}}}"
    relation = sampled(f"read_csv({literal(str(file.path))}, {options}, ignore_errors = true)", file.sample)
    written = moments.find(connection, relation, texts)
    for name, guess in guessed.items():
        if name not in written or not written[name].whole:
            written[name] = Written({Format(guess): 1}, 1)
    # Where DuckDB reads times by a format of its own, it takes those in ISO 8601 to have offsets.
    zoned = [name for name, kind in file.types.items() if kind == ZONED and NAIVE in sniffed.formats]
    naive = {name: NAIVE for name in zoned if not moments.has_offsets(connection, relation, name)}
    return replace(file, written=written, types={**file.types, **naive}).reading({})


# The types that a column of texts may nearly have, narrowest first, with the SQL that tells a value of it.
_NEARLY = (
    ("BIGINT", "regexp_full_match({0}, '[+-]?(0|[1-9][0-9]*)') AND TRY_CAST({0} AS BIGINT) IS NOT NULL"),
    ("DOUBLE", "NOT regexp_matches({0}, '^[+-]?0[0-9]') AND TRY_CAST({0} AS DOUBLE) IS NOT NULL"),
    ("DATE", "regexp_full_match({0}, '\\d{{4}}-\\d\\d-\\d\\d') AND TRY_CAST({0} AS DATE) IS NOT NULL"),
    (NAIVE, "NOT regexp_matches({0}, '(Z|[+-]\\d\\d:?\\d*)$') AND TRY_CAST({0} AS TIMESTAMP) IS NOT NULL"),
    (ZONED, "TRY_CAST({0} AS TIMESTAMPTZ) IS NOT NULL"),
)


def nearly(connection: duckdb.DuckDBPyConnection, file: CsvFile, share: float) -> CsvFile:
    """Return a file whose columns of texts have the types that all but a share of their values have.

    The values that have another are set aside when the file is read.
    """
    texts = [name for name, kind in file.types.items() if kind == "VARCHAR" and name not in file.formats]
    if not share or not texts:
        return file
    tests = [f"count(*) FILTER ({how.format(quoted(name))})" for name in texts for _, how in _NEARLY]
    filled = [f"count({quoted(name)})" for name in texts]
    plain = replace(file, types=dict.fromkeys(file.names, "VARCHAR"), decimal=".")
    query = f"SELECT {', '.join(filled + tests)} FROM {plain.relation(plain.conversions({}), 'nearly', aside=True)}"
    counts = connection.execute(query).fetchall()[0]
    take_rejected(connection, "nearly")
    found: dict[str, str] = {}
    for place, name in enumerate(texts):
        fitting = counts[len(texts) + place * len(_NEARLY) :][: len(_NEARLY)]
        least = counts[place] * (1 - share)
        kinds = [kind for (kind, _), count in zip(_NEARLY, fitting, strict=True) if count and count >= least]
        found |= {name: kinds[0]} if kinds else {}
    written = {name: how for name, how in file.written.items() if name not in found}
    return replace(file, types={**file.types, **found}, written=written)


def _sniffed(
    connection: duckdb.DuckDBPyConnection, path: Path, head: Head, null_values: tuple[str, ...], decimal: str, rows: int
) -> _Sniffed:
    options = f"{_options(head, null_values, decimal)}, ignore_errors = true, sample_size = {rows or -1}"
    try:
        told = connection.sql(f"SELECT * FROM sniff_csv({literal(str(path))}, {options})").to_arrow_table().to_pylist()
    except duckdb.Error as error:
        raise _unreadable(connection, path, head, null_values, error) from error
    # Whole numbers of any length are a type of DuckDB's own.
    kinds = ["VARCHAR" if column["type"] == "BIGNUM" else column["type"] for column in told[0]["Columns"]]
    if len(kinds) != len(head.columns):
        raise InputError(
            f"{path}: the header names {len(head.columns)} columns, the rows have {len(kinds)}.",
            hint="Check the delimiter and the quotes in the first lines.",
        )
    formats = {"DATE": told[0]["DateFormat"] or "", "TIMESTAMP": told[0]["TimestampFormat"] or ""}
    return _Sniffed(kinds, {kind: how for kind, how in formats.items() if how not in ISO})


def _may_have_commas(values: Sequence[str]) -> bool:
    """Tell whether the first values of a column of texts leave it open that all are numbers with decimal commas.

    One that is none decides it: the file need not be read again for this column's sake.
    """
    return all(_COMMA_NUMBER.match(value) for value in values if value.strip())


def _is_better(kinds: Sequence[str], others: Sequence[str]) -> bool:
    """Tell whether decimal commas make numbers out of texts, and texts out of no numbers."""
    pairs = list(zip(kinds, others, strict=True))
    return any(a == "VARCHAR" and b == "DOUBLE" for a, b in pairs) and not any(
        a == "DOUBLE" and b != "DOUBLE" for a, b in pairs
    )


def _are_decimals(connection: duckdb.DuckDBPyConnection, file: CsvFile, columns: Sequence[str]) -> bool:
    """Tell whether the commas in each column stand before decimals: `1,234` alone could be a thousand and more.

    Where commas part the fields too, a comma inside of quotes is as often one that groups thousands.
    """
    tests = ", ".join(
        f"count(*) FILTER (contains({quoted(name)}, ',') AND NOT regexp_full_match({quoted(name)}, {_GROUPED}))"
        for name in columns
    )
    rows = sampled(file.relation(file.conversions({})), file.sample)
    return all(connection.execute(f"SELECT {tests} FROM {rows}").fetchall()[0])


def set_aside(
    connection: duckdb.DuckDBPyConnection, file: CsvFile, columns: Sequence[Conversion], rejects: str, name: str
) -> list[Rejected]:
    """Return the records of a file that were left out when it was read, one for each line.

    Args:
        name: what the file is called.
    """
    types = {c.name: c.wanted for c in columns}
    rows = {row["line_byte_position"]: row for row in by_line(take_rejected(connection, rejects))}
    lines = text.lines_at(file.path, [position - 1 for position in sorted(rows)])
    found = {
        line: Rejected(name, line, reason(row, types), bounded(row["csv_line"]), row["column_name"] or "")
        for line, row in zip(lines, (rows[position] for position in sorted(rows)), strict=True)
    }
    found |= {line: one for line, one in _lossy_rows(connection, file, columns, name) if line not in found}
    return [found[line] for line in sorted(found)]


def _lossy_rows(
    connection: duckdb.DuckDBPyConnection, file: CsvFile, columns: Sequence[Conversion], name: str
) -> Iterator[tuple[int, Rejected]]:
    risky = [c for c in columns if c.lossy or c.refused]
    if not risky:
        return
    raw = [Conversion(c.name, c.read, c.read, quoted(c.name)) for c in columns]
    tests = ", ".join(f"count(*) FILTER ({c.lossy or c.refused})" for c in risky)
    counts = connection.execute(f"SELECT {tests} FROM {file.relation(raw, 'lossy', aside=True)}").fetchall()[0]
    take_rejected(connection, "lossy")
    places = [known.casefold() for known in file.names]
    wrong = {places.index(c.name.casefold()): c for c, count in zip(risky, counts, strict=True) if count}

    def bad(place: int, value: str) -> bool:
        return _does_not_fit(value, wrong[place], file.null_values)

    for line, place, value, row in text.rows_where(file.path, file.head, list(wrong), bad) if wrong else ():
        column = wrong[place]
        why = f"column {column.name!r} is {column.wanted} and cannot hold {value[:200]!r}."
        yield line, Rejected(name, line, why, bounded(file.head.delimiter.join(row)), column.name)


def refuse_lossy(connection: duckdb.DuckDBPyConnection, file: CsvFile, columns: Sequence[Conversion]) -> None:
    """Raise `InputError` when a column of a file holds a value that its wanted type does not."""
    risky = [c for c in columns if c.lossy]
    if not risky:
        return
    raw = [Conversion(c.name, c.read, c.read, quoted(c.name)) for c in columns]
    tests = ", ".join(f"count(*) FILTER ({c.lossy})" for c in risky)
    # All columns are counted too: DuckDB names the wrong column of a rejected line when it reads only some.
    every = ", ".join(f"count({quoted(c.name)})" for c in columns)
    counts = connection.execute(f"SELECT {tests}, {every} FROM {file.relation(raw, 'lossy')}").fetchall()[0]
    refuse_rejected(connection, "lossy", {c.name: c.wanted for c in columns})
    for column, count in zip(risky, counts, strict=False):
        if count:
            raise _lossy(file, column, int(count))


def unfit(file: CsvFile, column: Conversion) -> InputError | None:
    """Return the error for a value that is refused as it is read, when this file has one."""
    index = [name.casefold() for name in file.names].index(column.name.casefold())
    found = text.first_value(file.path, file.head, index, lambda value: _does_not_fit(value, column, file.null_values))
    return _lossy(file, column, 1) if found else None


def _lossy(file: CsvFile, column: Conversion, count: int) -> InputError:
    index = [name.casefold() for name in file.names].index(column.name.casefold())
    found = text.first_value(file.path, file.head, index, lambda value: _does_not_fit(value, column, file.null_values))
    line, value = found or (0, "a value")
    more = f" ({count - 1} more like it)" if count > 1 else ""
    hint = "If the column's meaning changed, give it a new name; if the file is wrong, repair it."
    if column.format is not None:
        first = {moments.DAY_FIRST: ", with the day first", moments.MONTH_FIRST: ", with the month first"}
        how = f"{column.format.text}{first.get(column.format.order, '')}"
        hint = f"Its moments are read as {how}. Every one of a table is read in one order, which `dates` may set."
    return InputError(
        f"{file.path}:{line}: column {column.name!r} is {column.wanted} and cannot hold {value!r}{more}.", hint=hint
    )


def _does_not_fit(value: str, column: Conversion, null_values: tuple[str, ...]) -> bool:
    if value in null_values:
        return False
    if column.format is not None and not column.format.reads(value):
        return True
    if column.wanted in MOMENTS:
        clock = re.search(r"(\d\d):(\d\d)(?::(\d\d(?:\.\d+)?))?", value)
        return column.wanted == "DATE" and clock is not None and any(float(part or 0) for part in clock.groups())
    try:
        if column.wanted in FLOATING:
            return math.isinf(float(value.replace(",", ".")))
        number = Decimal(value.replace(",", ".") if column.wanted.startswith("DECIMAL") else value)
        if column.wanted in WHOLE:
            return number != number.to_integral_value()
        scale = int(column.wanted.rstrip(")").rpartition(",")[2])
        most = 10 ** (int(column.wanted.partition("(")[2].partition(",")[0]) - scale)
        return abs(number) >= most or number != number.quantize(Decimal(1).scaleb(-scale))
    except (InvalidOperation, OverflowError, ValueError):
        return True


def _options(head: Head, null_values: tuple[str, ...], decimal: str = ".") -> str:
    nulls = ", ".join(literal(value) for value in null_values)
    return (
        f"delim = {literal(head.delimiter)}, quote = '\"', escape = '\"', header = true, skip = 0, "
        f"nullstr = [{nulls}], allow_quoted_nulls = false, strict_mode = true, null_padding = false, "
        f"decimal_separator = {literal(decimal)}"
    )


def _unreadable(
    connection: duckdb.DuckDBPyConnection, path: Path, head: Head, null_values: tuple[str, ...], error: duckdb.Error
) -> InputError:
    # Read as text alone, the lines that are wrong can be named.
    file = CsvFile(path, head, dict.fromkeys(head.columns, "VARCHAR"), null_values)
    try:
        connection.execute(
            f"SELECT count(COLUMNS(*)) FROM {file.relation(file.conversions({}), 'unreadable')}"
        ).fetchall()
        refuse_rejected(connection, "unreadable", {})
    except InputError as found:
        return found
    except duckdb.Error as second:
        error = second
    if text.first_not_utf8(path):
        return text.not_utf8(path)
    if other := text.first_other_ending(path):
        return InputError(
            f"{path}:{other}: this line does not end as the first one does: some end with CR LF, some with LF.",
            hint="Make them one, for example: sed 's/\\r$//' OLD > NEW",
        )
    return InputError(
        f"{path} cannot be read as CSV: {engine.message(error).splitlines()[0]}",
        hint="Look at the file's separators and quotes; a field with a line break needs quotes.",
    )
