"""Training sets that are asked for: one row for each row, in order, as it was known then, and never changed again."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import bascule as api
from bascule.errors import BasculeError, InputError, NotFound
from bascule.training import read_training_set

Bascule = Callable[..., Any]
NOON = datetime(2025, 4, 10, 12, 30, tzinfo=UTC)
HEARD = """
[features.heard]
sql = "features/heard.sql"
entity = "depot"
event_time = "observed_at"
known_time = "told_at"

[service.skies]
features = ["weather.rain", "heard"]
"""


@pytest.fixture
def heard(trained: Path) -> Path:
    """The project with a view whose rows become known a day after they happen."""
    sql = "select depot, observed_at, observed_at + interval 1 day as told_at, rain as heard from weather"
    (trained / "features" / "heard.sql").write_text(sql)
    file = trained / "bascule.toml"
    file.write_text(file.read_text() + HEARD)
    return trained


def asked(*rows: tuple[str | None, datetime | None]) -> list[dict[str, Any]]:
    return [{"depot": depot, "asked_at": time, "n": place} for place, (depot, time) in enumerate(rows)]


def rain(folder: Path, depot: str, at: datetime) -> float | None:
    """The naive way: the newest line of the file at or before a time, not older than six hours."""
    best: tuple[datetime, float] | None = None
    for line in csv.DictReader((folder / "data" / "weather.csv").read_text().splitlines()):
        found, observed, value = line["depot"], datetime.fromisoformat(line["observed_at"]), float(line["rain"])
        if found == depot and at - timedelta(hours=6) <= observed <= at and (best is None or observed > best[0]):
            best = (observed, value)
    return best[1] if best else None


@pytest.mark.slow
def test_one_row_for_each_row_in_order(heard: Path, bascule: Bascule) -> None:
    times = [("south", NOON), (None, NOON), ("north", NOON), ("south", NOON), ("nowhere", NOON), ("north", None)]
    rows = asked(*times, ("north", NOON - timedelta(hours=3)), ("north", NOON + timedelta(days=4000)))
    made = api.get_training_set(rows, ["skies"], prediction_time="asked_at", name="skies")
    found = made.to_arrow()
    assert found.column_names == ["depot", "asked_at", "n", "weather__rain", "heard__heard"]
    assert found.column("n").to_pylist() == list(range(8))
    assert found.schema.field("weather__rain").type == pa.float64()
    known = [rain(heard, d, t) if d and t else None for d, t in ((one["depot"], one["asked_at"]) for one in rows)]
    assert found.column("weather__rain").to_pylist() == known
    assert known[0] is not None
    assert made.made.rows == len(made) == 8

    again = api.get_training_set(pa.Table.from_pylist(rows), ["weather:rain", "heard"], name="skies")
    assert again.made.id == made.made.id
    assert api.get_training_set(list(reversed(rows)), ["skies"], name="skies").made.id != made.made.id
    # Columns in which nothing is have no type, and match nothing.
    for depot, at in ((None, NOON), ("south", None), (None, None)):
        rest = api.get_training_set(asked((depot, at), (depot, at)), ["skies"], prediction_time="asked_at")
        nothing = {"depot": depot, "asked_at": at, "weather__rain": None, "heard__heard": None}
        assert rest.to_arrow().to_pylist() == [{**nothing, "n": 0}, {**nothing, "n": 1}]
        assert rest.to_arrow().schema.field("depot").type == pa.string()
    assert api.read_training_set(made.name).to_arrow() == found
    assert {one.name for one in api.training_sets()} >= {made.name}
    with pytest.raises(InputError, match="is the training set of no model"):
        read_training_set(api.open().workspace, made.name)
    assert bascule("doctor").code == 0


@pytest.mark.slow
def test_what_was_known_then(heard: Path) -> None:
    rows = asked(("north", NOON), ("north", NOON - timedelta(days=2)))
    now = api.get_training_set(rows, ["skies"])
    then = api.get_training_set(rows, ["skies"], known_at=NOON - timedelta(days=1))
    assert then.notes
    first, second = then.to_arrow().to_pylist()
    assert first["weather__rain"] is None  # what is known is older than the view lets count
    assert first["heard__heard"] is not None
    assert first["heard__heard"] == rain(heard, "north", NOON - timedelta(days=2))
    assert second == now.to_arrow().to_pylist()[1]
    later = api.get_training_set(rows, ["skies"], known_at=datetime.now(UTC))
    assert later.notes == ()
    assert later.to_arrow() == now.to_arrow()


@pytest.mark.slow
def test_tables_are_read_as_they_were(heard: Path, bascule: Bascule) -> None:
    query = "select depot, ordered_at from orders order by order_id"
    before = api.get_training_set(query, ["house"], name="before", prediction_time="ordered_at")
    moment = datetime.now(UTC).isoformat()
    assert bascule("table", "delete", "orders", "--where", "order_id >= 'o001'").code == 0
    assert len(api.get_training_set(query, ["house"], prediction_time="ordered_at")) == 40
    then = api.get_training_set(query, ["house"], name="before", prediction_time="ordered_at", known_at=moment)
    assert then.to_arrow() == before.to_arrow()
    at = api.get_training_set(query, ["house"], name="before", prediction_time="ordered_at", at="main~1")
    assert at.made.id == before.made.id


@pytest.mark.slow
def test_labels_and_splits(heard: Path) -> None:
    query = "select order_id, depot, ordered_at, minutes_late from orders where hash(order_id) % 3 = 0"
    given: dict[str, Any] = {"prediction_time": "ordered_at", "label": "minutes_late > 15", "features": ["house"]}
    made = api.get_training_set(query, split="time", maturity="2d", test="10d", validation="10d", **given)
    parts = {name: made.to_arrow(name) for name in ("train", "validation", "test")}
    assert sum(part.num_rows for part in parts.values()) + made.made.left_out["is in no split"] == len(made)
    ends = {name: max(part.column("ordered_at").to_pylist()) for name, part in parts.items()}
    begins = {name: min(part.column("ordered_at").to_pylist()) for name, part in parts.items()}
    assert ends["train"] + timedelta(days=2) <= begins["validation"] + timedelta(hours=3)
    assert ends["validation"] + timedelta(days=2) <= begins["test"] + timedelta(hours=3)

    young = api.get_training_set(query, maturity="2d", known_at="2025-04-20", **given).to_arrow().to_pylist()
    for row in young:
        mature = row["ordered_at"].replace(tzinfo=UTC) + timedelta(days=2) <= datetime(2025, 4, 20, tzinfo=UTC)
        expected = None if not mature or row["minutes_late"] is None else row["minutes_late"] > 15
        assert row["label"] == expected

    folded = api.get_training_set(query, split="folds", group=["order_id"], folds=4, **given)
    assert set(folded.made.splits) == {"0", "1", "2", "3"}
    assert api.get_training_set(query, split="folds", group="order_id", folds=4, **given).name == folded.name
    assert min(folded.made.splits.values()) > 150
    assert folded.to_arrow(2).num_rows == folded.made.splits["2"]
    by_depot = api.get_training_set(query, split="entity", test=0.4, validation=0.3, seed=3, **given).to_arrow()
    sides = {(row["depot"], row["split"]) for row in by_depot.to_pylist()}
    assert len(sides) == 3
    north = api.get_training_set(query, where="depot = 'north'", **given).to_arrow()
    assert set(north.column("depot").to_pylist()) == {"north"}


@pytest.mark.slow
def test_many_rows_stream_into_the_same_file(heard: Path) -> None:
    query = "select depot, ordered_at, i from orders, range(30) t(i) order by order_id, i"
    with pytest.MonkeyPatch.context() as patch:
        one = api.get_training_set(query, ["weather"], prediction_time="ordered_at")
        patch.setattr("bascule.project.gathering.ROW_GROUP", 4096)  # the engine hands out other batches
        other = api.get_training_set(query, ["weather"], prediction_time="ordered_at")
    assert len(one) == 72_000
    assert one.made.id == other.made.id
    assert sum(batch.num_rows for batch in one.batches()) == 72_000


@pytest.mark.slow
def test_the_forgotten_leave_a_set_too(heard: Path, bascule: Bascule) -> None:
    made = api.get_training_set(
        "select order_id, depot, ordered_at from orders", ["house"], prediction_time="ordered_at"
    )
    assert bascule("forget", "orders", "order_id=o000-07", "--reason", "asked").code == 0
    left = api.read_training_set(made.name)
    assert len(left) == 2399
    assert "o000-07" not in left.to_arrow().column("order_id").to_pylist()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "more", "said"),
    [
        ("nothing", {}, "no table named 'nothing'"),
        ("none.csv", {}, "no file none.csv"),
        ("select 1 as", {}, "syntax|cannot"),
        ("select * from '/etc/passwd'", {}, "table|read"),
        ("orders", {"features": ["wether"]}, "no feature view named 'wether'"),
        ("orders", {"features": ["weather.ran"]}, "no field named 'ran'"),
        ("orders", {"features": ["service:sky"]}, "no feature service named 'sky'"),
        ("orders", {"prediction_time": "orderd_at"}, "orderd_at"),
        ("orders", {"prediction_time": None}, "nothing says as of when"),
        ("orders", {"label": "minutes_lat > 1"}, "minutes_lat"),
        ("orders", {"where": "depo = 'x'"}, "depo"),
        ("orders", {"split": "tme"}, "time, entity, folds"),
        ("orders", {"split": "time", "test": "10d"}, "a span and a share"),
        ("orders", {"split": "entity", "test": 0.9, "validation": 0.2}, "nothing to train on"),
        ("orders", {"split": "folds", "folds": 1}, "folds is 1"),
        ("orders", {"split": "folds", "group": ["x"]}, "no column of the entity rows named 'x'"),
        ("orders", {"maturity": "2d"}, "needs a label"),
        ("orders", {"known_at": "yesterday"}, "not a time"),
        ("select depot, ordered_at, 1 as weather__rain from orders", {}, "a name that is taken"),
        (7, {}, "int"),
    ],
)
def test_what_cannot_be_asked(heard: Path, rows: Any, more: dict[str, Any], said: str) -> None:
    before = {one.name for one in api.training_sets()}
    with pytest.raises(BasculeError, match=said) as told:
        api.get_training_set(rows, **{"features": ["weather"], "prediction_time": "ordered_at", **more})
    assert isinstance(told.value, InputError | NotFound)
    assert {one.name for one in api.training_sets()} == before
