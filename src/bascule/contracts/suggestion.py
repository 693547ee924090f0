"""Suggesting a contract from what a relation holds, as commented text for a person to review."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from bascule.contracts.blocks import choose_groupings, measure_blocks
from bascule.contracts.checks import shown_number
from bascule.contracts.compile import surplus_of
from bascule.contracts.evidence import Evidence, is_personal, rules_of
from bascule.contracts.families import LOGICAL_TYPES
from bascule.contracts.personal import scan
from bascule.contracts.profiling import ColumnProfile, Profile
from bascule.contracts.profiling import profile as profile_relation
from bascule.contracts.sql import error_text
from bascule.contracts.writing import comment, scalar
from bascule.errors import InputError, NotFound

# So many rows are looked at for personal values, and so sure one must be to call a column personal by them.
PERSONAL_ROWS = 5_000
SURELY_PERSONAL = 0.9

_HEAD = (
    "This contract was suggested from data and is a proposal: keep what is true, change what is not, delete what "
    "nobody needs. A batch is refused when a critical check fails, and a rule without `severity` is critical; "
    "`severity: warning` only tells. `minimumRows` lets batches pass that are too small to be judged, `tolerate` "
    "and `unit: percent` forgive a share of the rows."
)


def suggest(
    connection: duckdb.DuckDBPyConnection,
    relation_sql: str,
    table: str,
    key: Sequence[str] = (),
    *,
    profile: Profile | None = None,
    repeated: bool = False,
) -> str:
    """Suggest a contract for a table.

    The rules are those of Deequ's constraint suggestion (complete, retained completeness, categorical range,
    non-negative, unique) and bands for each batch's mean, taken from how much past days or weeks differ. What the rows
    cannot support is not suggested: nothing for a column that follows time, no band from fewer than eight blocks of
    time, no accepted values that keep growing.

    Args:
        connection: a DuckDB connection whose time zone is UTC. Nothing is written.
        relation_sql: text usable after FROM.
        table: the table's name.
        key: the columns that identify a row, when they are known; suggested as key only if they do.
        profile: the relation's profile, when it was taken already.
        repeated: rows may well be alike, as requests are, and there may be none: nothing is suggested of their number,
            nor of a column to be unique.

    Returns:
        An Open Data Contract Standard document that `Contract.parse` reads, with the evidence of each rule in comments.

    Raises:
        InputError: the relation cannot be read. NotFound: the key names a column that is not there.
    """
    try:
        found = profile if profile is not None else profile_relation(connection, relation_sql)
        return _Suggestion(connection, relation_sql, table, tuple(key), found, repeated).text()
    except duckdb.Error as error:
        raise InputError(
            f"The rows of {table} cannot be read: {error_text(error)}", hint="Look at the table with: bascule sql"
        ) from error


@dataclass(frozen=True, slots=True)
class _Key:
    columns: tuple[str, ...]
    note: str


class _Suggestion:
    """The text of one contract in the making."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        relation: str,
        table: str,
        key: tuple[str, ...],
        profile: Profile,
        repeated: bool,
    ) -> None:
        names = [column.name for column in profile.columns]
        for name in key:
            if name not in names:
                raise NotFound("column", name, names)
        self.connection = connection
        self.relation = relation
        self.table = table
        self.profile = profile
        self.groupings = choose_groupings(connection, relation, profile, key)
        measured = [measure_blocks(connection, grouping, profile) for grouping in self.groupings]
        self.blocks = [blocks for blocks in measured if blocks is not None]
        self.key = self._key(key)
        self.repeated = repeated
        self.personal = self._personal()

    def text(self) -> str:
        lines = [
            *comment(_HEAD, 0),
            *comment(self._basis(), 0),
            "apiVersion: v3.1.0",
            "kind: DataContract",
            f"id: {scalar(self.table)}",
            f"name: {scalar(self.table)}",
            "version: 1.0.0",
            "status: draft",
            "schema:",
            f"  - name: {scalar(self.table)}",
            "    logicalType: object",
            "    physicalType: table",
            "    customProperties:",
            "      # A column that is not listed below: warn, refuse or allow.",
            "      - property: unexpectedColumns",
            "        value: warn",
        ]
        if not self.repeated:
            lines += ["    quality:", "      - metric: rowCount", "        mustBeGreaterThan: 0"]
        if self.key.note:
            lines += comment(self.key.note, 4)
        lines.append("    properties:")
        for column in self.profile.columns:
            lines += self._column(column)
        return "\n".join(lines) + "\n"

    def _personal(self) -> dict[str, str]:
        """The columns whose first values surely are personal, and of what kind. Names alone are judged elsewhere."""
        found = scan(self.connection, f"(SELECT * FROM {self.relation} LIMIT {PERSONAL_ROWS})")
        return {
            one.column: one.kind
            for one in found
            if one.confidence >= SURELY_PERSONAL and any(why.by in ("pattern", "checksum") for why in one.evidence)
        }

    def _basis(self) -> str:
        rows = f"{shown_number(self.profile.rows)} rows"
        if not self.blocks:
            return f"Based on {rows}: too few, or too short a time, to tell how batches differ, so no bands are given."
        blocks = self.blocks[0]
        if blocks.column is None:
            return f"Based on {rows}, cut in their order into {blocks.plural()} to see how batches differ."
        column = self.profile.column(blocks.column)
        span = f"{column.minimum} to {column.maximum}" if column else ""
        units = " and ".join(found.plural() for found in self.blocks)
        return f"Based on {rows}, {blocks.column} from {span}; {units} show how batches differ."

    def _key(self, key: tuple[str, ...]) -> _Key:
        if key:
            missing = [name for name in key if (self.profile.missing_share(name)) > 0]
            if missing:
                return _Key((), f"{', '.join(key)} is not suggested as key: {', '.join(missing)} has missing values.")
            surplus = self._surplus(key)
            if surplus:
                return _Key((), f"{', '.join(key)} is not suggested as key: {shown_number(surplus)} rows repeat one.")
            return _Key(key, f"No two of {shown_number(self.profile.rows)} rows share the key {', '.join(key)}.")
        return _Key((), "")

    def _surplus(self, columns: tuple[str, ...]) -> int:
        types = {column.name: column.type for column in self.profile.columns}
        return surplus_of(self.connection, self.relation, columns, types)

    def _unique(self, column: ColumnProfile) -> bool:
        """Whether a column identifies rows by itself: about as many values as rows by the sketch, then counted."""
        likely = column.family in ("integer", "string") and not self.key.columns and column.missing == 0
        if self.repeated or not likely or self.profile.rows < 1000 or (column.distinct or 0) < 0.92 * self.profile.rows:
            return False
        return self._surplus((column.name,)) == 0

    def _column(self, column: ColumnProfile) -> list[str]:
        logical = column.family if column.family in LOGICAL_TYPES and column.family != "map" else None
        lines = [f"      - name: {scalar(column.name)}"]
        lines += [f"        logicalType: {logical}"] if logical else []
        lines += [f"        physicalType: {scalar(column.type)}"] if column.family != "empty" else []
        if column.name in self.key.columns:
            lines += [
                "        primaryKey: true",
                f"        primaryKeyPosition: {self.key.columns.index(column.name) + 1}",
            ]
        if self._unique(column):
            lines += comment(f"{shown_number(self.profile.rows)} rows, as many different values.", 8)
            lines.append("        unique: true")
        if is_personal(column.name):
            lines += comment("The name says personal data: reports hide its values, and none are listed here.", 8)
            lines.append("        classification: pii")
        elif column.name in self.personal:
            words = (
                f"Its values are taken for {self.personal[column.name]}: reports hide them, and none are listed here."
            )
            lines += [*comment(words, 8), "        classification: pii"]
        evidence = Evidence(
            self.connection,
            self.relation,
            self.profile,
            column,
            self.groupings[0] if self.groupings else None,
            self.blocks,
            column.name in self.personal,
        )
        rules = rules_of(evidence)
        note = [*comment(described(column, self.profile.rows, rules.note), 6)]
        if rules.required:
            lines += [*comment(rules.required, 8), "        required: true"]
        if rules.quality:
            lines += ["        quality:", *rules.quality]
        return [*note, *lines]


