"""Many small examples of the point-in-time oracle as one: the case is a part of the key, so one query answers all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import hypothesis
import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from tests.features.test_point_in_time import (
    AGGREGATES,
    EVENT_LISTS,
    EVENT_SCHEMA,
    EVENTS,
    EXAMPLES,
    GATHERED,
    SLOW,
    SPINE_SCHEMA,
    VIEWS,
    WINDOWS,
    Row,
    assert_same,
    oracle,
)

from bascule.features import Entity, FeatureSet, FeatureView, build_feature_set

CASE = pa.field("c", pa.int64())
CASE_EVENTS = EVENT_SCHEMA.append(CASE)
CASE_SPINE = SPINE_SCHEMA.append(CASE)
ENTITY = Entity("pair", ("c", "k1", "k2"))
_CHOSEN = [view for view in VIEWS if view.name in ("fresh", "brief", "table")]
EVERY = {**AGGREGATES, **GATHERED}
BATCHED = tuple(
    msgspec.structs.replace(view, sql=EVENTS.replace("select ", "select c, "))
    for view in (
        *_CHOSEN,
        FeatureView(name="past", entity="pair", sql=EVENTS, event_time="happened", windows=WINDOWS, aggregates=EVERY),
        FeatureView(
            name="heard",
            entity="pair",
            sql=EVENTS,
            event_time="happened",
            known_time="known",
            windows=WINDOWS[1:],
            aggregates={name: EVERY[name] for name in ("rows", "mean", "high", "newest", "ninth", "kinds")},
        ),
    )
)


def cases(count: int) -> tuple[list[Row], list[Row]]:
    """Events and examples of so many cases that Hypothesis draws, the same ones each time."""
    events: list[Row] = []
    examples: list[Row] = []

    @settings(SLOW, max_examples=count, phases=[hypothesis.Phase.generate], derandomize=True, database=None)
    @given(EVENT_LISTS, EXAMPLES)
    def gather(drawn: list[Row], asked: list[Row]) -> None:
        case = gather.case = getattr(gather, "case", 0) + 1  # type: ignore[attr-defined]
        events.extend({**row, "c": case} for row in drawn)
        examples.extend({**row, "c": case} for row in asked)

    gather()
    return events, [{**row, "note": place} for place, row in enumerate(examples)]


@contextmanager
def tables_of(events: Sequence[Row], examples: Sequence[Row], zone: str = "UTC") -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the tables `events` and `spine`, in a time zone of its own."""
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute(f"SET TimeZone = '{zone}'")
        for name, rows, schema in (("events", events, CASE_EVENTS), ("spine", examples, CASE_SPINE)):
            connection.register("given", pa.Table.from_pylist(rows, schema))
            connection.execute(f"CREATE TABLE {name} AS FROM given")
        yield connection


def bound(connection: duckdb.DuckDBPyConnection, views: Sequence[FeatureView] = BATCHED) -> FeatureSet:
    return build_feature_set(
        connection,
        name="batched",
        entities=[ENTITY],
        views=views,
        population="select * from spine",
        prediction_time="t",
        features=[view.name for view in views],
    )


def assert_oracle(
    found: Sequence[Row],
    events: Sequence[Row],
    examples: Sequence[Row],
    views: Sequence[FeatureView] = BATCHED,
) -> None:
    """Each example has one row, in order, and it is what the double loop says."""
    assert [row["note"] for row in found] == [row["note"] for row in examples]
    by_case: dict[int, list[Row]] = {}
    for row in events:
        by_case.setdefault(row["c"], []).append(row)
    told = 0
    for row, example in zip(found, examples, strict=True):
        assert {name: row[name] for name in example} == example
        for view in views:
            values: dict[str, Any] = oracle(view, by_case[example["c"]], example)
            expected = {f"{view.name}__{field}": value for field, value in values.items()}
            for window in view.windows:
                if f"{view.name}__flag_{window}" in expected:
                    flag = expected.pop(f"{view.name}__flag_{window}")
                    assert row[f"{view.name}__flag_{window}"] == pytest.approx(flag)
            assert_same(row, expected, example)
            told += sum(value is not None for value in expected.values())
    assert told > len(examples)
