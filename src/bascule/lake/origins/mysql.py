"""Reading MySQL and MariaDB through PyMySQL, unbuffered, with the types that the server says."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa

from bascule.errors import EnvironmentProblem, InputError, MissingExtra
from bascule.lake import spans
from bascule.lake.origins.origin import Asked
from bascule.lake.origins.rejects import Rejects, record, unfit
from bascule.lake.origins.spool import ROWS_AT_ONCE

# The character set of what is no text.
BINARY = 63
# Field types of the protocol.
WHOLE = {1, 2, 3, 8, 9, 13}
FLOATING = {4, 5}
DECIMALS = {0, 246}
DATES = {10, 14}
MOMENTS = {7, 12, 17, 18}
BITS = 16
TEXTS = {15, 249, 250, 251, 252, 253, 254}
REFUSED = (1044, 1045, 1049, 1054, 1064, 1142, 1146, 1792, 1290)


class MySQL:
    """A read-only session. See `databases.Reader`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._cursors: list[Any] = []
        self.rejected = Rejects()

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
        sets = [one.charsetnr for one in cursor._result.fields]
        kinds = [_type(one, charset) for one, charset in zip(cursor.description, sets, strict=True)]
        schema = pa.schema([(one[0], kind) for one, kind in zip(cursor.description, kinds, strict=True)])
        return schema, self._batches(cursor, schema)

    def expected(self, query: str) -> int:
        """See `Reader`."""
        with self._connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {query}")
            names = [one[0] for one in cursor.description]
            plan = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        # Of a join nobody knows what comes out.
        return int(plan[0]["rows"] or 0) if len(plan) == 1 and plan[0].get("rows") else 0

    def value(self, query: str) -> Any:
        """See `Reader`."""
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchone()[0]

    def quoted(self, name: str) -> str:
        """See `Reader`."""
        return "`" + name.replace("`", "``") + "`"

    def _batches(self, cursor: Any, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            arrays: list[pa.Array] = []
            wrong: dict[int, tuple[str, str]] = {}
            for values, one in zip(zip(*rows, strict=True), schema, strict=True):
                array, places = _array(values, one)
                arrays.append(array)
                wrong |= {place: (one.name, unfit(values[place], one.type)) for place in places}
            held = pa.RecordBatch.from_arrays(arrays, schema=schema)
            yield self.rejected.left_out(held, wrong, partial(record, schema.names, rows))


def _type(described: Any, charset: int) -> pa.DataType:
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
    if code == BITS:
        return pa.int64() if precision < 64 else pa.uint64()
    if code in TEXTS and charset == BINARY:
        return pa.binary()
    return pa.timestamp("us") if code in MOMENTS else pa.string()


def _array(values: Sequence[Any], field: pa.Field) -> tuple[pa.Array, list[int]]:
    """Return values as a column, with nulls where one does not fit, and where that is."""
    if pa.types.is_string(field.type):
        values = [one if one is None or isinstance(one, str) else _text(one) for one in values]
    elif pa.types.is_integer(field.type):
        values = [int.from_bytes(one, "big") if isinstance(one, bytes) else one for one in values]
    try:
        return pa.array(values, field.type), []
    except (pa.ArrowException, OverflowError, TypeError):
        fits = [_fits(one, field.type) for one in values]
        held = [one if is_held else None for one, is_held in zip(values, fits, strict=True)]
        return pa.array(held, field.type), [place for place, is_held in enumerate(fits) if not is_held]


def _fits(value: Any, kind: pa.DataType) -> bool:
    try:
        pa.scalar(value, kind)
    except (pa.ArrowException, OverflowError, TypeError):
        return False
    return True


def _text(value: Any) -> Any:
    """Return a value as text; bytes that are none stay bytes, which no column of texts holds."""
    if isinstance(value, dt.timedelta):
        return spans.text(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
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