def described(column: ColumnProfile, rows: int, note: str = "") -> str:
    """A column in one line of plain words."""
    parts = []
    if column.missing:
        share = 100 * column.missing / rows
        parts.append("always missing" if column.missing == rows else f"{share:.2g} % missing")
    if column.distinct is not None and column.missing < rows:
        distinct = min(column.distinct, rows - column.missing)  # the sketch may count more values than there are
        parts.append("one value" if distinct == 1 else f"about {shown_number(distinct)} values")
    if column.mean is not None and column.minimum is not None and column.maximum is not None:
        low, high = float(column.minimum), float(column.maximum)
        middle = column.quantile(0.5)
        # The sketch interpolates; between whole numbers that would look like a value.
        middle = round(middle) if middle is not None and column.family == "integer" else middle
        median = f", median about {shown_number(middle)}" if middle is not None else ""
        parts.append(f"{shown_number(low)} to {shown_number(high)}, mean {shown_number(column.mean)}{median}")
    if column.infinite:
        parts.append(f"{shown_number(column.infinite)} infinite")
    if column.shortest is not None:
        ends = {column.shortest, column.longest}
        parts.append(f"{' to '.join(str(end) for end in sorted(ends, key=lambda end: end or 0))} characters")
    return f"{column.name}: {'; '.join(parts) or column.type}.{f' {note}' if note else ''}"
