"""Databases by address: PostgreSQL, MySQL, MariaDB and SQLite; whole, or what is beyond the last value of a cursor."""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any, Protocol
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bascule.errors import InputError
from bascule.lake.origins import mysql, postgresql, sqlite
from bascule.lake.origins.origin import Asked, Part, refuse_options
from bascule.lake.origins.rejects import Rejects
from bascule.lake.origins.segments import Segments
from bascule.lake.origins.spool import as_schema, checked_schema, sorted_digest, write_arrow
from bascule.lake.sources import Rejected
from bascule.sizes import format_size

SEGMENT_ROWS = 500_000
_NUMBER = re.compile(r"^-?\d+(\.\d+)?$")
_NAME = re.compile(r"^[\w.$ \"`-]+$")


class Reader(Protocol):
    """A connection that only reads.

    Attributes:
        rejected: the rows of its stream that could not be read, by their places from 1; whoever reads them takes them.
    """

    rejected: Rejects

    def stream(self, query: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """Run a query and return its columns and its rows, which are not held in memory."""

    def expected(self, query: str) -> int:
        """Return about how many rows a query has, as the database's own plan says without running it; 0 if unknown."""

    def value(self, query: str) -> Any:
        """Return the one value of a query."""

    def quoted(self, name: str) -> str:
        """Return a column's name as the database wants it quoted."""


Open = Callable[[Asked], AbstractContextManager[Reader]]
KINDS: dict[str, Open] = {
    "postgresql": postgresql.opened,
    "postgres": postgresql.opened,
    "mysql": mysql.opened,
    "mariadb": mysql.opened,
    "sqlite": sqlite.opened,
}


class Databases:
    """A query over a database, or one of its tables (the option `table`).

    With a cursor, rows come in its order, in segments that stay when the command is killed; the last value is kept with
    the batch. So the next batch begins behind it, on each branch behind what that branch has.
    """

    def versions(self, asked: Asked) -> dict[str, str]:
        """See `Origin`: the greatest value of the cursor; nothing without one."""
        refuse_options(asked, "query", "cursor", "table")
        query = _query(asked)
        if not asked.options.cursor:
            return {}
        if asked.whole:
            raise InputError(
                f"With the cursor {asked.options.cursor!r} only new rows come, which cannot be the whole table.",
                hint='Say mode = "append", or leave the cursor out.',
            )
        with _opened(asked) as reader:
            column = reader.quoted(asked.options.cursor)
            found = reader.value(f"SELECT max({column}) FROM ({query}) AS bascule_rows")
        told = {"query": query, "cursor": asked.options.cursor}
        return {**told, "to": _text(found)} if found is not None else {}

    def parts(self, asked: Asked) -> Iterator[Part]:
        """See `Origin`."""
        if asked.options.cursor:
            yield from _beyond(asked)
            return
        query, path = _query(asked), asked.spool / "rows.parquet"
        with _opened(asked) as reader:
            asked.tell(f"asking {asked.shown}")
            expected = reader.expected(query)
            schema, batches = reader.stream(query)
            wanted = checked_schema(schema, asked.shown)
            write_arrow(
                (as_schema(batch, wanted, asked.shown) for batch in batches), wanted, path, _telling(asked, expected)
            )
            rejected = reader.rejected.take(_name(asked))
        _refuse_none(asked, pq.read_metadata(path).num_rows, rejected)
        words = (query, *sorted(f"{one.reason} {one.raw}" for one in rejected))
        digest = sorted_digest(path, asked.shown, *words)
        yield Part(path, digest, _name(asked), asked.shown, {"query": query}, rejected)


def _beyond(asked: Asked) -> Iterator[Part]:
    cursor, query = asked.options.cursor, _query(asked)
    ours = [one for one in asked.known if (one.version.get("cursor"), one.version.get("query")) == (cursor, query)]
    begin = ours[-1].version["to"] if ours else ""
    segments = Segments(asked.spool, asked.shown)
    # What could not be read may have been repaired meanwhile.
    found = segments.found(begin, rejected=False)
    yield from found
    last = found[-1].version["to"] if found else begin
    with _opened(asked) as reader:
        column = reader.quoted(cursor)
        left_out = reader.value(f"SELECT count(*) FROM ({query}) AS bascule_rows WHERE {column} IS NULL")
        if left_out:
            asked.tell(f"{int(left_out):,} rows have no {cursor!r}: they are never brought with this cursor")
        rows = f"SELECT * FROM ({query}) AS bascule_rows WHERE {column} IS NOT NULL"
        beyond = f" AND {column} > {_literal(last)}" if last else ""
        asked.tell(f"asking {asked.shown} for rows{f' beyond {last}' if last else ''}")
        rest = f"{rows}{beyond} ORDER BY {column}"
        tell = _telling(asked, reader.expected(rest))
        schema, batches = reader.stream(rest)
        yield from _segmented(asked, segments, reader.rejected, schema, batches, last, tell)


def _segmented(
    asked: Asked,
    segments: Segments,
    rejects: Rejects,
    schema: pa.Schema,
    batches: Iterator[pa.RecordBatch],
    last: str,
    tell: Callable[[int, int], None],
) -> Iterator[Part]:
    """Write rows in the cursor's order as segments, and never part those of one value."""
    cursor, query = asked.options.cursor, _query(asked)
    wanted = checked_schema(schema, asked.shown)
    place = next((at for at, name in enumerate(wanted.names) if name.casefold() == cursor.casefold()), None)
    if place is None:
        raise InputError(f"The query has no column {cursor!r}.", hint=f"It has: {', '.join(wanted.names[:20])}.")
    held, count, total, size = [], 0, 0, 0

    def write(rows: pa.Table) -> Part:
        to = _text(rows.column(place)[-1].as_py())
        path = segments.path(".parquet")
        write_arrow(rows.to_batches(), wanted, path)
        version = {"query": query, "cursor": cursor, "from": last, "to": to}
        name = f"{_name(asked)} {cursor} to {to}"
        return segments.add(path, name, version, rejects.take(name))

    for batch in batches:
        held.append(as_schema(batch, wanted, asked.shown))
        count, total, size = count + batch.num_rows, total + batch.num_rows, size + batch.nbytes
        tell(total, size)
        if count >= SEGMENT_ROWS:
            rows = pa.Table.from_batches(held, wanted)
            newest = rows.column(place)[-1]
            cut = pc.index(rows.column(place), newest).as_py()
            if cut > 0:
                part = write(rows.slice(0, cut))
                last = part.version["to"]
                yield part
                held, count = rows.slice(cut).combine_chunks().to_batches(), rows.num_rows - cut
    if count:
        yield write(pa.Table.from_batches(held, wanted))
    _refuse_none(asked, total, rejects.take(_name(asked)))


def _refuse_none(asked: Asked, rows: int, rejected: Sequence[Rejected]) -> None:
    """Raise `InputError` when rows came, and none of them can be read."""
    if rejected and not rows:
        raise InputError(
            f"None of {len(rejected):,} rows of {asked.shown} can be read; the first: {rejected[0]}",
            hint="Say in the query what such a value is, or leave those rows out.",
        )


def _opened(asked: Asked) -> AbstractContextManager[Reader]:
    return KINDS[urlsplit(asked.address).scheme.partition("+")[0]](asked)


def _query(asked: Asked) -> str:
    query, table = asked.options.query.strip().rstrip(";").strip(), asked.options.more.get("table", "")
    if bool(query) == bool(table):
        what = "both a query and a table" if query else "neither a query nor a table"
        raise InputError(f"{asked.shown} is given {what}.", hint="Give --query 'select …' or --option table=NAME.")
    if table and not _NAME.match(table):
        raise InputError(f"{table!r} is no table's name.", hint="Write it as in SQL, or give a query.")
    return query or f"SELECT * FROM {table}"


def _name(asked: Asked) -> str:
    return asked.options.more.get("table") or f"query of {asked.shown}"


def _telling(asked: Asked, expected: int) -> Callable[[int, int], None]:
    """Return what tells every two seconds how many rows and bytes came, and how long the rest takes, if that is known.

    Args:
        expected: about how many rows there are; 0 if nobody knows.
    """
    began = told = time.monotonic()

    def count(rows: int, bytes_: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= 2:
            told = now
            rate = rows / (now - began)
            left = f", about {(expected - rows) / rate:,.0f} s left" if expected > rows else ""
            asked.tell(f"{rows:,} rows came, {rate:,.0f} rows/s, {format_size(bytes_)}{left}")

    return count


def _text(value: Any) -> str:
    """Return a cursor's value as text from which `_literal` makes the same value again."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str | dt.date | dt.datetime):
        raise InputError(
            f"A value of the cursor is {value!r}, which has no exact text.",
            hint="Take a column of whole numbers, texts, dates or times.",
        )
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ")
    return (
        value.isoformat()
        if isinstance(value, dt.date)
        else f"{value.normalize():f}"
        if isinstance(value, Decimal)
        else (f"'{value}" if isinstance(value, str) and _NUMBER.match(value) else str(value))
    )


def _literal(text: str) -> str:
    # A text that looks like a number has a quote before it.
    if _NUMBER.match(text):
        return text
    found = text[1:] if text.startswith("'") and _NUMBER.match(text[1:]) else text
    if "\\" in found or "\x00" in found:
        raise InputError(f"The cursor's last value {found!r} cannot be asked for.", hint="Take another column.")
    return "'" + found.replace("'", "''") + "'"
