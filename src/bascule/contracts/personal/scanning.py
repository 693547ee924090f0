"""Counting the evidence: which columns of a relation hold personal data, how sure that is, and why."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb

from bascule.contracts.families import family_of
from bascule.contracts.personal.identifiers import IDENTIFIERS, Identifier, national_phone
from bascule.contracts.personal.language import MOST_READ, recogniser
from bascule.contracts.personal.naming import is_exact, kinds_of
from bascule.contracts.sql import columns_of, quoted

ROWS = 20_000
SEED = 7
# What the name alone is worth, what it adds to values that match, and how sure one must be to say anything.
BY_NAME, BY_VAGUE_NAME, LEAST = 0.75, 0.5, 0.5
WITHIN_AT_LEAST = 3  # a text column has personal data inside when so many values do
_DAY = re.compile(r"(19|20)\d\d-[01]\d-[0-3]\d|[0-3]?\d[./-][0-3]?\d[./-](19|20)\d\d")

By = Literal["checksum", "pattern", "name", "type", "language"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a column is taken for one of a kind.

    Attributes:
        matched: in how many of the values that were looked at; None for what is of the column itself.
        looked_at: values that are there.
    """

    by: By
    matched: int | None = None
    looked_at: int | None = None


@dataclass(frozen=True, slots=True)
class ColumnFinding:
    """A column that holds personal data, as it seems. It says no value.

    Attributes:
        kind: such as `email`, `credit_card` or `national_id.de`; with `.inside`, somewhere in longer text.
        confidence: from 0 to 1.
    """

    column: str
    kind: str
    confidence: float
    evidence: tuple[Evidence, ...]

    def as_dict(self) -> dict[str, Any]:
        """The finding as one JSON object."""
        return asdict(self)


def scan(
    connection: duckdb.DuckDBPyConnection,
    relation_sql: str,
    *,
    rows: int = ROWS,
    region: str | None = None,
    nlp: str | None = None,
    folder: Path | None = None,
) -> list[ColumnFinding]:
    """Look for personal data in a sample of a relation's rows.

    Args:
        relation_sql: text usable after FROM.
        rows: how many rows are looked at, at most; drawn with a fixed seed.
        region: a country's code, whose national phone numbers are known, too.
        nlp: look for names of people in free text with a model of language: see `language.recogniser`.
        folder: where its module or pipeline may lie.

    Returns:
        The surest finding of each column first by column, then those of other kinds inside its text.

    Raises:
        EnvironmentProblem: a region or a model is asked for whose library is not installed.
    """
    detectors = [*IDENTIFIERS, *([national_phone(region)] if region else [])]
    model = recogniser(nlp, folder) if nlp else None
    columns = columns_of(connection, relation_sql)
    found: list[ColumnFinding] = []
    for name, kind in columns.items():
        values = _values(connection, relation_sql, name, kind, rows)
        judged = judge(name, family_of(kind), values, detectors)
        found += judged
        if model is not None and values and not judged:
            for kind_of_data, count in model(values).most_common():
                if count >= WITHIN_AT_LEAST:
                    read = min(len(values), MOST_READ)
                    sure = round(min(0.9, 0.5 + count / read), 3)
                    evidence = Evidence("language", count, read)
                    found.append(ColumnFinding(name, f"{kind_of_data}.inside", sure, (evidence,)))
    return found


def judge(
    name: str, family: str, values: Sequence[str], detectors: Sequence[Identifier] = IDENTIFIERS
) -> list[ColumnFinding]:
    """Say what personal data some values of a column, and its name, show: one kind, or several inside its text.

    Args:
        family: the family of its type.
        values: texts that are not blank.
    """
    return _chosen(sorted(_judged(name, family, values, detectors), key=lambda one: -one.confidence))


def _values(connection: duckdb.DuckDBPyConnection, relation: str, name: str, kind: str, rows: int) -> list[str]:
    if family_of(kind) not in ("string", "integer", "date", "timestamp"):
        return []
    query = (
        f"SELECT {quoted(name)}::VARCHAR FROM (SELECT {quoted(name)} FROM {relation} "
        f"USING SAMPLE reservoir({rows:d} ROWS) REPEATABLE ({SEED})) WHERE {quoted(name)} IS NOT NULL"
    )
    return [row[0] for row in connection.execute(query).fetchall() if row[0].strip()]


