"""Contents that nobody keeps as a table, without a subject: JSON, CSV, Parquet, other text, and bytes of any format.

A distinctive value names its subject wherever it stands. Another, such as `id=7`, names it only in a row that has the
columns of the key and agrees with the subject's own row in every other column that both have.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bascule.project.erasing.values import distinctive, names_subject, needles, without

# Fewer bytes stand in the weights of a model by chance, and overwriting them would harm it.
LEAST_BYTES = 6
PARQUET = b"PAR1"


@dataclass(frozen=True, slots=True)
class Sought:
    """A subject as it is looked for in contents.

    Attributes:
        key: column to value.
        rows: the subject's rows in its table, by column in lower case; needed when no value is distinctive.
    """

    key: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]] = ()

    @property
    def values(self) -> list[str]:
        """The values that name the subject wherever they stand."""
        return [str(value) for value in self.key.values() if distinctive(str(value))]

    def may_be_in(self, data: bytes) -> bool:
        """Tell fast whether the subject can be in some bytes; Parquet is compressed, and has to be read."""
        if data[:4] == PARQUET or any(one in data for one in needles(self.key)):
            return True
        return not self.values and bool(self.rows) and all(c.encode() in data for c in self.key)

    def is_row(self, row: Mapping[str, Any]) -> bool:
        """Tell whether a row that stands anywhere is the subject's."""
        if names_subject(row, self.key) is not True:
            return False
        if self.values:
            return True
        named = {column.casefold() for column in self.key}
        cells = {str(name).casefold(): value for name, value in row.items()}
        for own in self.rows:
            shared = (cells.keys() & own.keys()) - named
            if shared and all(_same(cells[name], own[name]) for name in shared):
                return True
        return False


def cleaned(data: bytes, sought: Sought) -> bytes:
    """Return contents without the subject; what does not hold it is returned as it is.

    In text a value is replaced, and rows leave; in formats that are no text values are overwritten by as many stars,
    so that lengths and offsets stay right.
    """
    if data[:4] == PARQUET and data[-4:] == PARQUET:
        return _parquet(data, sought)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" not in text:
        kept = _text(text, sought)
        return data if kept == text else kept.encode()
    for one in needles(sought.key):
        if len(one) >= LEAST_BYTES:
            data = data.replace(one, b"*" * len(one))
    return data


def _text(text: str, sought: Sought) -> str:
    if text[:1] in ("[", "{"):
        try:
            document = json.loads(text)
        except ValueError:
            lines = text.splitlines(keepends=True)
            text = "".join(one for one in lines if not _is_line(one, sought))
        else:
            kept = _json(document, sought)
            text = text if kept == document else json.dumps(kept, ensure_ascii=False)
    else:
        text = _csv(text, sought)
    return without(text, {c: v for c, v in sought.key.items() if distinctive(str(v))}) if sought.values else text


def _is_line(line: str, sought: Sought) -> bool:
    try:
        row = json.loads(line)
    except ValueError:
        return False
    return isinstance(row, dict) and sought.is_row(row)


def _json(value: Any, sought: Sought) -> Any:
    """Leave rows out of lists of objects, and out of tables that tell their columns once, as pandas writes them."""
    if isinstance(value, list):
        return [_json(one, sought) for one in value if not (isinstance(one, dict) and sought.is_row(one))]
    if not isinstance(value, dict):
        return value
    columns, rows = value.get("columns"), value.get("data")
    if isinstance(columns, list) and isinstance(rows, list) and all(isinstance(row, list) for row in rows):
        names = [str(column) for column in columns]
        mine = [sought.is_row(dict(zip(names, row, strict=False))) for row in rows]
        if any(mine):
            value = {**value, "data": [row for row, is_mine in zip(rows, mine, strict=True) if not is_mine]}
            if isinstance(value.get("index"), list) and len(value["index"]) == len(rows):
                value["index"] = list(range(len(value["data"])))
    return {name: _json(one, sought) for name, one in value.items()}


def _csv(text: str, sought: Sought) -> str:
    """Leave the subject's lines out of text whose first line names the key's columns; other lines stay as they are."""
    head = text.partition("\n")[0].casefold()
    if not all(column.casefold() in head for column in sought.key):
        return text
    lines = text.splitlines(keepends=True)
    reader = csv.reader(lines, delimiter=max(",;\t|", key=head.count))
    kept: list[str] = []
    names: list[str] = []
    begins = 0
    try:
        for cells in reader:
            if not names:
                names = cells
            if begins == 0 or not sought.is_row(dict(zip(names, cells, strict=False))):
                kept += lines[begins : reader.line_num]
            begins = reader.line_num
    except csv.Error:
        return text
    return "".join(kept)


def _parquet(data: bytes, sought: Sought) -> bytes:
    """Leave the subject's rows out: those that its key names, and those with a distinctive value in any text."""
    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError):
        return data
    gone = pa.array([False] * table.num_rows)
    columns = {name.casefold(): name for name in table.column_names}
    if all(column.casefold() in columns for column in sought.key):
        gone = pc.or_(gone, _keyed(table, columns, sought))
    for column in table.columns:
        for value in sought.values if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) else ():
            gone = pc.or_(gone, pc.fill_null(pc.match_substring(column.combine_chunks(), value), False))
    if not pc.any(gone).as_py():
        return data
    sink = io.BytesIO()
    pq.write_table(table.filter(pc.invert(gone)), sink, compression="zstd")
    return sink.getvalue()


def _keyed(table: pa.Table, columns: Mapping[str, str], sought: Sought) -> pa.Array:
    hit = pa.array([True] * table.num_rows)
    for column, value in sought.key.items():
        cells = table.column(columns[column.casefold()]).combine_chunks()
        try:
            hit = pc.and_(hit, pc.fill_null(pc.equal(pc.cast(cells, pa.string()), str(value)), False))
        except pa.ArrowException:
            return pa.array([False] * table.num_rows)
    if sought.values:
        return hit
    places = pc.indices_nonzero(hit).to_pylist()
    mine = {
        n
        for n, row in zip(places, table.take(pa.array(places, pa.int64())).to_pylist(), strict=True)
        if sought.is_row(row)
    }
    return pa.array([n in mine for n in range(table.num_rows)])


def _same(one: Any, other: Any) -> bool:
    if one in (None, "") or other in (None, ""):
        return one in (None, "") and other in (None, "")
    if str(one) == str(other):
        return True
    try:
        return float(one) == float(other)
    except (TypeError, ValueError):
        return False
