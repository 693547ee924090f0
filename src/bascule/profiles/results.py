"""A table's profile as data: JSON-able with msgspec, and what every form of it is written from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

Level = Literal["info", "warning"]
MASK = "•••"


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a reader should know, in a sentence; about a column, or the table when there is none."""

    level: Level
    text: str
    column: str | None = None


class Top(msgspec.Struct, frozen=True):
    """A value, as text, and how many rows have it. A private value is not shown."""

    value: str
    rows: int


class Bin(msgspec.Struct, frozen=True):
    """The rows with `low` < value <= `high`; None where it has no end."""

    low: float | None
    high: float | None
    rows: int


class Histogram(msgspec.Struct, frozen=True, kw_only=True):
    """Exact counts of all rows in bins of equal width, or of equal ratio when `scale` is `log`.

    The first and the last bin may take all that lies beyond, so that a few extremes do not hide the rest. `whole` says
    that the values are whole numbers, and so are the bounds.
    """

    scale: Literal["linear", "log"]
    bins: tuple[Bin, ...]
    whole: bool = False


class Outliers(msgspec.Struct, frozen=True, kw_only=True):
    """Rows beyond Tukey's outer fences: three times the middle half's width below or above it."""

    low: float
    high: float
    below: int
    above: int


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """A column of numbers.

    Attributes:
        quantiles: (level, value).
        skewness: the third standardised moment; 0 for a symmetric column.
        decimals: how many places the values of the sample have; None when they have more than six.
        least, greatest: the five of each.
    """

    minimum: float | int | None
    maximum: float | int | None
    mean: float | None
    std: float | None
    skewness: float | None
    zeros: int
    negatives: int
    decimals: int | None = None
    infinite: int = 0
    quantiles: tuple[tuple[float, float], ...] = ()
    least: tuple[float | int, ...] = ()
    greatest: tuple[float | int, ...] = ()
    outliers: Outliers | None = None


class Texts(msgspec.Struct, frozen=True, kw_only=True):
    """A column of texts: characters of its values, and how they are written.

    Attributes:
        empty: rows with a text of no characters.
        padded: rows with blanks before or behind.
        shapes: how values look: `A` a capital, `a` a letter, `9` a digit, repeats as one; the commonest of the sample.
        same_but_case: values of the sample that differ from another in case alone.
        numeric: the share of the sample that reads as a number.
    """

    shortest: int | None
    longest: int | None
    mean: float | None
    empty: int
    padded: int
    shapes: tuple[Top, ...] = ()
    same_but_case: int = 0
    numeric: float = 0.0


class Gap(msgspec.Struct, frozen=True):
    """Periods without a row: from the first of them to the next one that has rows."""

    start: str
    end: str
    periods: int


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """A column of moments, in UTC.

    Attributes:
        unit: the period that rows are counted by.
        counts: (start of the period, rows), those with rows only.
        empty_periods: periods between the first and the last without a row; weekdays that never have rows don't count.
        gaps: the longest of them.
        future: rows later than when the profile was made.
        midnight: the share of rows at the start of a day.
        read_as: the SQL that reads a text or a number as a moment.
    """

    minimum: str
    maximum: str
    span_days: float
    unit: str
    counts: tuple[tuple[str, int], ...]
    periods: int
    empty_periods: int
    gaps: tuple[Gap, ...] = ()
    future: int = 0
    midnight: float = 0.0
    read_as: str | None = None


class ColumnProfile(msgspec.Struct, frozen=True, kw_only=True):
    """One column.

    Attributes:
        type: DuckDB's word for it.
        meaning: what its values are: `identifier`, `category`, `money`, `email`, `country code`, …
        private: what personal data its values look like, or None. Then no value of it is shown anywhere.
        private_why: on what that rests.
        missing: rows without a value.
        distinct: how many different values; see `distinct_exact`.
        top: the commonest values.
        top_of: of which rows they were counted.
    """

    name: str
    type: str
    meaning: str
    private: str | None = None
    private_why: str = ""
    missing: int
    distinct: int | None
    distinct_exact: bool = False
    numbers: Numbers | None = None
    texts: Texts | None = None
    times: Times | None = None
    histogram: Histogram | None = None
    top: tuple[Top, ...] = ()
    top_of: Literal["rows", "sample"] = "rows"


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """How much two columns tell of each other.

    Attributes:
        measure: `spearman`, `cramers_v` or `correlation_ratio`.
        value: -1 to 1 for `spearman`, else 0 to 1.
        pearson: of two numbers.
        told_by_left, told_by_right: Theil's U of two categories: the share of the other's entropy that one removes.
        rows: rows of the sample in which both have a value.
    """

    left: str
    right: str
    measure: Literal["spearman", "cramers_v", "correlation_ratio"]
    value: float
    pearson: float | None = None
    told_by_left: float | None = None
    told_by_right: float | None = None
    rows: int = 0


class Matrix(msgspec.Struct, frozen=True, kw_only=True):
    """Each column against each: Spearman, Cramér's V or the correlation ratio, as the two are; None where unknown."""

    columns: tuple[str, ...]
    kinds: tuple[Literal["number", "category"], ...]
    values: tuple[tuple[float | None, ...], ...]


class Together(msgspec.Struct, frozen=True):
    """Columns that are missing in the same rows, and in how many of the sample; none: rows with all values."""

    columns: tuple[str, ...]
    rows: int


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """Missing values of the table.

    Attributes:
        cells: of all cells.
        columns: how many columns miss any.
        rows_sampled, patterns: which columns are missing together, commonest first, in so many rows.
        pairs: (column, column, correlation) of being missing, the strongest ones.
    """

    cells: int
    columns: int
    rows_sampled: int = 0
    patterns: tuple[Together, ...] = ()
    pairs: tuple[tuple[str, str, float], ...] = ()


