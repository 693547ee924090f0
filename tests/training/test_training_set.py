from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sqlalchemy import func, select

from bascule.catalog import schema
from bascule.errors import InputError, NotFound
from bascule.history import Workspace
from bascule.training import (
    Split,
    TrainingSpec,
    build_training_set,
    read_training_set,
    training_data,
    training_rows,
)

COMMIT = "c" * 64
FEATURES = ("carrier", "origin", "distance", "hour")
SPEC = TrainingSpec(
    name="delays",
    label="arr_delay > 15",
    prediction_time="prediction_time",
    label_time="landed_at",
    cut_off="2013-04-20",
    split=Split(validation="14d", test="14d"),
    features=FEATURES,
)


def spec(**changes: Any) -> TrainingSpec:
    return msgspec.structs.replace(SPEC, **changes)


def small(rows: int = 60, **columns: Any) -> pa.Table:
    days = np.arange(rows) * 86_400_000_000
    base: dict[str, Any] = {
        "x": pa.array(np.linspace(0, 1, rows)),
        "y": pa.array(np.arange(rows) % 2),
        "asked": pa.array(days, pa.timestamp("us", "UTC")),
    }
    return pa.table({**base, **{name: value for name, value in columns.items() if value is not None}})


SMALL = TrainingSpec(name="small", label="y", prediction_time="asked")


@pytest.mark.slow
def test_the_same_rows_give_the_same_set_in_whatever_order(workspace: Workspace, flights: pa.Table) -> None:
    first = build_training_set(workspace, flights, SPEC, commit_id=COMMIT, run_id="run_1")
    turned = flights.take(np.random.default_rng(5).permutation(flights.num_rows))
    with duckdb.connect() as connection:
        again = build_training_set(workspace, connection.from_arrow(turned), SPEC, commit_id="d" * 64)
    assert again == first
    assert first.name == f"delays@{first.id[:8]}"
    with workspace.catalog.read() as conn:
        assert conn.execute(select(func.count()).select_from(schema.training_sets)).scalar() == 1

    for name in (first.id, first.id[:8], first.name):
        assert read_training_set(workspace, name) == first
    kept = training_rows(workspace, first)
    assert kept.num_rows == first.rows == pq.read_metadata(pa.BufferReader(workspace.store.get(first.blob))).num_rows
    assert kept.column_names[:4] == list(FEATURES)
    assert {"tailnum", "dest", "label", "split"} <= set(kept.column_names)


@pytest.mark.slow
def test_another_definition_or_another_row_is_another_set(local_workspace: Workspace, flights: pa.Table) -> None:
    made = build_training_set(local_workspace, flights, SPEC, commit_id=COMMIT)
    others = [
        build_training_set(local_workspace, flights, spec(seed=1), commit_id=COMMIT),
        build_training_set(local_workspace, flights, SPEC, {"name": "v2"}, commit_id=COMMIT),
        build_training_set(local_workspace, flights.slice(1), SPEC, commit_id=COMMIT),
    ]
    assert len({one.id for one in [made, *others]}) == 4


def test_splits_follow_time_and_nothing_is_learned_before_it_was_known(
    local_workspace: Workspace, flights: pa.Table
) -> None:
    made = build_training_set(local_workspace, flights, SPEC, commit_id=COMMIT)
    rows = {name: training_rows(local_workspace, made, name) for name in ("train", "validation", "test")}
    start = {name: pc.min(one["prediction_time"]).as_py() for name, one in rows.items()}
    last = {name: pc.max(one["prediction_time"]).as_py() for name, one in rows.items()}
    assert last["train"] < start["validation"] <= last["validation"] < start["test"]
    assert pc.max(rows["train"]["landed_at"]).as_py() < start["validation"]
    assert pc.max(rows["validation"]["landed_at"]).as_py() < start["test"]
    assert pc.max(rows["test"]["landed_at"]).as_py() <= datetime(2013, 4, 20, tzinfo=UTC)

    part = made.split.test
    assert part.rows == rows["test"].num_rows
    assert part.start == start["test"].timestamp() * 1e6
    assert part.end == last["test"].timestamp() * 1e6
    reasons = made.split.excluded.reasons
    assert reasons["label is null"] == flights["arr_delay"].null_count
    assert reasons["known after the cut-off"] > 500
    assert reasons["known too late for its split"] > 0
    assert made.rows + made.split.excluded.rows == flights.num_rows

    late = pc.greater(rows["test"]["arr_delay"], 15)
    assert rows["test"]["label"].to_pylist() == pc.cast(late, pa.float64()).to_pylist()


