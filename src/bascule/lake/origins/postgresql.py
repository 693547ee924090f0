"""Reading PostgreSQL through ADBC, which streams its binary COPY into Arrow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bascule.errors import EnvironmentProblem, InputError, MissingExtra
from bascule.lake.origins.origin import Asked, plain

# Digits of a NUMERIC whose own are not known: enough for money, and what does not fit is refused, not rounded.
NUMERIC = pa.decimal128(38, 9)
# PostgreSQL's first day, 24 November 4714 BC, in days before 1970.
FIRST_DAY = -2_440_588
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

    def close(self) -> None:
        """Give back what streams hold."""
        for cursor in self._cursors:
            cursor.close()

    def stream(self, query: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """See `Reader`."""
        cursor = self._connection.cursor()
        self._cursors.append(cursor)
        cursor.execute(self._readable(query))
        reader = cursor.fetch_record_batch()
        schema = pa.schema([_field(one) for one in reader.schema])
        return schema, self._batches(reader, schema)

    def value(self, query: str) -> Any:
        """See `Reader`."""
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            found = cursor.fetch_arrow_table()
        kind = _field(found.schema.field(0)).type
        return _cast(found.column(0).combine_chunks(), kind, found.schema.names[0])[0].as_py()

    def quoted(self, name: str) -> str:
        """See `Reader`."""
        return '"' + name.replace('"', '""') + '"'

    def _readable(self, query: str) -> str:
        """Return the query with columns as text that the driver would give as PostgreSQL's own bytes."""
        with self._connection.cursor() as cursor:
            fields = list(cursor.adbc_execute_schema(query))
        casts = [_cast_to(one) for one in fields]
        if not any(casts):
            return query
        names = [self.quoted(one.name) for one in fields]
        shown = [f"{name}::{cast} AS {name}" if cast else name for name, cast in zip(names, casts, strict=True)]
        return f"SELECT {', '.join(shown)} FROM ({query}) AS bascule_readable"

    def _batches(self, reader: Any, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for batch in reader:
            arrays = [_cast(column, one.type, one.name) for column, one in zip(batch.columns, schema, strict=True)]
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
    return pa.types.is_struct(kind) or isinstance(kind, pa.UuidType) or (within and isinstance(kind, pa.JsonType))


def _field(one: pa.Field) -> pa.Field:
    kind = (one.metadata or {}).get(TYPE, b"").decode()
    storage = one.type.storage_type if isinstance(one.type, pa.BaseExtensionType) else one.type
    if isinstance(one.type, pa.OpaqueType):
        kind = one.type.type_name
    if pa.types.is_interval(storage):
        raise InputError(
            f"Column {one.name!r} is an INTERVAL, which a table has no type for.",
            hint=f"Say in the query what it is, such as extract(epoch from {one.name}) or {one.name}::text.",
        )
    return pa.field(one.name, NUMERIC if kind == "numeric" else storage)


def _cast(column: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
    values = column.storage if isinstance(column, pa.ExtensionArray) else column
    if pa.types.is_timestamp(kind) or pa.types.is_date32(kind):
        _finite(values, name)
    if values.type.equals(kind):
        return values
    try:
        return values.cast(kind)
    except pa.ArrowException as error:
        raise InputError(
            f"Column {name!r} is NUMERIC and has a value that is no number, or has more than 9 decimals or 38 digits: "
            f"{error}",
            hint=f"Say in the query what it is, such as {name}::double precision or round({name}, 9).",
        ) from error


def _finite(values: pa.Array, name: str) -> None:
    """Refuse infinite days and times: no other format has them, and the driver makes them one of a far past."""
    whole = pa.int32() if pa.types.is_date32(values.type) else pa.int64()
    least = pc.min(values.view(whole)).as_py()
    if least is not None and least < (FIRST_DAY if whole == pa.int32() else FIRST_DAY * 86_400_000_000):
        raise InputError(
            f"Column {name!r} has a day or time that is infinite.",
            hint=f"Say in the query what it is, such as nullif({name}, 'infinity').",
        )


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
