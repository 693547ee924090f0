"""Reading a source: what it holds, and the SQL text that yields its rows."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa

from bascule.errors import InputError, suggestion
from bascule.lake import engine
from bascule.lake.iceberg.types import literal, primitive_from_arrow, quoted, to_duckdb, unforetold
from bascule.lake.sources import csvfiles, digits, discovery, jsonfiles, moments
from bascule.lake.sources.conversions import UNFIT, Conversion, common, convert
from bascule.lake.sources.csvfiles import CsvFile
from bascule.lake.sources.exact import Exact, exact, schema_of, typed
from bascule.lake.sources.jsonfiles import JsonFile
from bascule.lake.sources.moments import NO_DATES, Dates
from bascule.lake.sources.quarantine import Quarantine, Rejected
from bascule.lake.sources.rejects import refuse_rejected

NULL_VALUES = ("", "NA")
BATCH_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a source, and the DuckDB type that it is read as."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class SourceScan:
    """A source that can be read.

    Attributes:
        relation: SQL text for FROM, in the connection that it was made for.
        format: `csv`, `parquet` or `json`.
        files: where the rows come from.
        columns: what comes.
        rows: how many rows there are; None when they were not counted.
        parts: the same as `relation`, one text for each of `files`.
        rejects: the temporary table that lines which cannot be read go to, when the source was not checked before.
        dates: in which order the days and months of CSV files are read, and what was assumed of it.
        aside: tells which records of a file were left out when it was read, when that is tolerated.
        unfit: returns the error for a column whose value was refused as it was read.
        exact: how the texts that `parts` give become values; empty where they give values.
    """

    relation: str
    format: str
    files: tuple[Path, ...]
    columns: tuple[Column, ...]
    rows: int | None
    parts: tuple[str, ...] = ()
    rejects: str = ""
    dates: Dates = NO_DATES
    aside: Callable[[Path], list[Rejected]] | None = None
    unfit: Callable[[str], InputError] | None = None
    exact: tuple[Sequence[Exact], ...] = ()

    def rows_of(self, connection: duckdb.DuckDBPyConnection, path: Path) -> pa.RecordBatchReader:
        """Read one of the files; to be read within `told`."""
        place = self.files.index(path)
        rows = connection.sql(f"FROM {self.parts[place]}").to_arrow_reader(BATCH_ROWS)
        if not self.exact:
            return rows
        columns = self.exact[place]
        return pa.RecordBatchReader.from_batches(schema_of(columns), typed(rows, columns))

    def schema(self, connection: duckdb.DuckDBPyConnection) -> pa.Schema:
        """The columns and types of the rows."""
        if self.exact:
            return schema_of(self.exact[0])
        return connection.sql(f"FROM {self.relation} LIMIT 0").to_arrow_table().schema

    @contextmanager
    def told(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Read the relation within this block: what goes wrong comes out as `InputError` with file, line and value."""
        names = ", ".join(str(file) for file in self.files[:3])
        with engine.told(f"{names} cannot be read"):
            try:
                yield
            except (duckdb.Error, InputError) as error:
                name = str(error).partition(UNFIT)[2].splitlines()
                if name and self.unfit is not None:
                    raise self.unfit(name[0]) from error
                raise
            if self.rejects and self.aside is None:
                refuse_rejected(connection, self.rejects, {c.name: c.type for c in self.columns})