def test_a_trainer_gets_train_and_validation_only(local_workspace: Workspace, flights: pa.Table) -> None:
    made = build_training_set(local_workspace, flights, SPEC, commit_id=COMMIT)
    data = training_data(local_workspace, made)
    assert data.signature.names() == FEATURES
    assert data.signature.output.classes == ("false", "true")
    assert len(data.train.label) == made.split.train.rows
    assert len(data.validation.label) == made.split.validation.rows
    assert data.training_set == made.id


def test_a_feature_set_names_the_inputs(local_workspace: Workspace, flights: pa.Table) -> None:
    features = {"name": "delays", "features": ["hour", "origin"], "columns": {"origin": "varchar"}}
    made = build_training_set(local_workspace, flights, spec(features=()), features, commit_id=COMMIT)
    assert made.columns.features == ("hour", "origin")
    assert read_training_set(local_workspace, made.id).feature_set == features


def test_without_features_every_usable_column_is_one(local_workspace: Workspace) -> None:
    rows = small(late=pa.array(np.arange(60) * 7 % 60), seen_at=small()["asked"], __row=pa.array(range(60)))
    made = build_training_set(
        local_workspace, rows, msgspec.structs.replace(SMALL, label="Late > 20"), commit_id=COMMIT
    )
    assert made.columns.features == ("x", "y")
    assert "__row" not in training_rows(local_workspace, made).column_names


def test_rows_without_time_are_split_by_group(local_workspace: Workspace) -> None:
    rows = small(who=pa.array([f"p{one // 3}" for one in range(60)])).drop("asked")
    made = build_training_set(
        local_workspace, rows, TrainingSpec(name="s", label="y", split=Split(group="who")), commit_id=COMMIT
    )
    kept = training_rows(local_workspace, made)
    sides = kept.group_by("who").aggregate([("split", "count_distinct")])
    assert set(sides["split_count_distinct"].to_pylist()) == {1}
    assert made.columns.features == ("x",)
    assert made.split.test.start is None


def test_rows_of_a_group_stay_together(local_workspace: Workspace) -> None:
    rows = pa.table({"x": np.repeat(np.arange(40), 2), "z": np.arange(80), "y": np.repeat(np.arange(40) % 2, 2)})
    wanted = TrainingSpec(name="s", label="y", split=Split(group="x"))
    made = build_training_set(local_workspace, rows, wanted, commit_id=COMMIT)
    sides = training_rows(local_workspace, made).group_by("x").aggregate([("split", "count_distinct")])
    assert set(sides["split_count_distinct"].to_pylist()) == {1}


