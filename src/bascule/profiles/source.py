"""The rows that are profiled, and a sample of them: shuffled, and the same whenever the same rows are asked again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import duckdb

from bascule.contracts.families import family_of
from bascule.contracts.sql import columns_of, quoted

SAMPLE = 100_000
SAMPLE_TABLE = "bascule sample"
ORDER = "bascule order"


@dataclass(frozen=True)
class Source:
    """Rows to profile.

    Attributes:
        name: the table's.
        relation: SQL for FROM.
        rows: how many there are.
        positioned: SQL for FROM that yields the same rows with where each lies, in the columns that `position` reads;
            without it rows are drawn by their content, and equal rows are drawn together.
        position: SQL over `positioned` that tells rows apart.
        without: columns of `positioned` that are no columns of the table.
        types: name to type of the columns that are looked at.
    """

    name: str
    relation: str
    rows: int
    positioned: str = ""
    position: str = ""
    without: tuple[str, ...] = ()
    types: tuple[tuple[str, str], ...] = ()

    def of(self, connection: duckdb.DuckDBPyConnection, columns: Sequence[str] = ()) -> Source:
        """Return the source with its columns known: all, or those that are named."""
        types = columns_of(connection, self.relation)
        return replace(
            self, types=tuple((name, type_) for name, type_ in types.items() if not columns or name in columns)
        )

    @property
    def selected(self) -> str:
        """SQL for FROM that yields the columns that are looked at."""
        return f"(SELECT {', '.join(quoted(name) for name, _ in self.types)} FROM {self.relation})"


def draw(connection: duckdb.DuckDBPyConnection, source: Source, wanted: int = SAMPLE) -> int:
    """Make the temporary table `SAMPLE_TABLE` of about so many rows in a shuffled order; of all when there are few.

    Rows are drawn by a hash of where they lie, so that the same state of a table always gives the same sample.

    Returns:
        How many rows were drawn.
    """
    names = ", ".join(quoted(name) for name, _ in source.types)
    relation, key = source.relation, f"hash({names})"
    if source.position:
        relation, key = source.positioned, f"hash({source.position})"
    share = "" if source.rows <= wanted else f"WHERE {key} < {int(2**64 * wanted / source.rows)}::UBIGINT "
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {quoted(SAMPLE_TABLE)} AS SELECT {names} FROM {relation} {share}ORDER BY {key}"
    )
    return int(connection.execute(f"SELECT count(*) FROM {quoted(SAMPLE_TABLE)}").fetchall()[0][0])


def sampled(source: Source, rows: int) -> Source:
    """Return the sample as a source of its own."""
    return Source(
        source.name, quoted(SAMPLE_TABLE), rows, types=source.types, position="rowid", positioned=quoted(SAMPLE_TABLE)
    )


def plain(type_name: str) -> bool:
    """Tell whether values of a type stand alone: no lists, structures or bytes."""
    return family_of(type_name) not in ("array", "object", "map", "binary", "other", "empty")
