"""Reading PostgreSQL through ADBC, which streams its binary COPY into Arrow."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bascule.errors import EnvironmentProblem, InputError, MissingExtra
from bascule.lake.iceberg.fitting import misfits
from bascule.lake.origins.origin import Asked, plain
from bascule.lake.origins.rejects import Rejects, row
from bascule.lake.spans import is_span

# Digits of a NUMERIC, and its decimals where it has not more: enough for money, also for that of later batches.
DIGITS, DECIMALS = 38, 9
UNLIMITED = ("nan", "infinity", "-infinity")
# PostgreSQL's first day, 24 November 4714 BC, in days before 1970.
FIRST_DAY = -2_440_588
YEAR_2000, DAY = 10_957, 86_400_000_000  # days, microseconds
TYPE, NAMED = b"ADBC:postgresql:typname", b"POSTGRESQL:type"
# Classes of SQLSTATE that say that the query, or a value that it reads, is wrong; the others are about the server.
REFUSED = ("0A", "21", "22", "25", "26", "42", "44", "54")
# What a server says of a query that it had begun to answer: then there is no SQLSTATE any more.
_OF_VALUES = re.compile(r"ERROR:\s+(unsupported|invalid|division by zero|.*(out of range|not supported|cannot))")


class PostgreSQL:
    """A read-only session. See `databases.Reader`."""

    def __init__(self, connection: Any, where: str) -> None:
        self._connection, self._where = connection, where
        self._cursors: list[Any] = []  # a reader lives as long as its cursor
        self.rejected = Rejects()

    def close(self) -> None:
        """Give back what streams hold."""
        for cursor in self._cursors:
            cursor.close()

    def stream(self, query: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """See `Reader`."""
        with self._connection.cursor() as asking:
            fields = list(asking.adbc_execute_schema(query))
        decimals = self._decimals(query, fields)
        cursor = self._connection.cursor()
        self._cursors.append(cursor)
        cursor.execute(self._readable(query, fields))
        reader = cursor.fetch_record_batch()
        schema = pa.schema([_field(one, decimals.get(one.name, DECIMALS)) for one in reader.schema])
        return schema, self._batches(reader, schema)

    def expected(self, query: str) -> int:
        """See `Reader`."""
        with self._connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**{"adbc.postgresql.use_copy": "false"})  # COPY takes only what has rows
            cursor.execute(f"EXPLAIN (FORMAT JSON) {query}")
            (plan,) = cursor.fetchone()
        return int(json.loads(plan)[0]["Plan"]["Plan Rows"])

    def value(self, query: str) -> Any:
        """See `Reader`."""
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            found = cursor.fetch_arrow_table()
        field = found.schema.field(0)
        column, kind = _stored(found.column(0).combine_chunks()), _field(field).type
        if _is_numeric(field) and column[0].is_valid and column[0].as_py().lower() not in UNLIMITED:
            return Decimal(column[0].as_py())
        if wrong := _wrong(column, kind):
            raise InputError(
                f"A value of {found.schema.names[0]!r} {wrong[0]}",
                hint="No rows can be beyond it: say in the query what it is, or leave those rows out.",
            )
        return column.cast(kind)[0].as_py()

    def quoted(self, name: str) -> str:
        """See `Reader`."""
        return '"' + name.replace('"', '""') + '"'

    def _decimals(self, query: str, fields: Sequence[pa.Field]) -> dict[str, int]:
        """Return how many decimals each column of NUMERIC has at most, where more than the usual."""
        names = [one.name for one in fields if _is_numeric(one)]
        if not names:
            return {}
        asked = ", ".join(f"max(scale({self.quoted(name)}))" for name in names)
        with self._connection.cursor() as cursor:
            cursor.execute(f"SELECT {asked} FROM ({query}) AS bascule_decimals")
            row = cursor.fetchone()
        return {name: min(count, DIGITS - 1) for name, count in zip(names, row, strict=True) if (count or 0) > DECIMALS}

    def _readable(self, query: str, fields: Sequence[pa.Field]) -> str:
        """Return the query with columns as text that the driver would give as PostgreSQL's own bytes."""
        casts = [_cast_to(one) for one in fields]
        if not any(casts):
            return query
        names = [self.quoted(one.name) for one in fields]
        shown = [f"{name}::{cast} AS {name}" if cast else name for name, cast in zip(names, casts, strict=True)]
        return f"SELECT {', '.join(shown)} FROM ({query}) AS bascule_readable"

    def _batches(self, reader: Any, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for batch in reader:
            columns = [_stored(column) for column in batch.columns]
            wrong: dict[int, tuple[str, str]] = {}
            for column, one in zip(columns, schema, strict=True):
                wrong |= {place: (one.name, why) for place, why in _wrong(column, one.type).items()}
            kept = self.rejected.left_out(pa.record_batch(columns, schema.names), wrong, partial(_raw, batch))
            arrays = [column.cast(one.type) for column, one in zip(kept.columns, schema, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _cast_to(one: pa.Field) -> str:
    """Return what a column must be in the query to be read: empty for what the driver reads as it is.

    Addresses, points, ranges, bits and rows come as PostgreSQL writes them, identifiers (UUID) in their usual form,
    money as a number.
    """
    if (one.metadata or {}).get(NAMED) == b"money":
        return "numeric"
    if pa.types.is_list(one.type):
        return "text[]" if _is_own(one.type.value_type, within=True) else ""
    return "text" if _is_own(one.type) else ""


def _is_own(kind: pa.DataType, *, within: bool = False) -> bool:
    """Tell whether values of a type come in a form of PostgreSQL's own; `within` a list nothing turns them later."""
    if isinstance(kind, pa.OpaqueType):
        return within or pa.types.is_binary(kind.storage_type)
    if within and is_span(kind):
        return True
    return pa.types.is_struct(kind) or isinstance(kind, pa.UuidType) or (within and isinstance(kind, pa.JsonType))


def _is_numeric(one: pa.Field) -> bool:
    if isinstance(one.type, pa.OpaqueType):
        return bool(one.type.type_name == "numeric")
    return bool((one.metadata or {}).get(TYPE) == b"numeric")


def _field(one: pa.Field, decimals: int = DECIMALS) -> pa.Field:
    storage = one.type.storage_type if isinstance(one.type, pa.BaseExtensionType) else one.type
    return pa.field(one.name, pa.decimal128(DIGITS, decimals) if _is_numeric(one) else storage)


def _stored(column: pa.Array) -> pa.Array:
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def _wrong(values: pa.Array, kind: pa.DataType) -> dict[int, str]:
    """Return the places of values that no column holds, and what is said of each."""
    if pa.types.is_timestamp(kind) or pa.types.is_date32(kind):
        # No other format has infinite days and times, and the driver makes them some of a far past.
        days = pa.types.is_date32(values.type)
        whole, first = (pa.int32(), FIRST_DAY) if days else (pa.int64(), FIRST_DAY * DAY)
        early = pc.fill_null(pc.less(values.view(whole), first), False)
        what = "is infinite, which is no day." if days else "is infinite, which is no time."
        return dict.fromkeys(pc.indices_nonzero(early).to_pylist(), what)
    if values.type.equals(kind) or not pa.types.is_decimal(kind):
        return {}
    places = misfits(values, kind, len(values))
    what = f"is a number of {kind.precision} digits, {kind.scale} of them decimals, and cannot hold"
    return {at: f"{what} {values[at]}." for at in places}


def _raw(batch: pa.RecordBatch, place: int) -> dict[str, object]:
    found = row([_stored(column) for column in batch.columns], batch.schema.names, place)
    for column, one in zip(batch.columns, batch.schema, strict=True):
        value = column.slice(place, 1)
        if pa.types.is_temporal(column.type) and _wrong(value, one.type):
            # The driver adds the days from 2000 to the greatest number, which becomes less than the least.
            days = pa.types.is_date32(column.type)
            least = -(2**31) + YEAR_2000 if days else -(2**63) + YEAR_2000 * DAY
            number = value.view(pa.int32() if days else pa.int64())[0].as_py()
            found[one.name] = "infinity" if number < least else "-infinity"
    return found


@contextmanager
def opened(asked: Asked) -> Iterator[PostgreSQL]:
    """Open a read-only session.

    Raises:
        MissingExtra: the driver is not installed.
        InputError: the database refuses the query.
        EnvironmentProblem: it does not answer, or stopped.
    """
    try:
        from adbc_driver_manager import Error
        from adbc_driver_postgresql import dbapi
    except ImportError:
        raise MissingExtra("Reading PostgreSQL", "databases") from None
    address = asked.address.replace("postgresql+psycopg://", "postgresql://", 1)
    try:
        connection = dbapi.connect(address)
    except Error as error:
        raise EnvironmentProblem(
            f"{asked.shown} does not answer: {_said(error, address)}", hint="Check the address, user and password."
        ) from error
    reader = PostgreSQL(connection, asked.shown)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute("SET TimeZone = 'UTC'")
        yield reader
    except Error as error:
        state = str(getattr(error, "sqlstate", "") or "")
        if state[:2] in REFUSED:
            raise InputError(
                f"{asked.shown} refuses the query: {_said(error, address)}", hint="It is read only; check the query."
            ) from error
        raise EnvironmentProblem(
            f"{asked.shown} stopped: {_said(error, address)}", hint="Nothing was taken. Repeat."
        ) from error
    except (pa.ArrowException, OSError) as error:
        if _OF_VALUES.search(str(error)):
            raise InputError(
                f"{asked.shown} refuses the query: {_said(error, address)}", hint="Check the query, and what it reads."
            ) from error
        raise EnvironmentProblem(
            f"{asked.shown} stopped: {_said(error, address)}", hint="Nothing was taken. Repeat."
        ) from error
    finally:
        reader.close()
        connection.close()


def _said(error: Exception, address: str) -> str:
    return str(error).replace(address, plain(address)).strip().splitlines()[0]
