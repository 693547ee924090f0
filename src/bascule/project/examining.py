"""Looking at a kept training set for leaks: features that know the label, and what splits share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from bascule.counting import counted
from bascule.errors import CheckFailed, InputError, NotFound, suggestion
from bascule.features import FeatureSet, Leak, leak_report
from bascule.features.columns import describe, microseconds, quoted
from bascule.lake.engine import told
from bascule.project.definitions import read_by_query
from bascule.project.place import Place
from bascule.project.tables import opened_tables
from bascule.training import TrainingSet, read_training_set, training_rows
from bascule.training.joined import Asked, JoinedSet, joined_batches, joined_sets, read_joined
from bascule.training.overlaps import REASONS, Overlap, find_overlaps

KEPT = "kept_rows"
KNOWN = "label known at"
LEAKS = ("outcome", "future", "target", "jump")


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in a training set.

    Attributes:
        leaks: features that know, or seem to know, the label; proofs first.
        overlaps: what its splits share.
        unexamined: what could not be looked at, and why, a sentence each.
    """

    training_set: str
    rows: int
    leaks: tuple[Leak, ...]
    overlaps: tuple[Overlap, ...]
    unexamined: tuple[str, ...]

    @property
    def reasons(self) -> list[str]:
        """What was found, by name, each once."""
        return list(dict.fromkeys([one.reason for one in self.leaks] + [one.reason for one in self.overlaps]))

    def as_dict(self) -> dict[str, Any]:
        """Everything, JSON-able."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found

    def lines(self) -> list[str]:
        """A line for each finding."""
        leaks = [f"{one.reason}: {one.name}: {one.message}" for one in self.leaks]
        return leaks + [f"{one.reason}: {one.message}" for one in self.overlaps]


def check_training_set(place: Place, name: str, refuse: Sequence[str] = ()) -> Examined:
    """Look at a training set of either kind; `OpenProject` says more.

    Raises:
        NotFound: there is no such set.
        CheckFailed: something was found that is refused; `details` has all of it.
    """
    known = (*LEAKS, *REASONS)
    odd = next((one for one in refuse if one not in (*known, "all")), None)
    if odd is not None:
        raise InputError(f"{odd!r} is nothing that is looked for.", hint=suggestion(odd, (*known, "all"), "finding"))
    made = _read(place, name)
    joined = isinstance(made, JoinedSet)
    with _opened(place, made) as (connection, missing):
        if isinstance(made, JoinedSet):
            batches = joined_batches(place.workspace, made)
            arrow = pa.RecordBatchReader.from_batches(_schema(place, made), batches)
            # It is read several times, and may be larger than memory: DuckDB spills what it holds.
            connection.register("arriving", arrow)
            connection.execute(f"CREATE TEMP TABLE {KEPT} AS SELECT * FROM arriving")
        else:
            connection.register(KEPT, training_rows(place.workspace, made))
        with told(f"The training set {made.name} cannot be examined"):
            overlaps = _overlaps(connection, made)
            leaks, unexamined = _leaks(connection, made)
    if joined and not made.asked.split:  # type: ignore[union-attr]
        unexamined.append("Splits: the set has none.")
    found = Examined(
        training_set=made.name,
        rows=made.rows,
        leaks=tuple(leaks),
        overlaps=tuple(overlaps),
        unexamined=(*missing, *unexamined),
    )
    refused = [one for one in found.reasons if one in refuse or "all" in refuse]
    if refused:
        told_ = "\n".join(f"  {line}" for line in found.lines() if line.partition(":")[0] in refused)
        raise CheckFailed(
            f"{made.name} has what is refused:\n{told_}",
            details=[found.as_dict()],
            hint="Give views the time at which their rows became known, and split by entity where entities repeat.",
        )
    return found


def _read(place: Place, name: str) -> JoinedSet | TrainingSet:
    try:
        return read_joined(place.workspace, name)
    except NotFound as unknown:
        try:
            return read_training_set(place.workspace, name)
        except NotFound as other:
            known = [one.name for one in joined_sets(place.workspace)]
            raise (other if not known else unknown) from None


def _schema(place: Place, made: JoinedSet) -> pa.Schema:
    import pyarrow.parquet as pq

    with place.workspace.store.open(made.blob) as file:
        return pq.ParquetFile(file).schema_arrow


@contextmanager
def _opened(place: Place, made: JoinedSet | TrainingSet) -> Iterator[tuple[duckdb.DuckDBPyConnection, list[str]]]:
    """The tables that the set was made from, as they were then; what of them is gone is told."""
    texts = [_population(made), *(view.sql for view in _features(made).views)] if made.feature_set else []
    wanted = sorted({table for text in texts if text for table in read_by_query(text)})
    try:
        there = place.workspace.history.digests(place.workspace.history.resolve(made.commit_id), "tables/")
    except NotFound:
        there = {}
    gone = [name for name in wanted if f"tables/{name}" not in there]
    notes = [f"Proofs: table {name} is not kept as the set read it." for name in gone]
    state = made.commit_id if there else place.branch
    with opened_tables(place.workspace, state, [name for name in wanted if name not in gone]) as connection:
        yield connection, notes


def _population(made: JoinedSet | TrainingSet) -> str:
    """The SQL of the rows; nothing when they were given."""
    if isinstance(made, TrainingSet):
        return made.spec.population
    text = made.asked.population
    return "" if text.startswith("the file ") or text.endswith(" rows that were given") else text


def _features(made: JoinedSet | TrainingSet) -> FeatureSet:
    return msgspec.convert(made.feature_set, FeatureSet)


def _overlaps(connection: duckdb.DuckDBPyConnection, made: JoinedSet | TrainingSet) -> list[Overlap]:
    types = made.types if isinstance(made, JoinedSet) else made.columns.types
    keys = made.asked.group if isinstance(made, JoinedSet) else ()
    if not keys and made.feature_set:
        keys = tuple(dict.fromkeys(key for entity in _features(made).entities for key in entity.keys))
    side = next((one for one in ("split", "fold") if one in types), None)
    if side is None or (isinstance(made, JoinedSet) and not made.asked.split):
        return []
    features = made.features if isinstance(made, JoinedSet) else made.columns.features
    label = "label" if "label" in types else None
    return find_overlaps(
        connection, KEPT, side, keys=[key for key in keys if key in types], features=features, label=label
    )


def _leaks(connection: duckdb.DuckDBPyConnection, made: JoinedSet | TrainingSet) -> tuple[list[Leak], list[str]]:
    if made.feature_set is None:
        return [], ["Features: the set has no definition of its features."]
    features = _features(made)
    if isinstance(made, TrainingSet):
        spec = made.spec
        report = leak_report(connection, features, spec.population, spec.label, spec.prediction_time, spec.label_time)
        return list(report.leaks), list(report.unexamined)
    asked = made.asked
    label = asked.label or ("label" if "label" in made.types and "label" not in made.features else "")
    if not label:
        return [], ["Features: the set has no label that they could know."]
    rows, known = _rows(connection, made, asked)
    report = leak_report(connection, features, rows, label, asked.prediction_time, known, training=KEPT)
    return list(report.leaks), list(report.unexamined)


def _rows(connection: duckdb.DuckDBPyConnection, made: JoinedSet, asked: Asked) -> tuple[str, str | None]:
    """The entity rows as SQL, with when their labels became known, where that is told by a maturity window."""
    own = [name for name in made.types if name not in made.features and name not in ("split", "fold")]
    rows = _population(made) or f"SELECT {', '.join(map(quoted, own))} FROM {KEPT}"
    if asked.maturity is None or asked.prediction_time is None:
        return rows, None
    kind = describe(connection, rows, "The entity rows")[asked.prediction_time]
    moment = microseconds(quoted(asked.prediction_time), kind)
    known = f"make_timestamptz({moment} + {asked.maturity}) AS {quoted(KNOWN)}"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {KEPT} AS SELECT *, {known} FROM {KEPT}")
    return f"SELECT *, {known} FROM (\n{rows}\n)", KNOWN


def summary(found: Examined) -> str:
    """The findings as text."""
    lines = found.lines() or ["Nothing was found."]
    count = counted(len(found.leaks) + len(found.overlaps), "finding")
    head = f"{found.training_set}: {found.rows:,} rows, {count}"
    return "\n".join([head, *lines, *(f"not examined: {one}" for one in found.unexamined)])
