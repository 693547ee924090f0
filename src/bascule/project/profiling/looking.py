"""A profile of rows that a connection has: measured, then related to other tables and to what is learned."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import duckdb
import msgspec

from bascule.profiles import Source, TableProfile, measure
from bascule.profiles.results import Note
from bascule.profiles.source import SAMPLE, draw, sampled
from bascule.project.init.tables import Table
from bascule.project.profiling import relating

Tell = Callable[[str], None]


def look(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    *,
    sample: int = 0,
    private: Collection[str] = (),
    key: Sequence[str] = (),
    label: str = "",
    declared: bool = False,
    others: Callable[[duckdb.DuckDBPyConnection], Iterable[Table]] | None = None,
    tell: Tell = lambda text: None,
) -> TableProfile:
    """Profile a table.

    Args:
        source: the rows, with their columns known.
        sample: look at about so many rows only; 0 looks at all.
        private: columns whose values must not be shown.
        key: the columns that are said to name a row.
        label: what is learned, as a column or an expression; empty when it is not known.
        declared: whether the project says so, for whichever of its tables.
        others: loads the tables that could be joined.
        tell: called with what is being done.
    """
    tell("drawing a sample")
    drawn = draw(connection, source, min(sample or SAMPLE, SAMPLE) if not sample or sample <= SAMPLE else sample)
    marked = relating.mark(connection, drawn)
    rows = source.rows
    if sample and drawn < rows:
        source = sampled(source, drawn)
    found = measure(connection, source, drawn, times=marked.times, private=private, tell=tell)
    tell("keys and joins")
    table = relating.whole_table(connection, source, found, marked)
    keys = relating.keys(connection, table, key)
    if found.rows_read < rows:
        keys = tuple(msgspec.structs.replace(one, sampled=True) for one in keys)
    best = next((one.columns for one in keys if one.how in ("declared", "found")), ())
    joins = relating.joins(connection, table.with_key(best), marked.table, others(connection)) if others else ()
    replace: Any = msgspec.structs.replace
    found = replace(found, rows=rows, keys=keys, joins=joins)
    tell("labels and leakage")
    candidates, chosen = relating.labels(connection, marked.table, found, label, declared=declared)
    leaks = relating.leaks(connection, chosen, candidates[0].column) if chosen is not None else ()
    notes = [*found.notes]
    if marked.trouble:
        notes.insert(0, Note(level="warning", text=marked.trouble))
    notes += [
        Note(level="warning", text=f"may give {one.label} away: {one.reason}", column=one.column) for one in leaks
    ]
    basis = dict(found.basis) | {"labels, leakage": f"at most {relating.LEAK_ROWS:,} rows of the sample"}
    if found.rows_read < rows:
        basis = {"everything": f"a sample of {found.rows_read:,} of {rows:,} rows (--sample)"} | {
            name: told.replace("exact", "exact in the sample") for name, told in basis.items()
        }
    done: TableProfile = replace(
        found,
        labels=candidates,
        label=candidates[0].column if chosen is not None else None,
        leaks=leaks,
        notes=tuple(sorted(notes, key=lambda note: note.level != "warning")),
        basis=basis,
    )
    return done