def read_source(
    source: str | Path | Sequence[Path],
    connection: duckdb.DuckDBPyConnection,
    *,
    expected: pa.Schema | None = None,
    evolve: bool = False,
    null_values: Sequence[str] = NULL_VALUES,
    checked: bool = True,
    dates: str = "",
    known: Mapping[str, str] | None = None,
    quarantine: Quarantine | None = None,
    spool: Path | None = None,
    sample: int = 0,
) -> SourceScan:
    """Look a source through and return how to read it.

    Types are taken from all values of a column, not from a sample: whole numbers, doubles, booleans, dates, timestamps
    (with an offset: in UTC), else text. A column of a CSV file that looks like numbers with leading zeros is text.

    Args:
        source: a file, a folder, a glob or a list of CSV, TSV, Parquet or JSON files of one format.
        connection: one that may read these files, in UTC: `bascule.lake.engine.connect` gives one.
        expected: the columns that must come, with their types; then values are held to those types without loss.
        evolve: let columns be new or missing against `expected`.
        null_values: texts in CSV files that mean "no value" where they are not quoted.
        checked: read everything once, now, so that reading it later cannot fail. Else read it inside `told`.
        dates: `day-first` or `month-first`: how days such as 01/02/2025 are written in CSV files; empty: by the values.
        known: the same by column in lower case, for a source that was read before.
        quarantine: leave records out that cannot be read, rather than fail; `SourceScan.aside` tells them then.
        spool: where parts of files may be written meanwhile; needed with `quarantine`.
        sample: look at so many rows of CSV files only. What is found is a guess then. Where it has `exact`, reading
            raises `Misfit`, or an error, for a row that does not fit, and else gives what a whole look would; where it
            has not, nothing can be told without one.

    Raises:
        NotFound: when there is no such file.
        InputError: for anything in the files that cannot be read rightly: empty, no rows, not UTF-8, ragged lines,
            values that do not fit; with file, line, column and value.
    """
    paths = discovery.find(source)
    kind = discovery.format_of(paths[0])
    if kind == "parquet":
        return _parquet(paths, connection, expected, evolve)
    share = quarantine.share if quarantine and not sample else 0.0
    folder = spool if share else None
    files: list[CsvFile | JsonFile] = [
        csvfiles.look(connection, path, tuple(null_values), sample)
        if kind == "csv"
        else jsonfiles.look(connection, path, folder, expected=expected, share=share)
        for path in paths
    ]
    order = moments.settle([file.written for file in files if isinstance(file, CsvFile)], dates, known)
    files = [file.reading(order.orders) if isinstance(file, CsvFile) else file for file in files]
    if expected is None:
        files = [csvfiles.nearly(connection, file, share) if isinstance(file, CsvFile) else file for file in files]
    scan, strict = _of_files(files, kind, connection, expected, evolve, quarantine if share else None, sample)
    scan = replace(scan, dates=order)
    if not checked:
        return scan
    rows = _check(connection, scan)
    return replace(scan, relation=_union(strict, scan.columns), rows=rows, parts=tuple(strict), rejects="")


def _of_files(
    files: Sequence[CsvFile | JsonFile],
    kind: str,
    connection: duckdb.DuckDBPyConnection,
    expected: pa.Schema | None,
    evolve: bool,
    quarantine: Quarantine | None,
    sample: int,
) -> tuple[SourceScan, list[str]]:
    """Return a scan that keeps what it cannot read, and the same relations failing instead."""
    _same_columns([(file.path, file.names) for file in files])
    if expected is not None:
        compare_columns(str(files[0].path), files[0].names, expected.names, evolve)
    wanted = _wanted(connection, files, expected)
    columns = [file.conversions(wanted) for file in files]
    rejects = f"rejects_{uuid.uuid4().hex[:12]}" if kind == "csv" else ""
    aside = None
    if quarantine is None and not sample:
        for file, conversions in zip(files, columns, strict=True):
            _refuse_lossy(connection, file, conversions)
    elif quarantine is not None:
        aside = partial(_aside, connection, files, columns, rejects, quarantine)
    left = quarantine is not None
    relations = [f.relation(c, rejects, aside=left) for f, c in zip(files, columns, strict=True)]
    found = tuple(Column(c.name, c.wanted) for c in columns[0])
    paths = tuple(file.path for file in files)
    scan = SourceScan(
        _union(relations, found), kind, paths, found, None, tuple(relations), rejects=rejects, aside=aside
    )
    scan = replace(scan, unfit=partial(_unfit, files, columns))
    if sample:
        scan = _exact(connection, scan, files, columns)
    return scan, [f.relation(c) for f, c in zip(files, columns, strict=True)]


def _exact(
    connection: duckdb.DuckDBPyConnection,
    scan: SourceScan,
    files: Sequence[CsvFile | JsonFile],
    columns: Sequence[Sequence[Conversion]],
) -> SourceScan:
    """Return a scan that reads texts, to be turned into values one by one; the same scan where that cannot be."""
    found = []
    for file, conversions in zip(files, columns, strict=True):
        if not isinstance(file, CsvFile) or file.is_doubtful:
            return scan
        how = exact(conversions, file.types, csvfiles.without_values(connection, file))
        if how is None:
            return scan
        found.append(how)
    texts = [f.texts().relation(f.texts().conversions({})) for f in files if isinstance(f, CsvFile)]
    return replace(scan, parts=tuple(texts), rejects="", exact=tuple(found))


