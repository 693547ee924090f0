"""Skew: what was served beside what the offline join gives."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pytest

from bascule.features import Entity, FeatureView, build_feature_set
from bascule.monitoring.skew import FeatureSkew, SkewLimits, measure_skew

ENTITY = Entity("user", ("k",))
NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)


def measured(kind: str, offline: str, answers: list[Any], of_model: bool = False) -> FeatureSkew:
    with duckdb.connect() as connection:
        connection.execute(
            f"CREATE TABLE events AS SELECT 1 AS k, TIMESTAMP '2025-01-01' AS at, {offline}::{kind} AS v"
        )
        connection.execute("CREATE TABLE asked AS SELECT 1 AS k, TIMESTAMP '2025-01-01' AS t")
        view = FeatureView(name="seen", entity="user", sql="SELECT * FROM events", event_time="at")
        made = build_feature_set(
            connection,
            name="s",
            entities=[ENTITY],
            views=[view],
            population="SELECT * FROM asked",
            prediction_time="t",
        )
        served = [
            {"at": NOON, "as_of": NOON, "keys": '{"k": 1}', "features": msgspec.json.encode({"seen__v": one}).decode()}
            for one in answers
        ]
        if of_model:
            served = [{**one, "of_model": True} for one in served]
        (found,) = measure_skew(
            connection, [(made.views[0], ENTITY)], pa.Table.from_pylist(served), SkewLimits(share=0, drift=0.1, rows=1)
        )
        return found


@pytest.mark.parametrize(("kind", "value"), [("BIGINT", 1_735_689_600), ("BIGINT", 2**53), ("UBIGINT", 2**64 - 2)])
def test_whole_numbers_are_the_same_or_another(kind: str, value: int) -> None:
    """Seconds since 1970, and ids: a billionth of them is more than 1."""
    found = measured(kind, str(value), [value, value + 1, str(value), str(value + 1)])
    assert (found.rows, found.mismatch, found.missing, found.extra) == (4, 2, 0, 0)
    assert found.breach


def test_doubles_may_differ_in_their_last_digits() -> None:
    found = measured("DOUBLE", "0.3", [0.1 + 0.2, 0.3, 0.31, "NaN"])
    assert (found.rows, found.mismatch) == (4, 2)
    assert measured("BIGINT", "3", [3.0, 3]).mismatch == 0


@pytest.mark.parametrize("value", ["'NaN'", "'Infinity'", "'-Infinity'"])
def test_a_null_in_the_log_of_predictions_may_be_a_number_that_json_lacks(value: str) -> None:
    found = measured("DOUBLE", value, [None, None], of_model=True)
    assert (found.rows, found.missing, found.drift, found.breach) == (2, 0, 0.0, False)
    assert measured("DOUBLE", value, [None]).missing == 1  # answers of features say it as a text
    assert measured("DOUBLE", "0.5", [None], of_model=True).missing == 1