def test_times_may_be_text_or_dates(local_workspace: Workspace) -> None:
    texts = [f"2013-{1 + day // 28:02}-{1 + day % 28:02} 05:00" for day in range(60)]
    made = build_training_set(local_workspace, small(asked=pa.array(texts)), SMALL, commit_id=COMMIT)
    assert made.columns.types["asked"] == "timestamp[us, tz=UTC]"
    assert training_rows(local_workspace, made)["asked"][0].as_py() == datetime(2013, 1, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "columns", "message"),
    [
        ({"label": "why"}, {}, "Did you mean 'y'?|Known:|Columns"),
        ({"label": "x_ > 3"}, {}, "reads the column 'x_'"),
        ({"label": "y >"}, {}, "not an SQL expression"),
        ({"label": "y; drop table rows"}, {}, "not an SQL expression"),
        ({"label": "upper(y, 3)"}, {}, "cannot be evaluated"),
        ({"label": "error('no')"}, {}, "cannot be evaluated"),
        ({"label": "y"}, {"y": pa.nulls(60)}, "null in all 60 rows"),
        ({"label": "y = 0 or y = 1"}, {}, "one class only: 'true'"),
        ({"label": "[y]"}, {}, "cannot be learned"),
        ({"prediction_time": "askd"}, {}, "Did you mean 'asked'?"),
        ({"label_time": "known"}, {}, "no column for label_time named 'known'"),
        ({"features": ("x", "w")}, {}, "no feature named 'w'"),
        ({"features": ("x", "y")}, {}, "part of the label"),
        ({"features": ("x", "x")}, {}, "named twice"),
        ({"features": ("x", "asked")}, {}, "hour(asked)"),
        ({"features": ("x", "split")}, {"split": pa.array(range(60))}, "Rename it"),
        ({"prediction_time": "x"}, {}, "not a time"),
        ({}, {"asked": pa.array(["2013-01-01"] * 58 + ["soon", "later"])}, "2 of 60 values"),
        ({}, {"asked": pa.array([None] * 3 + [datetime(2013, 1, 1)] * 57)}, "3 of 60 rows have no prediction time"),
        ({"split": Split(validation="50d", test="50d")}, {}, "would be empty"),
        ({"cut_off": "yesterday"}, {}, "not a time"),
        ({"cut_off": "1960-01-01"}, {}, "None of the 60 rows can be learned from"),
        ({"prediction_time": None, "cut_off": "1990-01-01"}, {}, "cut_off needs"),
        ({"label": "asked > '1970-02-20'"}, {}, "one class only in the train split"),
        (
            {"label": "case when asked > '1970-02-25' then 'c' when y = 1 then 'a' else 'b' end"},
            {},
            "train split does not",
        ),
        ({"label": "case when asked > '1970-02-20' then x else 1.5 end"}, {}, "is 1.5 in every row of the train split"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_kept(
    local_workspace: Workspace, changes: dict[str, Any], columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as error:
        build_training_set(
            local_workspace, small(**columns), msgspec.structs.replace(SMALL, **changes), commit_id=COMMIT
        )
    told = f"{error.value.message} {error.value.hint}"
    assert any(one in told for one in message.split("|")), told
    assert error.value.hint or "every row of the train" in told
    assert list(local_workspace.store.digests()) == []


def test_a_population_without_rows_is_refused(local_workspace: Workspace) -> None:
    with pytest.raises(InputError, match="population has no rows"):
        build_training_set(local_workspace, small().slice(0, 0), SMALL, commit_id=COMMIT)


def test_the_label_cannot_read_files(local_workspace: Workspace, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    label = f"(select max(a) from read_csv('{secret}')) = y"
    with pytest.raises(InputError, match="cannot be evaluated"):
        build_training_set(local_workspace, small(), msgspec.structs.replace(SMALL, label=label), commit_id=COMMIT)


def test_an_unknown_set_or_split_is_answered_with_the_nearest(local_workspace: Workspace, flights: pa.Table) -> None:
    made = build_training_set(local_workspace, flights, SPEC, commit_id=COMMIT)
    with pytest.raises(NotFound) as error:
        read_training_set(local_workspace, f"delay@{made.id[:8]}")
    assert made.name in error.value.hint
    with pytest.raises(NotFound, match="no split named 'tset'"):
        training_rows(local_workspace, made, "tset")


def test_equal_rows_are_divided_one_by_one(local_workspace: Workspace) -> None:
    """Where few values make many equal rows, each kind of row is on every side, whatever its label."""
    draw = np.random.default_rng(3)
    cases = pa.table({"sex": draw.choice(["m", "f"], 2_000), "class": draw.integers(1, 4, 2_000)})
    cases = cases.append_column("survived", pa.array(draw.random(2_000) < 0.4))
    wanted = TrainingSpec(name="survivors", label="survived", features=("sex", "class"))
    made = build_training_set(local_workspace, cases, wanted, commit_id=COMMIT)
    counts = (
        training_rows(local_workspace, made).group_by(["sex", "class", "label", "split"]).aggregate([("sex", "count")])
    )
    assert counts.num_rows == 2 * 3 * 2 * 3
    shares = {
        name: part.rows / 2_000 for name, part in (("validation", made.split.validation), ("test", made.split.test))
    }
    assert all(0.11 < share < 0.19 for share in shares.values())
    turned = cases.take(np.random.default_rng(5).permutation(2_000))
    assert build_training_set(local_workspace, turned, wanted, commit_id=COMMIT) == made
