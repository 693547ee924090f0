"""Reading MySQL and MariaDB through PyMySQL, unbuffered, with the types that the server says."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa

from bascule.errors import EnvironmentProblem, InputError, MissingExtra
from bascule.lake.origins.origin import Asked
from bascule.lake.origins.spool import ROWS_AT_ONCE

# Field types of the protocol.
WHOLE = {1, 2, 3, 8, 9, 13}
FLOATING = {4, 5}
DECIMALS = {0, 246}
DATES = {10, 14}
MOMENTS = {7, 12, 17, 18}
BYTES = {249, 250, 251, 252, 16, 255}
REFUSED = (1044, 1045, 1049, 1054, 1064, 1142, 1146, 1792, 1290)


class MySQL:
    """A read-only session. See `databases.Reader`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._cursors: list[Any] = []

    def close(self) -> None:
        """Give up streams that were not read to their end: closing them would read all that is left."""
        for cursor in self._cursors:
            result = getattr(cursor, "_result", None)
            if result is not None:
                result.unbuffered_active = False

    def stream(self, query: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """See `Reader`."""
        from pymysql.cursors import SSCursor

        cursor = self._connection.cursor(SSCursor)
        self._cursors.append(cursor)
        cursor.execute(query)
        kinds = [pa.field(one[0], _type(one)) for one in cursor.description]
        schema = pa.schema(kinds)
        return schema, _batches(cursor, schema)

    def value(self, query: str) -> Any:
        """See `Reader`."""
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchone()[0]

    def quoted(self, name: str) -> str:
        """See `Reader`."""
        return "`" + name.replace("`", "``") + "`"


def _type(described: Any) -> pa.DataType:
    code, precision, scale = described[1], described[4], described[5]
    if code in WHOLE:
        return pa.int64()
    if code in FLOATING:
        return pa.float64()
    if code in DECIMALS:
        # The server tells how long a number is as text: its digits, a sign and a point.
        return pa.decimal128(min(max(int(precision or 38), int(scale or 0) + 1), 38), min(int(scale or 0), 37))
    if code in DATES:
        return pa.date32()
    return pa.timestamp("us") if code in MOMENTS else pa.string()


def _batches(cursor: Any, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    while rows := cursor.fetchmany(ROWS_AT_ONCE):
        columns = list(zip(*rows, strict=True))
        arrays = [_array(values, one) for values, one in zip(columns, schema, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _array(values: Any, field: pa.Field) -> pa.Array:
    if pa.types.is_string(field.type):
        values = [None if one is None else _text(one, field.name) for one in values]
    try:
        return pa.array(values, field.type)
    except (pa.ArrowException, OverflowError, TypeError) as error:
        raise InputError(
            f"Column {field.name!r} has a value that {field.type} does not hold: {error}",
            hint="Days such as 0000-00-00 and numbers from 2^63 on are none: turn them into others in the query.",
        ) from error


def _text(value: Any, name: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dt.timedelta):
        return str(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise InputError(
                f"Column {name!r} holds bytes that are no text.", hint=f"Turn them into text: hex({name})."
            ) from None
    return str(value)


@contextmanager
def opened(asked: Asked) -> Iterator[MySQL]:
    """Open a read-only session.

    Raises:
        MissingExtra: the driver is not installed.
        InputError: the database refuses the query.
        EnvironmentProblem: it does not answer, or stopped.
    """
    try:
        import pymysql
    except ImportError:
        raise MissingExtra("Reading MySQL and MariaDB", "databases") from None
    parts = urlsplit(asked.address)
    tls: dict[str, Any] = {}
    for name, value in parse_qsl(parts.query):
        if name != "ssl_ca":
            raise InputError(f"{asked.shown} has the unknown option {name!r}.", hint="Known: ssl_ca.")
        tls["ssl_ca"] = value
    try:
        connection = pymysql.connect(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or 3306,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            database=unquote(parts.path.lstrip("/")) or None,
            charset="utf8mb4",
            connect_timeout=15,
            **tls,
        )
    except (pymysql.Error, OSError) as error:
        raise EnvironmentProblem(
            f"{asked.shown} does not answer: {_said(error)}", hint="Check the address, user and password."
        ) from error
    reader = MySQL(connection)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET time_zone = '+00:00'")
            cursor.execute("SET SESSION TRANSACTION READ ONLY")
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("START TRANSACTION")
        yield reader
    except pymysql.Error as error:
        if error.args and error.args[0] in REFUSED:
            raise InputError(
                f"{asked.shown} refuses the query: {_said(error)}", hint="It is read only; check the query."
            ) from error
        raise EnvironmentProblem(f"{asked.shown} stopped: {_said(error)}", hint="Nothing was taken. Repeat.") from error
    except OSError as error:
        raise EnvironmentProblem(f"{asked.shown} stopped: {error}", hint="Nothing was taken. Repeat.") from error
    finally:
        reader.close()
        connection.close()


def _said(error: Exception) -> str:
    return str(error.args[1] if len(error.args) > 1 else error).splitlines()[0]
