"""A table's profile: a scan for the plain figures, one for the distributions, a sample for what compares columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import duckdb
import msgspec
import numpy as np
from numpy.typing import NDArray

from bascule.contracts.families import is_float
from bascule.contracts.profiling import ColumnProfile as Base
from bascule.contracts.profiling import profile
from bascule.contracts.sql import error_text, quoted
from bascule.errors import EnvironmentProblem, InputError
from bascule.profiles import absence, associations, figures, moments, writing
from bascule.profiles.duplicates import commonest, copies, different
from bascule.profiles.identifiers import Suspect, suspect
from bascule.profiles.meanings import meaning
from bascule.profiles.notes import notes_of
from bascule.profiles.results import MASK, ColumnProfile, Missing, Numbers, Outliers, TableProfile, Texts, Times, Top
from bascule.profiles.source import SAMPLE_TABLE, Source, plain

MOST_VALUES = 2_000
TOP = 10
# Above so many different values the common ones are told of the sample: counting all would need memory for each.
COUNTABLE = 10_000
# A column whose sketch says so much of its values differ is counted exactly: it may be a key.
NEARLY = 0.9
MEMORY = "1200MB"

Floats = NDArray[np.float64]


@dataclass
class _Column:
    """What is gathered of a column on the way."""

    base: Base
    values: list[str]
    private: Suspect | None = None
    distinct: int | None = None
    exact: bool = False
    quantiles: Sequence[tuple[float, float]] = ()
    numbers: Numbers | None = None
    texts: Texts | None = None
    times: Times | None = None
    histogram: Any = None
    top: tuple[Top, ...] = ()
    top_of: Literal["rows", "sample"] = "rows"

    @property
    def name(self) -> str:
        return self.base.name

    @property
    def family(self) -> str:
        return self.base.family


def limit(connection: duckdb.DuckDBPyConnection, memory: str = MEMORY) -> None:
    """Set how much memory a connection may take, so that a profile of any table stays below 2 GB; the rest spills."""
    connection.execute(f"SET memory_limit = '{memory}'")
    connection.execute("SET preserve_insertion_order = false")


def measure(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    drawn: int,
    *,
    times: Mapping[str, str] | None = None,
    private: Collection[str] = (),
    detect: Callable[[str, Sequence[str], str], Suspect | None] = suspect,
    now: datetime | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> TableProfile:
    """Measure a table whose sample was drawn (`source.draw`).

    Two scans read all columns; one narrow query each counts common values, nearly unique columns, the periods of a
    time, and equal rows. Memory is bounded by the connection's limit, beyond which DuckDB works on disk.

    Args:
        drawn: how many rows the sample has.
        times: for columns that are moments but have no such type, the SQL that reads them.
        private: columns whose values must not be shown, besides those that look so.
        detect: tells what personal data a column looks like, from its name, some values and its type's family.
        now: what counts as the future.
        tell: called with what is being done.

    Raises:
        InputError: the rows cannot be read.
        EnvironmentProblem: neither memory nor disk suffices.
    """
    try:
        return _Measuring(connection, source, drawn, dict(times or {}), detect, now or datetime.now(UTC), tell).done(
            private
        )
    except duckdb.OutOfMemoryException as error:
        raise EnvironmentProblem(
            f"{source.name} does not fit in memory or on disk: {error_text(error)}",
            hint="Look at some columns (--columns) or at some rows (--sample 100000).",
        ) from error
    except duckdb.InterruptException:
        raise KeyboardInterrupt from None
    except duckdb.Error as error:
        raise InputError(
            f"{source.name} cannot be read: {error_text(error)}", hint="Look at the rows with: bascule sql"
        ) from error


class _Measuring:
    """The steps, and what they share."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        source: Source,
        drawn: int,
        times: dict[str, str],
        detect: Callable[[str, Sequence[str], str], Suspect | None],
        now: datetime,
        tell: Callable[[str], None],
    ) -> None:
        self.connection, self.source, self.drawn = connection, source, drawn
        self.times, self.detect, self.now, self.tell = times, detect, now, tell
        self.sample = quoted(SAMPLE_TABLE)
        self.types = dict(source.types)

    def done(self, private: Collection[str]) -> TableProfile:
        self.tell("counting")
        base = profile(self.connection, self.source.selected, top=0, quantiles=False, more=figures.more)
        self.rows = base.rows
        self.whole = self.drawn >= self.rows
        columns = [_Column(one, self._values(one)) for one in base.columns]
        for one in columns:
            one.private = self._private(one, private)
        sampled = self._numbers(columns)
        self.tell("looking at values")
        for one in columns:
            self._distinct(one)
            self._top(one)
            self._texts(one)
            self._times(one)
        self.tell("looking for equal rows")
        duplicates = copies(self.connection, self.source.selected, self.types, self.rows)
        self.tell("comparing columns")
        matrix, pairs = associations.associate(
            {name: values for name, values in sampled.items() if name not in self.times},
            self._codes(columns),
            list(self.types),
        )
        missing = self._missing(columns)
        found = TableProfile(
            name=self.source.name,
            rows=self.rows,
            rows_read=self.rows,
            rows_sampled=self.drawn,
            made_at=self.now.astimezone(UTC).replace(microsecond=0).isoformat(),
            columns=tuple(self._column(one) for one in columns),
            missing=missing,
            duplicates=duplicates,
            matrix=matrix,
            pairs=pairs,
            basis=self._basis(),
        )
        return notes_of(found, duplicates)

    def _values(self, base: Base) -> list[str]:
        if not plain(base.type) or not self.rows:
            return []
        name = quoted(base.name)
        rows = self.connection.execute(
            f"SELECT DISTINCT CAST({name} AS VARCHAR) FROM (SELECT {name} FROM {self.sample} "
            f"WHERE {name} IS NOT NULL LIMIT {MOST_VALUES})"
        ).fetchall()
        return sorted(str(row[0]) for row in rows)

    def _private(self, one: _Column, declared: Collection[str]) -> Suspect | None:
        family = "timestamp" if one.name in self.times else one.family
        found = self.detect(one.name, [value for value in one.values if value.strip()], family)
        if found is None and one.name in declared:
            return Suspect("private", 0.0, "its contract says so")
        return found

    def _numbers(self, columns: Sequence[_Column]) -> dict[str, Floats]:
        """Fill in what is told of numbers; return the sample's values."""
        numeric = [one for one in columns if one.family in ("integer", "number")]
        sampled = figures.sample_numbers(
            self.connection, self.sample, {one.name: self.types[one.name] for one in numeric}
        )
        wanted: dict[str, tuple[str, Sequence[float], tuple[float, float]]] = {}
        scales = {}
        for one in numeric:
            one.quantiles = figures.quantiles(sampled[one.name])
            if not one.quantiles or one.base.minimum == one.base.maximum:
                continue
            quantile, low, high = dict(one.quantiles), float(one.base.minimum or 0), float(one.base.maximum or 0)
            scales[one.name], cuts = figures.edges(quantile, low, high, whole=one.family == "integer")
            wanted[one.name] = (self.types[one.name], cuts, figures.fences(quantile))
        self.tell("distributions")
        spread = figures.spread(self.connection, self.source.selected, wanted)
        for one in numeric:
            outliers = None
            if one.name in spread:
                counts, below, above = spread[one.name]
                low, high = wanted[one.name][2]
                if math.isfinite(low):
                    outliers = Outliers(low=low, high=high, below=below, above=above)
                if (one.base.distinct or 0) > figures.FEW_VALUES or one.family == "number":
                    one.histogram = figures.histogram(
                        scales[one.name], wanted[one.name][1], counts, whole=one.family == "integer"
                    )
            one.numbers = figures.numbers(one.base, one.quantiles, outliers, figures.places(sampled[one.name]))
        return sampled

    def _distinct(self, one: _Column) -> None:
        """Take the sketch's number, or count a column that may name rows."""
        filled = self.rows - one.base.missing
        one.distinct = min(one.base.distinct, filled) if one.base.distinct is not None else None
        if one.distinct is None or is_float(self.types[one.name]):
            return
        if self.rows <= COUNTABLE or one.distinct >= NEARLY * filled or one.distinct <= 2:
            one.distinct, one.exact = different(self.connection, self.source.selected, (one.name,)), True

    def _top(self, one: _Column) -> None:
        if one.family not in ("integer", "string", "boolean", "date", "number") or not one.values:
            return
        few = (one.distinct or 0) <= (COUNTABLE if one.family == "string" else figures.FEW_VALUES * 5)
        if one.private and one.family == "string":
            return  # not even how often its values are repeated
        if few:
            found, one.distinct = commonest(self.connection, self.source.selected, one.name, TOP)
            one.exact = True
        elif one.family == "string":
            one.top_of = "rows" if self.whole else "sample"
            found = [top for top in commonest(self.connection, self.sample, one.name, TOP)[0] if top[1] > 1]
        else:
            return
        one.top = tuple(Top(value[:80], count) for value, count in found)

    def _texts(self, one: _Column) -> None:
        if one.family != "string":
            return
        base = one.base
        one.texts = Texts(
            shortest=base.shortest,
            longest=base.longest,
            mean=base.more.get("mean_length"),
            empty=int(base.more.get("empty") or 0),
            padded=int(base.more.get("padded") or 0),
            shapes=writing.shapes(one.values),
            same_but_case=writing.same_but_case(one.values),
            numeric=writing.numeric(one.values),
        )

    def _times(self, one: _Column) -> None:
        name = quoted(one.name)
        read = self.times.get(one.name)
        if one.family in ("date", "timestamp"):
            read = (
                name
                if "TIME ZONE" in one.base.type or one.base.type == "TIMESTAMPTZ"
                else f"CAST({name} AS TIMESTAMPTZ)"
            )
        if read is not None:
            said = self.times.get(one.name) if one.family not in ("date", "timestamp") else None
            one.times = moments.coverage(self.connection, self.source.selected, read, self.now, read_as=said)

    def _codes(self, columns: Sequence[_Column]) -> dict[str, NDArray[np.int64]]:
        """Return the values of the sample's categories as numbers."""
        names = [
            one.name
            for one in columns
            if one.family in ("string", "boolean") and 2 <= (one.distinct or 0) <= 2 * associations.MOST_LEVELS
        ]
        if not names:
            return {}
        items = ", ".join(f"CAST({quoted(name)} AS VARCHAR) AS {quoted(name)}" for name in names)
        table = self.connection.sql(f"SELECT {items} FROM {self.sample} LIMIT {associations.ROWS}").to_arrow_table()
        found = {}
        for name in names:
            codes = table.column(name).combine_chunks().dictionary_encode().indices.fill_null(-1)
            found[name] = np.asarray(codes.to_numpy(zero_copy_only=False), dtype=np.int64)
        return found

    def _missing(self, columns: Sequence[_Column]) -> Missing:
        missing = {one.name: one.base.missing for one in columns}
        names = [name for name, rows in missing.items() if rows][: absence.MOST_COLUMNS]
        absent: dict[str, NDArray[np.bool_]] = {}
        if names:
            tests = {
                name: f"{quoted(name)} IS NULL" + (f" OR isnan({quoted(name)})" if is_float(self.types[name]) else "")
                for name in names
            }
            items = ", ".join(f"({test}) AS {quoted(name)}" for name, test in tests.items())
            table = self.connection.sql(f"SELECT {items} FROM {self.sample}").to_arrow_table()
            absent = {name: np.asarray(table.column(name).to_numpy(zero_copy_only=False), dtype=bool) for name in names}
        return absence.together(sum(missing.values()), missing, absent)

    def _column(self, one: _Column) -> ColumnProfile:
        filled = self.rows - one.base.missing
        known = meaning(
            one.name,
            one.family,
            distinct=one.distinct or 0,
            rows=filled,
            values=one.values,
            numbers=one.numbers,
            is_time=one.name in self.times,
        )
        found = ColumnProfile(
            name=one.name,
            type=one.base.type,
            meaning=one.private.kind if one.private and one.private.share else known,
            private=one.private.kind if one.private else None,
            private_why=one.private.why if one.private else "",
            missing=one.base.missing,
            distinct=one.distinct,
            distinct_exact=one.exact,
            numbers=one.numbers,
            texts=one.texts,
            times=one.times,
            histogram=one.histogram,
            top=one.top,
            top_of=one.top_of,
        )
        return hidden(found) if one.private else found

    def _basis(self) -> dict[str, str]:
        exact = "exact"
        some = exact if self.whole else f"a sample of {self.drawn:,} rows"
        return {
            "rows, missing, ranges, means": exact,
            "histograms, outliers": f"exact counts; where the fences lie: {some}",
            "equal rows, keys": exact,
            "distinct values": "exact, or where marked ≈ a HyperLogLog sketch, within about 5 %",
            "common values": "exact" if self.whole else "exact up to 10,000 different values, else a sample",
            "quantiles": some,
            "correlation and association": exact
            if self.rows <= associations.ROWS
            else f"a sample of {min(self.drawn, associations.ROWS):,} rows",
            "missing together": some,
            "meanings, personal data, shapes": f"at most {MOST_VALUES:,} values a column",
            "times": exact,
        }


def hidden(found: ColumnProfile) -> ColumnProfile:
    """Return a column's profile without any of its values: counts and shapes stay."""
    replace: Any = msgspec.structs.replace
    numbers, times = found.numbers, found.times
    if numbers is not None:
        gone: dict[str, Any] = {"minimum": None, "maximum": None, "quantiles": (), "least": (), "greatest": ()}
        numbers = replace(numbers, mean=None, std=None, outliers=None, **gone)
    if times is not None:
        times = replace(times, minimum=times.minimum[:4], maximum=times.maximum[:4], counts=(), gaps=())
    top = tuple(Top(MASK, one.rows) for one in found.top)
    # How a text is written tells little of one person; a text of one value tells all.
    texts = found.texts
    if texts is not None:
        texts = replace(texts, shapes=tuple(one for one in texts.shapes if one.rows > 1))
    done: ColumnProfile = replace(found, numbers=numbers, times=times, top=top, histogram=None, texts=texts)
    return done