def _chosen(judged: Sequence[ColumnFinding]) -> list[ColumnFinding]:
    """Keep the surest; other kinds of whole values are what it was taken for by chance."""
    whole = [one for one in judged if not one.kind.endswith(".inside")]
    inside = [one for one in judged if one.kind.endswith(".inside")]
    return whole[:1] or inside


def _judged(name: str, family: str, values: Sequence[str], detectors: Sequence[Identifier]) -> Iterator[ColumnFinding]:
    named = kinds_of(name)
    # A column says the same value again and again: each is looked at once.
    counts, without = Counter(values), dict[str, Counter[str]]()
    for one in detectors if family in ("string", "integer") else ():
        plain = one.kind.partition(".")[0]
        is_named = one.kind in named or plain in named
        if one.named and not is_named:
            continue
        matched = one.count(counts, without)
        finding = _by_values(name, one, matched, counts, is_named, family)
        if finding is not None:
            yield finding
    if "date_of_birth" in named and is_exact(name, "date_of_birth"):
        yield from _birth(name, family, values)
    for what in named:
        if family in ("string", "integer", "number") and what != "date_of_birth":
            sure = BY_NAME if is_exact(name, what) and family != "number" else BY_VAGUE_NAME
            if what == "location" and family == "number":
                sure = BY_NAME
            yield ColumnFinding(name, what, sure, (Evidence("name"),))


def _by_values(
    name: str, one: Identifier, matched: int, counts: Counter[str], is_named: bool, family: str
) -> ColumnFinding | None:
    looked_at = counts.total()
    evidence: tuple[Evidence, ...] = (Evidence(one.by, matched, looked_at),)
    evidence += (Evidence("name"),) if is_named else ()
    share = _lower(matched, looked_at)
    sure = max(0.0, (share - one.chance) / (1 - one.chance))
    if sure < 0.25:  # a few that match among others: rather by chance, unless they stand in text
        if family == "string" and one.inside is not None:
            return _inside(name, one, counts)
        return None
    if not is_named and one.by == "checksum" and family == "integer" and one.chance > 0.02:
        sure *= 0.8  # ids that count up pass a weak check as often
    if one.named:
        sure = min(sure, 0.9)
    elif one.kind == "national_id.us" and not is_named:
        sure *= 0.9
    sure = 1 - (1 - sure) * (0.4 if is_named else 1)
    return ColumnFinding(name, one.kind, round(sure, 3), evidence) if sure >= LEAST else None


def _inside(name: str, one: Identifier, counts: Counter[str]) -> ColumnFinding | None:
    count = sum(often for value, often in counts.items() if one.is_within(value))
    if count < WITHIN_AT_LEAST:
        return None
    looked_at = counts.total()
    sure = round(min(0.95, 0.7 + _lower(count, looked_at)), 3)
    return ColumnFinding(name, f"{one.kind}.inside", sure, (Evidence(one.by, count, looked_at),))


def _birth(name: str, family: str, values: Sequence[str]) -> Iterator[ColumnFinding]:
    if family in ("date", "timestamp"):
        yield ColumnFinding(name, "date_of_birth", 0.95, (Evidence("name"), Evidence("type")))
    elif family == "string":
        matched = sum(1 for value in values if _DAY.search(value))
        if _lower(matched, len(values)) > 0.5:
            evidence = (Evidence("name"), Evidence("pattern", matched, len(values)))
            yield ColumnFinding(name, "date_of_birth", 0.9, evidence)


def _lower(matched: int, of: int) -> float:
    """The lower end of Wilson's 95 % interval of a share: few values make less sure."""
    if not of:
        return 0.0
    z, share = 1.96, matched / of
    middle = share + z * z / (2 * of)
    spread = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, (middle - spread) / (1 + z * z / of))