class Duplicates(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that are equal in every column, found by a 64-bit hash of the row.

    Attributes:
        copies: rows that could go without losing anything.
        repeated: different rows that are there more than once.
        most: how often the most repeated one is there.
    """

    copies: int
    repeated: int
    most: int


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """Columns that name a row, or nearly.

    Attributes:
        how: `declared` in the table, `found` by trying combinations, or `nearly`: unique but for some rows.
        repeats: rows whose value another row has too. missing: rows without it.
        sampled: only a sample was looked at; in the table there may be repeats.
    """

    columns: tuple[str, ...]
    how: Literal["declared", "found", "nearly"]
    repeats: int
    missing: int = 0
    sampled: bool = False


class Join(msgspec.Struct, frozen=True, kw_only=True):
    """Another table that can be joined.

    Attributes:
        pairs: (column here, column there).
        how: `reference` (one row there for each here), `state` (rows that hold from a moment on), `events`, or
            `referenced by` (the other table's rows name a row here).
        share: of the values that are found on the side that is named.
    """

    table: str
    pairs: tuple[tuple[str, str], ...]
    how: str
    share: float
    time: str | None = None


class LabelCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """A column that could be learned, and as what."""

    column: str
    task: str
    why: str
    declared: bool = False


class Leak(msgspec.Struct, frozen=True, kw_only=True):
    """A column that tells the label too well."""

    column: str
    label: str
    reason: str


class ColumnChange(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a column since the other state; shares are 0 to 1."""

    column: str
    what: str
    missing_before: float | None = None
    missing: float | None = None
    mean_before: float | None = None
    mean: float | None = None
    shift: float | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """The table against another state of it; `shift` runs from 0 to 1, as `bascule diff` has it."""

    ref: str
    rows_before: int
    rows: int
    added: int
    removed: int
    changed: int
    schema: tuple[str, ...] = ()
    columns: tuple[ColumnChange, ...] = ()


class TableProfile(msgspec.Struct, frozen=True, kw_only=True):
    """A table.

    Attributes:
        rows: how many it has.
        rows_read: how many were looked at; fewer than `rows` when only a sample was asked for.
        rows_sampled: rows of the sample, for what is told of a sample.
        basis: for each part of the profile, whether it is exact and else from what it is told.
        at: the state that was read, and its commit.
        label: the label that leakage was judged by.
    """

    name: str
    rows: int
    rows_read: int
    rows_sampled: int
    made_at: str
    at: str | None = None
    commit: str | None = None
    bytes: int | None = None
    columns: tuple[ColumnProfile, ...] = ()
    notes: tuple[Note, ...] = ()
    missing: Missing
    duplicates: Duplicates | None = None
    matrix: Matrix | None = None
    pairs: tuple[Pair, ...] = ()
    keys: tuple[Key, ...] = ()
    joins: tuple[Join, ...] = ()
    labels: tuple[LabelCandidate, ...] = ()
    label: str | None = None
    leaks: tuple[Leak, ...] = ()
    change: Change | None = None
    basis: dict[str, str] = {}

    @property
    def private(self) -> Iterator[ColumnProfile]:
        """The columns that look like personal data."""
        return (one for one in self.columns if one.private)

    def column(self, name: str) -> ColumnProfile | None:
        """A column by name."""
        return next((one for one in self.columns if one.name == name), None)

    def as_dict(self) -> dict[str, Any]:
        """The profile as one JSON object."""
        found: dict[str, Any] = {"kind": "table", **msgspec.to_builtins(self)}
        return found


class Copies(msgspec.Struct, frozen=True):
    """Files that are the same, or nearly: some of their paths, and how many they are."""

    paths: tuple[str, ...]
    files: int


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """A number that each looked-at file has: its quantiles and its histogram."""

    name: str
    quantiles: tuple[tuple[float, float], ...]
    histogram: Histogram | None


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What files are, by how many: formats, modes, languages, words."""

    name: str
    of: str
    top: tuple[Top, ...]


class FilesProfile(msgspec.Struct, frozen=True, kw_only=True):
    """A set of files.

    Attributes:
        content: `images`, `texts`, or `files` when it is neither.
        files, bytes: how much there is. looked_at: files whose content was read.
        empty: files without a byte.
        copies: groups of files with equal content, the largest first, of all files. copied: files that could go.
        alike: groups of images of which one looks like the other, by a perceptual hash.
        unreadable: (path, why) of files that are not what their name says; `broken` is how many.
        measures: of the files that were looked at.
        shares: of these too, but for endings, which are of all.
    """

    name: str
    content: Literal["images", "texts", "files"]
    files: int
    bytes: int
    looked_at: int
    made_at: str
    at: str | None = None
    commit: str | None = None
    empty: int = 0
    copied: int = 0
    copies: tuple[Copies, ...] = ()
    alike: tuple[Copies, ...] = ()
    broken: int = 0
    unreadable: tuple[tuple[str, str], ...] = ()
    measures: tuple[Measure, ...] = ()
    shares: tuple[Share, ...] = ()
    words: int | None = None
    words_once: float | None = None
    notes: tuple[Note, ...] = ()
    basis: dict[str, str] = {}

    def as_dict(self) -> dict[str, Any]:
        """The profile as one JSON object."""
        found: dict[str, Any] = {"kind": "files", **msgspec.to_builtins(self)}
        return found
