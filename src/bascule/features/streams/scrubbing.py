"""Taking a subject out of a stream's log: out of its entries, and out of the pages that nothing points to any more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from bascule.features.streams.entries import Entry, entries_of, entry_key, environment_of, put_state, state_of, written

_FILL = b"z"
_VALUE = bytes(1_900)  # two of them fill a page of LMDB's
_AT_ONCE = 512


def forget_from(folder: Path, key: Mapping[str, Any], *, dry_run: bool = False) -> int:
    """Remove a subject's events from the log in a folder, and return how many there were.

    The online store forgets its own. It bears being killed and called again.

    Args:
        key: the columns that the subject is known by, to their values.
    """
    environment, removed = environment_of(folder), 0
    with environment.begin(write=not dry_run) as transaction:
        state = state_of(transaction)
        for number, data in list(entries_of(transaction, 0)):
            entry = msgspec.msgpack.decode(data, type=Entry)
            rows = pa.Table.from_batches(list(pa.ipc.open_stream(entry.data)))
            gone = _belongs(rows, key)
            count = 0 if gone is None else int(pc.sum(gone).as_py() or 0)
            aside = [one for one in entry.aside if not all(str(value) in one[3] for value in key.values())]
            removed += count + len(entry.aside) - len(aside)
            if dry_run or (not count and len(aside) == len(entry.aside)):
                continue
            stays = rows if gone is None else rows.filter(pc.invert(gone))
            batches = stays.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], schema=rows.schema)]
            data = written(batches[0])
            fresh = Entry(stays.num_rows, data, aside, entry.offsets, entry.at)
            transaction.put(entry_key(number), msgspec.msgpack.encode(fresh))
            if number > state.landed:
                state.waiting_rows -= count
                state.waiting_bytes += len(data) - len(entry.data)
        if not dry_run:
            put_state(transaction, state)
    return removed


def scrub(folder: Path) -> None:
    """Write zeros over every page of the log that nothing points to: what was removed is gone from the file, too."""
    environment, place = environment_of(folder), 0
    environment.reader_check()
    for _ in range(2):  # pages are free for others two transactions after they were given up
        with environment.begin(write=True) as transaction:
            transaction.put(_FILL, b"")
    last = environment.info()["last_pgno"]
    while environment.info()["last_pgno"] == last:  # no page is left when the file grows
        with environment.begin(write=True) as transaction:
            for _ in range(_AT_ONCE):
                transaction.put(_FILL + place.to_bytes(8, "big"), _VALUE)
                place += 1
    with environment.begin(write=True) as transaction:
        for number in range(place):
            transaction.delete(_FILL + number.to_bytes(8, "big"))
        transaction.delete(_FILL)


def _belongs(rows: pa.Table, key: Mapping[str, Any]) -> Any:
    mask = None
    for column, value in key.items():
        if column not in rows.column_names:
            return None
        same = pc.fill_null(pc.equal(pc.cast(rows.column(column), pa.string()), str(value)), False)
        mask = same if mask is None else pc.and_(mask, same)
    return mask