def _aside(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[CsvFile | JsonFile],
    columns: Sequence[Sequence[Conversion]],
    rejects: str,
    quarantine: Quarantine,
    path: Path,
) -> list[Rejected]:
    place = [file.path for file in files].index(path)
    file, name = files[place], quarantine.names.get(path, str(path))
    if isinstance(file, CsvFile):
        return csvfiles.set_aside(connection, file, columns[place], rejects, name)
    return jsonfiles.set_aside(connection, file, columns[place], name)


def _unfit(files: Sequence[CsvFile | JsonFile], columns: Sequence[Sequence[Conversion]], name: str) -> InputError:
    for file, conversions in zip(files, columns, strict=True):
        column = next(c for c in conversions if c.name == name)
        if isinstance(file, CsvFile) and (error := csvfiles.unfit(file, column)):
            return error
    return InputError(
        f"{files[0].path}: column {name!r} is DOUBLE and has a number that is larger than any double.",
        hint="If the file is wrong, repair it.",
    )


def compare_columns(where: str, found: Sequence[str], expected: Sequence[str], evolve: bool) -> None:
    """Raise `InputError` when columns are missing or new, unless they may be; a new name is put beside a lost one."""
    known, coming = ({name.casefold() for name in names} for names in (expected, found))
    missing = [name for name in expected if name.casefold() not in coming]
    new = [name for name in found if name.casefold() not in known]
    if evolve or not (missing or new):
        return
    said = [f"lacks {_listed(missing)}"] if missing else []
    said += [f"has the new {_listed(new)}"] if new else []
    near = suggestion(new[0], missing) if new and missing else ""
    hint = (
        f"Was {new[0]!r} renamed? {near}" if near.startswith("Did") else "Let the table's columns change, or repair it."
    )
    raise InputError(f"{where} {' and '.join(said)}.", hint=hint)


def _wanted(
    connection: duckdb.DuckDBPyConnection, files: Sequence[CsvFile | JsonFile], expected: pa.Schema | None
) -> Mapping[str, str]:
    wanted: dict[str, str] = {}
    for name in files[0].names:
        kinds = [(file, _type_of(file, name)) for file in files]
        if len({kind for _, kind in kinds}) > 1:  # a column without any value looks like text: it has no say
            kinds = [(f, kind) for f, kind in kinds if kind != "VARCHAR" or _has_values(connection, f, name)] or kinds
        if any(kind.startswith("DECIMAL") for _, kind in kinds):
            kinds = [(f, _as_decimal(connection, f, name) if kind == "DOUBLE" else kind) for f, kind in kinds]
            if any(kind == "DOUBLE" for _, kind in kinds):
                kinds = [(f, "DOUBLE" if kind.startswith("DECIMAL") else kind) for f, kind in kinds]
        wanted[name.casefold()] = common([kind for _, kind in kinds])
    for field in expected or ():
        if not pa.types.is_nested(field.type):
            wanted[field.name.casefold()] = _long(to_duckdb(primitive_from_arrow(field.type, field.name)))
    return wanted


def _as_decimal(connection: duckdb.DuckDBPyConnection, file: CsvFile | JsonFile, name: str) -> str:
    """Return the decimal type for numbers of a file that look like doubles; that of doubles if none holds all."""
    own = next(known for known in file.names if known.casefold() == name.casefold())
    return (digits.fit(connection, file.numbers([own]), own) if isinstance(file, CsvFile) else "") or "DOUBLE"


def _type_of(file: CsvFile | JsonFile, name: str) -> str:
    return next(kind for known, kind in file.types.items() if known.casefold() == name.casefold())


def _has_values(connection: duckdb.DuckDBPyConnection, file: CsvFile | JsonFile, name: str) -> bool:
    column = convert(name, "VARCHAR", "VARCHAR", from_text=True)
    rows = csvfiles.sampled(file.relation([column]), file.sample if isinstance(file, CsvFile) else 0)
    found = connection.execute(f"SELECT count(*) FROM {rows} WHERE {quoted(name)} IS NOT NULL")
    return bool(found.fetchall()[0][0])


