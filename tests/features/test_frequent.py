"""The most frequent values: counted by frames over busy keys, gathered of the others, and what a plain count says."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from bascule.features import Entity, FeatureView, build_feature_set, frequent, point_in_time, training_rows, windows

START = datetime(2025, 1, 1, tzinfo=UTC)
SPANS = {"1m": 60, "10m": 600}
EVENTS = pa.schema(
    [("k", pa.int64()), ("happened", pa.timestamp("us", "UTC")), ("x", pa.float64()), ("s", pa.string())]
)
ASKED = pa.schema([("k", pa.int64()), ("t", pa.timestamp("us", "UTC"))])
VALUES = (None, float("nan"), float("inf"), -0.0, 0.0, 1.5, 2.5, 2.5)
Row = tuple[Any, ...]


@pytest.mark.parametrize(("repeated", "shared"), [(8, 16), (0, 0), (8, 10**9)], ids=["mixed", "framed", "gathered"])
def test_the_most_frequent_values_are_those_of_a_plain_count(
    monkeypatch: pytest.MonkeyPatch, repeated: int, shared: int
) -> None:
    monkeypatch.setattr(frequent, "REPEATED", repeated)
    monkeypatch.setattr(frequent, "SHARED", shared)
    chance = random.Random(7)
    # Key 1 has many events of few values, key 2 few, key 3 as many values as events; nobody asks about key 4.
    keys = [1] * 900 + [2] * 5 + [3] * 60 + [4] * 20
    events = [
        (k, moment(chance), chance.choice(VALUES), chance.choice("abc") if k != 3 else f"v{place}")
        for place, k in enumerate(keys)
    ]
    asked = [(chance.choice([1, 1, 1, 2, 3, 5, None]), moment(chance)) for _ in range(600)]
    for row, found in zip(asked, joined(monkeypatch, events, asked), strict=True):
        assert {name: value for name, value in found.items() if name.startswith("v__")} == naive(events, *row)


def test_busy_keys_are_not_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    gathered = ["CASE WHEN count(e.__event) >= 0 THEN error('gathered') END"]
    monkeypatch.setattr(windows, "_most_frequent", lambda aggregate, view, inside: gathered * aggregate.several)
    chance = random.Random(8)
    events = [(1, moment(chance), 1.5, chance.choice("abc")) for _ in range(900)]
    asked = [(1, moment(chance)) for _ in range(600)]
    assert [found["v__words_10m_1"] for found in joined(monkeypatch, events, asked)] == [
        naive(events, *row)["v__words_10m_1"] for row in asked
    ]
    with pytest.raises(duckdb.Error, match="gathered"):
        joined(monkeypatch, events, asked[:5])


def moment(chance: random.Random) -> datetime:
    return START + timedelta(seconds=chance.randrange(4000))


def joined(monkeypatch: pytest.MonkeyPatch, events: Sequence[Row], asked: Sequence[Row]) -> list[dict[str, Any]]:
    monkeypatch.setattr(point_in_time, "few_pairs", lambda *given: frozenset())
    view = FeatureView(
        name="v",
        entity="user",
        sql="SELECT k, happened, x, s FROM events",
        event_time="happened",
        windows=tuple(SPANS),
        aggregates={"numbers": "top_k(x, 3)", "words": "top_k(s, 2)"},
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
        return training_rows(connection, made, rows).to_arrow_table().to_pylist()


def naive(events: Sequence[Row], key: int | None, at: datetime) -> dict[str, Any]:
    answer = {}
    for name, place, several in (("numbers", 2, 3), ("words", 3, 2)):
        for window, seconds in SPANS.items():
            inside = [e[place] for e in events if e[0] == key and at - timedelta(seconds=seconds) <= e[1] < at]
            counts = Counter(v for v in inside if isinstance(v, str) or (v is not None and v - v == 0))
            best = sorted(counts, key=lambda value: (-counts[value], value))[:several]
            for rank in range(several):
                answer[f"v__{name}_{window}_{rank + 1}"] = best[rank] if rank < len(best) else None
    return answer
