"""Reading SQLite with what comes with Python; a column's type is that of all its values, as SQLite declares none."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pyarrow as pa

from bascule.errors import EnvironmentProblem, InputError, NotFound
from bascule.lake.origins.origin import Asked
from bascule.lake.origins.rejects import Rejects, record, unfit
from bascule.lake.origins.spool import ROWS_AT_ONCE

STORED = ("integer", "real", "text", "blob")


class SQLite:
    """A read-only session. See `databases.Reader`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.rejected = Rejects()

    def stream(self, query: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """See `Reader`."""
        names = [one[0] for one in self._connection.execute(f"SELECT * FROM ({query}) LIMIT 0").description]
        tests = [f"max(typeof({self.quoted(name)}) = '{kind}')" for name in names for kind in STORED]
        found: list[int] = []
        for start in range(0, len(tests), 1000):  # a result has at most 2,000 columns
            chosen = ", ".join(tests[start : start + 1000])
            found += self._connection.execute(f"SELECT {chosen} FROM ({query})").fetchone()
        fields = [pa.field(name, _type(found[at * 4 : at * 4 + 4])) for at, name in enumerate(names)]
        schema = pa.schema(fields)
        return schema, self._batches(query, schema)

    def expected(self, query: str) -> int:
        """See `Reader`. Its plan says nothing; it counts fast."""
        return int(self._connection.execute(f"SELECT count(*) FROM ({query})").fetchone()[0])

    def value(self, query: str) -> Any:
        """See `Reader`."""
        return self._connection.execute(query).fetchone()[0]

    def quoted(self, name: str) -> str:
        """See `Reader`."""
        return '"' + name.replace('"', '""') + '"'

    def _batches(self, query: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        rows = self._connection.execute(query)
        while block := rows.fetchmany(ROWS_AT_ONCE):
            arrays: list[pa.Array] = []
            wrong: dict[int, tuple[str, str]] = {}
            for values, one in zip(zip(*block, strict=True), schema, strict=True):
                held = [_held(value, one.type) for value in values]
                places = [place for place, value in enumerate(held) if value is None and values[place] is not None]
                arrays.append(pa.array(held, one.type))
                wrong |= {place: (one.name, unfit(values[place], one.type)) for place in places}
            held_rows = pa.RecordBatch.from_arrays(arrays, schema=schema)
            yield self.rejected.left_out(held_rows, wrong, partial(record, schema.names, block))


def _type(has: list[int]) -> pa.DataType:
    whole, real, text, blob = (bool(one) for one in has)
    if blob and not (whole or real or text):
        return pa.binary()
    if text or blob:
        return pa.string()
    return pa.float64() if real else pa.int64() if whole else pa.string()


def _held(value: Any, kind: pa.DataType) -> Any:
    """Return a value as a column of a type holds it; None where it does not."""
    if pa.types.is_string(kind):
        return value if value is None or isinstance(value, str) else None if isinstance(value, bytes) else repr(value)
    if pa.types.is_floating(kind) and isinstance(value, int):
        return float(value) if int(float(value)) == value else None
    return value


@contextmanager
def opened(asked: Asked) -> Iterator[SQLite]:
    """Open a database file, unchanged: `sqlite:///shop.db` is below the project, `sqlite:////data/shop.db` is not.

    Raises:
        NotFound: there is no such file.
        InputError: it is no database, or refuses the query.
    """
    path = asked.folder / unquote(urlsplit(asked.address).path.removeprefix("/"))
    if not path.is_file():
        raise NotFound(
            "SQLite database", str(path), hint="Write sqlite:///FILE below the project, sqlite:////FILE elsewhere."
        )
    connection = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)
    try:
        connection.execute("BEGIN")
        yield SQLite(connection)
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "disk I/O" in str(error):
            raise EnvironmentProblem(f"{asked.shown} stopped: {error}.", hint="Repeat.") from error
        raise InputError(f"{asked.shown} refuses the query: {error}.", hint="Check the query.") from error
    except sqlite3.Error as error:
        raise InputError(f"{path} cannot be read: {error}.", hint="Is it a SQLite database?") from error
    finally:
        connection.close()
