"""Contents that nobody keeps as a table, without a subject: JSON, CSV, Parquet, other text, and bytes of any format.

What is packed is looked into (`packed`), and Arrow and Avro are read by their columns (`columns`).

A distinctive value names its subject wherever it stands. Another, such as `id=7`, names it only in a row that has the
columns of the key and agrees with the subject's own row in every other column that both have.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from bascule.project.erasing import columns
from bascule.project.erasing.packed import DEPTH, Room, Unread, packing, repacked
from bascule.project.erasing.values import distinctive, names_subject, needles, without

# Fewer bytes stand in the weights of a model by chance, and overwriting them would harm it.
LEAST_BYTES = 6
# How text stands in files beside UTF-8: in UTF-16, in arrays of numpy (UTF-32), and as old programs wrote it.
ENCODINGS = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "cp1252")
MARKS = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be", b"\xef\xbb\xbf": "utf-8"}


@dataclass(frozen=True, slots=True)
class Sought:
    """A subject as it is looked for in contents.

    Attributes:
        key: column to value.
        rows: the subject's rows in its table, by column in lower case; needed when no value is distinctive.
        removes: rows of Parquet, Arrow and Avro go in which a cell is a value; else it is replaced, as in tables.
    """

    key: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]] = ()
    removes: bool = False

    @property
    def values(self) -> list[str]:
        """The values that name the subject wherever they stand."""
        return [str(value) for value in self.key.values() if distinctive(str(value))]

    def may_be_in(self, data: bytes) -> bool:
        """Tell fast whether the subject can be in some bytes; what is packed or compressed has to be read."""
        values = self.values
        if not values and not self.rows:
            return False
        if columns.kind_of(data) or packing(data) or any(one in data for one in needles(self.key)):
            return True
        if values:
            return any(one in data for one, _ in _encoded(tuple(values)))
        return data[:2] in MARKS or all(c.encode() in data for c in self.key)

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


@dataclass(slots=True)
class _Look:
    """A look into contents: what may come out of them, and why parts of them could not be looked into."""

    sought: Sought
    room: Room
    unread: list[str] = field(default_factory=list)

    def cleaned(self, data: bytes, depth: int) -> bytes:
        """Return contents of any form without the subject."""
        if not self.sought.may_be_in(data):
            return data
        try:
            if columns.kind_of(data):
                return columns.cleaned(data, self.sought, self.room)
            if packing(data):
                if depth == DEPTH:
                    raise Unread(f"is packed more than {DEPTH} times")
                inner = lambda part: self.cleaned(part, depth + 1)  # noqa: E731
                return repacked(data, self.room, inner, self._named)
        except Unread as error:
            if str(error) and not data.isascii():  # a text may begin as something packed does
                self.unread.append(str(error))
        return _plain(data, self.sought)

    def _named(self, name: str) -> str:
        return without(name, self.sought.key) if self.sought.values else name


def cleaned(data: bytes, sought: Sought) -> bytes:
    """Return contents without the subject; what does not hold it is returned as it is.

    In text a value is replaced, and rows leave; in formats that are no text values are overwritten by as many stars,
    so that lengths and offsets stay right. What is packed is packed anew.
    """
    return looked_into(data, sought)[0]


def looked_into(data: bytes, sought: Sought) -> tuple[bytes, str]:
    """Return contents as `cleaned` does, and why not all of them could be looked into: empty when they could."""
    look = _Look(sought, Room(len(data)))
    after = look.cleaned(data, 0)
    return after, "; ".join(dict.fromkeys(look.unread))


def _plain(data: bytes, sought: Sought) -> bytes:
    mark = next((mark for mark in MARKS if data.startswith(mark)), b"")
    coding = MARKS.get(mark, "utf-8")
    try:
        text = data[len(mark) :].decode(coding)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" not in text:
        kept = _text(text, sought)
        return data if kept == text else mark + kept.encode(coding)
    for one in needles(sought.key):
        if len(one) >= LEAST_BYTES:
            data = data.replace(one, b"*" * len(one))
    for one, stars in _encoded(tuple(sought.values)):
        data = data.replace(one, stars) if len(one) >= LEAST_BYTES else data
    return data


@lru_cache(maxsize=64)
def _encoded(values: tuple[str, ...]) -> list[tuple[bytes, bytes]]:
    """Return values as other encodings write them, each with what overwrites it."""
    found = {}
    for value in values:
        for coding in ENCODINGS:
            try:
                told = value.encode(coding)
            except UnicodeEncodeError:
                continue
            stars = "*".encode(coding)
            if told != value.encode():
                found[told] = stars * (len(told) // len(stars))
    return list(found.items())


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


def _same(one: Any, other: Any) -> bool:
    if one in (None, "") or other in (None, ""):
        return one in (None, "") and other in (None, "")
    if str(one) == str(other):
        return True
    try:
        return float(one) == float(other)
    except (TypeError, ValueError):
        return False
