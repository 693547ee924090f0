"""Excel and OpenDocument sheets: written as CSV, so that types, moments and bad values are treated as there."""

from __future__ import annotations

import csv
import datetime as dt
import io
from pathlib import Path
from typing import Any

from bascule.errors import InputError, MissingExtra, NotFound
from bascule.lake.origins.archives import refuse_packed_bomb
from bascule.lake.origins.origin import Asked
from bascule.lake.origins.spool import whole


def convert(path: Path, spool: Path, asked: Asked) -> list[Path]:
    """Write a sheet as CSV: the one that is asked for by name, else the first.

    The header is the first row with anything in it. Rows with nothing in them are passed over.

    Raises:
        InputError: it is damaged, encrypted or empty.
        NotFound: it has no sheet of that name.
        MissingExtra: the reader is not installed.
    """
    try:
        from python_calamine import CalamineError, CalamineWorkbook, PasswordError
    except ImportError:
        raise MissingExtra("Reading Excel files", "excel") from None
    refuse_packed_bomb(path)  # sheets are read into memory
    wanted = asked.options.more.get("sheet", "")
    try:
        book = CalamineWorkbook.from_path(str(path))
        names = book.sheet_names
        if wanted and wanted not in names:
            raise NotFound("sheet", wanted, names, where=path.name)
        if len(names) > 1 and not wanted:
            asked.tell(f"{path.name} has {len(names)} sheets; reads {names[0]!r}. Name another with the option sheet")
        sheet = book.get_sheet_by_name(wanted or names[0])
        rows = iter(sheet.iter_rows())
    except PasswordError:
        raise InputError(f"{path} is encrypted.", hint="Save it without a password.") from None
    except (CalamineError, OSError, IndexError) as error:
        raise InputError(f"{path} cannot be read as a sheet: {error}", hint="It is damaged: bring it again.") from error
    target = spool / f"{path.name}.csv"
    count = width = 0
    with whole(target) as out:
        text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text, lineterminator="\n")
        for row in rows:
            cells = [_cell(one) for one in row]
            while cells and not cells[-1]:
                cells.pop()
            if not cells:
                continue
            width = width or len(cells)
            # What is beyond the header's columns stays, so that it is told and not lost.
            writer.writerow(cells + [""] * (width - len(cells)))
            count += 1
        text.detach()
    if count < 2:
        target.unlink(missing_ok=True)
        raise InputError(f"{path} has no rows.", hint="Give a sheet with a header and rows.")
    return [target]


def _cell(value: Any) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        # Every number of a sheet is a double; whole ones are written so, as the sheet shows them.
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, dt.datetime):
        is_day = not (value.hour or value.minute or value.second or value.microsecond)
        return value.date().isoformat() if is_day else value.isoformat(sep=" ")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return str(value.total_seconds())
    return str(value)
