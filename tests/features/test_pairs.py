"""Windows over few events of a key: joined one by one with the examples, they are what the double loop says."""

from __future__ import annotations

import duckdb
import msgspec
import pytest
from tests.features.batched import BATCHED, assert_oracle, bound, cases, tables_of

from bascule.features import Entity, FeatureView, build_feature_set, pairs, training_rows

WINDOWED = tuple(view for view in BATCHED if view.windows)


@pytest.mark.slow
@pytest.mark.parametrize("busy", [False, True])
def test_rows_are_found_in_memory_beside_windows(monkeypatch: pytest.MonkeyPatch, busy: bool) -> None:
    """Each view takes the plan that is best for it, whatever else is in the set."""
    if busy:
        monkeypatch.setattr(pairs, "PAIRS_A_ROW", 0)
    events, examples = cases(30)
    with tables_of(events, examples) as connection:
        made = bound(connection)
        relation = training_rows(connection, made, "SELECT * FROM spine")
        assert relation.explain().upper().count("ASOF") == 0  # which rows over time need otherwise
        found = relation.to_arrow_table().to_pylist()
        assert relation.columns == ["k1", "k2", "t", "note", "c", *made.features]
        assert {
            name: str(one) for name, one in zip(relation.columns[5:], relation.types[5:], strict=True)
        } == made.types
    assert_oracle(found, events, examples)


@pytest.mark.slow
def test_windows_joined_one_by_one_are_what_the_double_loop_says() -> None:
    """Running aggregates are held to it by `test_point_in_time.py`, whose tables are not counted."""
    events, examples = cases(60)
    with tables_of(events, examples) as connection:
        made = bound(connection, WINDOWED)
        few = pairs.few_pairs(connection, made, "FROM spine", len(examples))
        assert few == {view.name for view in WINDOWED}
        found = training_rows(connection, made, "SELECT * FROM spine").to_arrow_table().to_pylist()
    assert_oracle(found, events, examples, WINDOWED)


def test_one_busy_key_is_not_joined_one_by_one() -> None:
    with duckdb.connect() as connection:
        for name, count in (("events", 1000), ("asked", 500)):
            connection.execute(
                f"CREATE TABLE {name} AS SELECT i AS k, i % 2 AS busy, make_timestamp(i * 1000000) AS t, "
                f"1.5 AS a FROM range({count}) r(i)"
            )
        view = FeatureView(
            name="by_key",
            entity="key",
            sql="SELECT * FROM events",
            event_time="t",
            windows=("1d",),
            aggregates={"n": "count(*)", "mean": "mean(a)"},
        )
        made = build_feature_set(
            connection,
            name="s",
            entities=[Entity("key", ("k",)), Entity("busy", ("busy",))],
            views=[view, msgspec.structs.replace(view, name="by_busy", entity="busy")],
            population="SELECT * FROM asked",
            prediction_time="t",
        )
        spine = "SELECT * FROM asked"
        assert pairs.few_pairs(connection, made, spine, 500) == {"by_key"}
        assert pairs.few_pairs(connection, made, spine, None) == frozenset()
        limited = "SELECT * FROM asked LIMIT 10"
        assert (
            training_rows(connection, made, limited).fetchall()
            == training_rows(connection, made, spine).fetchall()[:10]
        )
        plan = training_rows(connection, made, spine).explain()
        assert plan.count("─ Window ─") == 1, "of the busy key alone"