def _long(kind: str) -> str:
    return "TIMESTAMP WITH TIME ZONE" if kind == "TIMESTAMPTZ" else kind


def _refuse_lossy(
    connection: duckdb.DuckDBPyConnection, file: CsvFile | JsonFile, columns: Sequence[Conversion]
) -> None:
    if isinstance(file, CsvFile):
        csvfiles.refuse_lossy(connection, file, columns)
        return
    for column in (c for c in columns if c.lossy):
        raw = [Conversion(c.name, c.read, c.read, quoted(c.name)) for c in columns]
        rows = f"(SELECT row_number() OVER () AS __row, * FROM {file.relation(raw)})"
        query = f"SELECT {quoted(column.name)}::VARCHAR, __row FROM {rows} WHERE {column.lossy} ORDER BY __row LIMIT 1"
        if found := connection.execute(query).fetchall():
            line = jsonfiles.lines_of_rows(file, [found[0][1]])[0]
            raise InputError(
                f"{file.path}:{line}: column {column.name!r} is {column.wanted} and cannot hold {found[0][0]!r}.",
                hint="If the column's meaning changed, give it a new name; if the file is wrong, repair it.",
            )


def _check(connection: duckdb.DuckDBPyConnection, scan: SourceScan) -> int:
    counted = ", ".join(f"count({quoted(column.name)})" for column in scan.columns)
    with scan.told(connection):
        rows = int(connection.execute(f"SELECT count(*), {counted} FROM {scan.relation}").fetchall()[0][0])
    if not rows:
        raise InputError(f"{scan.files[0]} has a header and no rows.", hint="Give a file with rows.")
    return rows


def _parquet(
    paths: Sequence[Path], connection: duckdb.DuckDBPyConnection, expected: pa.Schema | None, evolve: bool
) -> SourceScan:
    described = []
    rows = 0
    for path in paths:
        try:
            relation = connection.sql(f"SELECT * FROM read_parquet({literal(str(path))})")
            described.append((path, tuple(relation.columns), [str(kind) for kind in relation.types]))
            rows += connection.execute(f"SELECT count(*) FROM read_parquet({literal(str(path))})").fetchall()[0][0]
        except duckdb.Error as error:
            raise InputError(
                f"{path} cannot be read as Parquet: {engine.message(error).splitlines()[0]}",
                hint="The file is damaged, or no Parquet file: bring it again, or give it its right ending.",
            ) from error
    _same_columns([(path, names) for path, names, _ in described])
    names = described[0][1]
    if expected is not None:
        compare_columns(str(paths[0]), names, expected.names, evolve)
    if not rows:
        raise InputError(f"{paths[0]} has no rows.", hint="Give a file with rows.")
    kinds = [common([types[file_names.index(name)] for _, file_names, types in described]) for name in names]
    columns = tuple(Column(name, kind) for name, kind in zip(names, kinds, strict=True))
    read = [(quoted(column.name), column.type) for column in columns]
    chosen = ", ".join(f"{unforetold(f'{name}::{kind}', kind)} AS {name}" for name, kind in read)
    parts = [f"(SELECT {chosen} FROM read_parquet({literal(str(path))}))" for path in paths]
    return SourceScan(_union(parts, columns), "parquet", tuple(paths), columns, rows, tuple(parts))


def _same_columns(files: Sequence[tuple[Path, tuple[str, ...]]]) -> None:
    first, names = files[0]
    for path, others in files[1:]:
        if Counter(name.casefold() for name in others) != Counter(name.casefold() for name in names):
            compare_columns(f"{path}, beside {first},", others, names, False)


def _union(relations: Sequence[str], columns: Sequence[Column]) -> str:
    if len(relations) == 1:
        return relations[0]
    names = ", ".join(quoted(column.name) for column in columns)
    return "(" + " UNION ALL ".join(f"SELECT {names} FROM {relation}" for relation in relations) + ")"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:8])
    return f"{'column' if len(names) == 1 else 'columns'} {shown}{', …' if len(names) > 8 else ''}"
