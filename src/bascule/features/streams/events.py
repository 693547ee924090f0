"""Events: what a stream's messages must be, and how many of them become columns at once.

A message is a JSON object. The columns that the stream names are read, others are left alone; a column that is
missing is null. What cannot be read is a `Rejected` with the reason, and never stops the others.

Times are kept in microseconds, and finer ones are cut: rounded, an event could come into the window after its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import Annotated, Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from bascule.errors import InputError, suggestion
from bascule.lake.sources import Rejected
from bascule.lake.sources.quarantine import bounded

_LEAST, _MOST = -(2**63), 2**63 - 1
#: A time with more digits of a second than are kept, in a message and as a text; CSV may have seconds since 1970.
_FINER = re.compile(rb":\d\d\.\d{7}")
_CUT = re.compile(r"(:\d\d\.\d{6})\d+")
_SECONDS = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,2})?")
_MICROSECOND = Decimal("0.000001")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: The first and the last moment (µs since 1970 UTC) that is a date everywhere: of the years 1 to 9999.
MOMENTS = (-62_135_596_800_000_000, 253_402_300_799_999_999)
#: What a column may be: the name in the project file, to the Arrow type.
KINDS: dict[str, pa.DataType] = {
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "time": pa.timestamp("us", "UTC"),
    "date": pa.date32(),
}


class Events(NamedTuple):
    """A batch of events in columns, and what could not be read."""

    rows: pa.RecordBatch
    rejected: list[Rejected]


class EventType:
    """The columns of a stream.

    Args:
        name: the stream, for messages.
        columns: column to kind, one of `KINDS`.
        time: the column with each event's moment; it may not be null.

    Raises:
        InputError: a kind or a column that there is not.
    """

    def __init__(self, name: str, columns: Mapping[str, str], time: str) -> None:
        for column, kind in columns.items():
            if kind not in KINDS:
                where = f"[stream.{name}] columns.{column}"
                raise InputError(f"{where}: there is no kind {kind!r}.", hint=suggestion(kind, list(KINDS), "kind"))
        if time not in columns:
            hint = suggestion(time, list(columns), "column")
            raise InputError(f"[stream.{name}] time: there is no column {time!r}.", hint=hint)
        if columns[time] != "time":
            hint = 'Write it as text such as 2025-01-31T05:00:00Z, and its kind as "time".'
            raise InputError(f"[stream.{name}] time: the column {time!r} is of kind {columns[time]!r}.", hint=hint)
        self.name, self.time, self.columns = name, time, dict(columns)
        self.schema = pa.schema([(column, KINDS[kind]) for column, kind in columns.items()])
        self.times = [column for column, kind in columns.items() if kind == "time"]
        self._fields = [f"f{place}" for place in range(len(columns))]
        self._type = _struct(columns, self._fields, time)
        self._one = msgspec.json.Decoder(self._type).decode
        self._lines = msgspec.json.Decoder(self._type).decode_lines

    def read(self, messages: Sequence[bytes], where: Callable[[int], tuple[str, int]]) -> Events:
        """Read messages: those that fit, in order, as columns; the others with the reason.

        Args:
            where: from a message's place among them to where it stood at its source: what holds it, and its number.
        """
        lines = b"\n".join(messages)
        try:
            # Each line is one message, as long as no message has several.
            plain = lines.count(b"\n") == max(len(messages) - 1, 0) and _FINER.search(lines) is None
            found = self._lines(lines) if plain else []
            if len(found) == len(messages) and self._beyond(batch := self._columns(found)) is None:
                return Events(batch, [])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass
        found, rejected = [], []
        for place, message in enumerate(messages):
            try:
                found.append(self._dated(self._read(message)))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                text = bounded(message.decode("utf-8", "replace"))
                rejected.append(Rejected(*where(place), self._told(error), text))
        return Events(self._columns(found), rejected)

    def read_rows(self, rows: Iterable[tuple[int, Mapping[str | None, str]]], place: str) -> Events:
        """Read rows of texts, as CSV has them, the same way; an empty text is null.

        Args:
            rows: each with where it begins; under None is what is wrong with it, if anything is.
        """
        found, rejected = [], []
        for number, row in rows:
            given = {name: value for name, value in row.items() if name is not None and value != ""}
            try:
                if None in row:
                    raise msgspec.ValidationError(row[None])
                found.append(self._dated(msgspec.convert(self._cut(given, _counted), self._type, strict=False)))
            except msgspec.MsgspecError as error:
                raw = bounded(msgspec.json.encode(given).decode())
                rejected.append(Rejected(place, number, self._told(error), raw))
        return Events(self._columns(found), rejected)

    def read_arrow(self, rows: pa.Table) -> pa.RecordBatch:
        """Read an Arrow table: its columns are cast where nothing is lost.

        Raises:
            InputError: a column does not fit, or the time is null somewhere.
        """
        columns = []
        for field in self.schema:
            if field.name not in rows.column_names:
                columns.append(pa.nulls(rows.num_rows, field.type))
                continue
            column = rows.column(field.name)
            try:
                columns.append(column.cast(field.type).combine_chunks())
            except (pa.ArrowException, ValueError) as error:
                message = (
                    f"Column {field.name!r} is {column.type}, and should be of kind {self.columns[field.name]}: {error}"
                )
                raise InputError(message, hint=f"Cast it, or change [stream.{self.name}] columns.") from None
        batch = pa.RecordBatch.from_arrays([_array(one) for one in columns], schema=self.schema)
        if (odd := self._beyond(batch)) is not None:
            raise InputError(f"Column {odd!r} has a time beyond the years 1 to 9999.", hint="Give it another time.")
        if batch.column(self.time).null_count:
            raise InputError(f"Column {self.time!r}, the events' time, is null in some row.", hint="Give each a time.")
        return batch

    def aligned(self, batches: Sequence[pa.RecordBatch]) -> pa.Table:
        """Put batches that were read before into the columns that there are now; what they lack is null."""
        if all(batch.schema == self.schema for batch in batches):
            return pa.Table.from_batches(batches, self.schema)
        return pa.Table.from_batches([self.read_arrow(pa.Table.from_batches([one])) for one in batches], self.schema)

    def empty_batch(self) -> Events:
        """No events."""
        return Events(self._columns([]), [])

    def _beyond(self, batch: pa.RecordBatch) -> str | None:
        """The first column with a time that is none in UTC, if any: Arrow holds it, and others cannot read it."""
        for name in self.times:
            ends = pc.min_max(batch.column(name).cast(pa.int64()))
            first, last = ends["min"].as_py(), ends["max"].as_py()
            if first is not None and (first < MOMENTS[0] or last > MOMENTS[1]):
                return name
        return None

    def _read(self, message: bytes) -> Any:
        """One message. Finer times are cut before they are read: rounded, the last one of all would be none."""
        if _FINER.search(message) is None:
            return self._one(message)
        given = msgspec.json.decode(message)
        return msgspec.convert(self._cut(given, _written) if isinstance(given, dict) else given, self._type)

    def _cut(self, given: Mapping[str, Any], earlier: Callable[[str], str]) -> dict[str, Any]:
        """An event's values, with times as texts that have no more digits than are kept."""
        texts = {name: given[name] for name in self.times if isinstance(given.get(name), str)}
        return {**given, **{name: earlier(text) for name, text in texts.items()}}

    def _dated(self, event: Any) -> Any:
        for name, (column, kind) in zip(self._fields, self.columns.items(), strict=True):
            moment = getattr(event, name)
            if kind != "time" or moment is None or moment.tzinfo is None:
                continue
            try:
                moment.astimezone(UTC)
            except OverflowError:
                raise msgspec.ValidationError(f"It is beyond the years 1 to 9999 - at `$.{column}`") from None
        return event

    def _columns(self, found: Sequence[Any]) -> pa.RecordBatch:
        arrays = [
            pa.array([getattr(one, name) for one in found], field.type)
            for name, field in zip(self._fields, self.schema, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _told(self, error: Exception) -> str:
        return f"{str(error).rstrip('.')}."


def _written(text: str) -> str:
    """A time as it was written, without the digits that are not kept: the moment itself, or one before it."""
    return _CUT.sub(r"\1", text)


def _counted(text: str) -> str:
    """The same of a time that may be seconds since 1970; of these, a date: a double is another moment far from 1970."""
    if not _SECONDS.fullmatch(text):
        return _written(text)
    number = Decimal(text)
    least, most = MOMENTS
    moment = int(number.quantize(_MICROSECOND, ROUND_FLOOR).scaleb(6)) if abs(number) < most else most + 1
    if not least <= moment <= most:
        raise msgspec.ValidationError("It is beyond the years 1 to 9999")
    return (_EPOCH + timedelta(microseconds=moment)).isoformat()


def _array(column: Any) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return column


def _struct(columns: Mapping[str, str], names: Sequence[str], time: str) -> type[Any]:
    from datetime import date

    kinds: dict[str, Any] = {
        "text": str,
        "integer": Annotated[int, msgspec.Meta(ge=_LEAST, le=_MOST)],
        "number": float,
        "boolean": bool,
        "time": datetime,
        "date": date,
    }
    fields: list[Any] = []
    for name, (column, kind) in zip(names, columns.items(), strict=True):
        fields.append((name, kinds[kind]) if column == time else (name, kinds[kind] | None, None))
    renamed = dict(zip(names, columns, strict=True))
    return msgspec.defstruct("Event", fields, rename=renamed, kw_only=True, gc=False)
