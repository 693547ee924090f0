"""Windows over events that become known later: counts and whole sums of busy keys are what the double loop says."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from bascule.features import Entity, FeatureView, build_feature_set, point_in_time, stays, training_rows, windows

START = datetime(2025, 1, 1, tzinfo=UTC)
SPANS = {"1m": 60, "10m": 600}
TIME = pa.timestamp("us", "UTC")
EVENTS = pa.schema([("k", pa.int64()), ("happened", TIME), ("known", TIME), ("i", pa.int64()), ("late", pa.bool_())])
ASKED = pa.schema([("k", pa.int64()), ("t", TIME)])
AGGREGATES = {
    "rows": "count(*)",
    "told": "count(i)",
    "total": "sum(i)",
    "average": "mean(i)",
    "lates": "sum(late)",
    "share": "mean(late)",
}
Row = tuple[Any, ...]


@pytest.mark.parametrize("shared", [16, 0, 10**9], ids=["mixed", "stays", "gathered"])
def test_what_counts_goes_by_both_times(monkeypatch: pytest.MonkeyPatch, shared: int) -> None:
    monkeypatch.setattr(stays, "SHARED", shared)
    chance = random.Random(11)
    events = [event(chance, k) for k in [1] * 800 + [2] * 6 + [3] * 50]
    asked = [(chance.choice([1, 1, 1, 2, 3, 5, None]), moment(chance)) for _ in range(600)]
    asked += [
        (1, at + timedelta(microseconds=off)) for _, at, *_ in events[:40] if at for off in (-1, 0, 1, 60_000_000)
    ]
    for row, found in zip(asked, joined(monkeypatch, events, asked), strict=True):
        assert {name: value for name, value in found.items() if name.startswith("v__")} == naive(events, *row)


def test_busy_keys_are_not_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    gathered = "CASE WHEN count(e.__event) >= 0 THEN error('gathered') END"
    monkeypatch.setattr(windows, "_direct", lambda aggregate, view, inside: [gathered])
    chance = random.Random(12)
    events = [event(chance, 1) for _ in range(800)]
    asked = [(1, moment(chance)) for _ in range(600)]
    assert [found["v__total_10m"] for found in joined(monkeypatch, events, asked)] == [
        naive(events, *row)["v__total_10m"] for row in asked
    ]
    with pytest.raises(duckdb.Error, match="gathered"):
        joined(monkeypatch, events, asked[:5])


def event(chance: random.Random, key: int) -> Row:
    """At whole minutes mostly, known before, at once, when it is about to leave, long after, or never."""
    happened = START + timedelta(seconds=60 * chance.randrange(66))
    later = chance.choice([None, -5.0, 0.0, 1e-6, 30.0, 60.0, 60.000001, 600.0, 600.000001, 3000.0])
    known = None if later is None else happened + timedelta(seconds=later)
    number = chance.choice([None, 0, 1, -3, 2**40])
    return key, happened if chance.random() > 0.05 else None, known, number, chance.choice([None, True, False])


def moment(chance: random.Random) -> datetime:
    return START + timedelta(seconds=chance.choice([1, 60]) * chance.randrange(70), microseconds=chance.choice([0, 1]))


def joined(monkeypatch: pytest.MonkeyPatch, events: Sequence[Row], asked: Sequence[Row]) -> list[dict[str, Any]]:
    monkeypatch.setattr(point_in_time, "few_pairs", lambda *given: frozenset())
    view = FeatureView(
        name="v",
        entity="user",
        sql="SELECT k, happened, known, i, late FROM events",
        event_time="happened",
        known_time="known",
        windows=tuple(SPANS),
        aggregates=AGGREGATES,
    )
    rows = "SELECT * FROM asked"
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, given, schema in (("events", events, EVENTS), ("asked", asked, ASKED)):
            table = pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in given], schema)
            connection.register(name, table)
        made = build_feature_set(
            connection,
            name="s",
            entities=[Entity("user", ("k",))],
            views=[view],
            population=rows,
            prediction_time="t",
        )
        relation = training_rows(connection, made, rows)
        kinds = dict(zip(relation.columns, map(str, relation.types), strict=True))
        assert {kinds[name] for name in kinds if name.startswith(("v__rows", "v__told", "v__total"))} == {"BIGINT"}
        return relation.to_arrow_table().to_pylist()


def naive(events: Sequence[Row], key: int | None, at: datetime) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for window, seconds in SPANS.items():
        begin = at - timedelta(seconds=seconds)
        inside = [e for e in events if e[0] == key and e[1] and e[2] and begin <= e[1] < at and e[2] <= at]
        numbers, lates = ([e[place] for e in inside if e[place] is not None] for place in (3, 4))
        answer |= {f"v__rows_{window}": len(inside), f"v__told_{window}": len(numbers)}
        for total, mean, values in (("total", "average", numbers), ("lates", "share", lates)):
            answer[f"v__{total}_{window}"] = sum(values) if values else None
            answer[f"v__{mean}_{window}"] = sum(values) / len(values) if values else None
    return answer
