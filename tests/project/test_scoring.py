"""A whole table scored into another one, which says by what and from what."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import bascule as api
from bascule.errors import InputError, NotFound
from bascule.history import Workspace
from bascule.project.place import Place
from bascule.project.querying import query
from bascule.project.scoring import score_table
from bascule.project.tabling import BranchTable
from tests.serving.conftest import bundle, bundle_bytes, flights, put_deployment, put_versions

Bascule = Callable[..., Any]
ROWS = flights(120_000, seed=3).append_column("id", pa.array(range(120_000)))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("scoring")
    (folder / "bascule.toml").write_text('[project]\nname = "scoring"\n')
    ws = Workspace.create(folder)
    for name, task in (("delays", "binary"), ("three", "multiclass"), ("amount", "regression")):
        put_versions(ws, {1: bundle_bytes(task)}, model=name)
    put_versions(ws, {2: bundle_bytes(seed=1)})
    put_deployment(ws, {1: 100})
    ws.close()
    with api.open(folder) as project:
        BranchTable(project.place, "trips").create(ROWS)
        yield project.place


def read(place: Place, name: str) -> pa.Table:
    return BranchTable(place, name).read().read_all().sort_by("id")


@pytest.mark.slow
def test_every_row_by_the_version_that_is_named(place: Place) -> None:
    done = score_table(place, "trips", "delays@2", into="scored")
    assert (done.table, done.model, done.change.rows) == ("scored", "delays@2", 120_000)
    found = read(place, "scored")
    expected = bundle(seed=1).predict(ROWS)
    assert np.array_equal(found["predicted_probability"].to_numpy(), expected)
    assert found["predicted_label"].to_pylist()[:100] == ["1" if p >= 0.5 else "0" for p in expected[:100]]
    assert found["carrier"].to_pylist()[:50] == ROWS["carrier"].to_pylist()[:50]
    assert set(found["scored_by"].unique().to_pylist()) == {"delays@2"}
    assert set(found["scored_from"].unique().to_pylist()) == {done.source}
    assert done.change.commit is not None
    assert done.change.commit.message == f"Score {done.source} by delays@2"


@pytest.mark.slow
def test_again_replaces_and_a_condition_chooses(place: Place) -> None:
    for where, count in (("id < 10", 10), ("id < 20", 20)):
        done = score_table(place, "tables/trips", "deployments/delays", where=where)
        assert (done.table, done.model, done.change.rows) == ("trips_scored", "delays@1", count)
    assert read(place, "trips_scored")["id"].to_pylist() == list(range(20))


@pytest.mark.slow
def test_of_an_older_state(place: Place) -> None:
    before = place.workspace.history.resolve("main").id
    BranchTable(place, "trips").delete("id >= 5")
    try:
        assert score_table(place, "trips", "delays@1", into="few").change.rows == 5
        assert score_table(place, f"trips@{before}", "delays@1", into="all").change.rows == 120_000
    finally:
        BranchTable(place, "trips").overwrite(ROWS)


@pytest.mark.slow
def test_of_classes_and_values(place: Place) -> None:
    score_table(place, "trips", "three", into="in_three", where="id < 50")
    shares = bundle("multiclass").predict(ROWS.slice(0, 50))
    assert np.array_equal(np.array(read(place, "in_three")["predicted_probability"].to_pylist()), shares)
    score_table(place, "trips", "amount", into="amounts", where="id < 50")
    values = bundle("regression").predict(ROWS.slice(0, 50))
    assert np.array_equal(read(place, "amounts")["predicted_value"].to_numpy(), values)
    assert score_table(place, "trips", "amount", into="none", where="id < 0").change.rows == 0


def test_how_far_it_is_is_told(place: Place) -> None:
    BranchTable(place, "fifty").create(ROWS.slice(0, 50))
    told: list[tuple[str, int, int | None]] = []
    for where in ("", "id < 20"):
        score_table(place, "fifty", "delays@1", where=where, tell=lambda *said: told.append(said))
    assert told == [("Scoring", 0, 50), ("Scoring", 50, 50), ("Scoring", 0, None), ("Scoring", 20, None)]


def test_what_cannot_be_scored_is_told(place: Place) -> None:
    before = place.workspace.history.resolve("main").id
    BranchTable(place, "bare").create(ROWS.slice(0, 3).select(["id", "hour"]))
    BranchTable(place, "named").create(ROWS.slice(0, 3).append_column("scored_by", pa.array(["x"] * 3)))
    after = place.workspace.history.resolve("main").id
    assert before != after
    for table, model, into, error, text in (
        ("bare", "delays", None, InputError, "'distance', 'night', 'carrier'"),
        ("named", "delays", None, InputError, "has a column 'scored_by' already"),
        ("trips", "delays", "trips", InputError, "replaced by its own predictions"),
        ("trips", "delays@9", None, NotFound, "9"),
        ("trips", "delay", None, NotFound, "Did you mean"),
        ("trip", "delays", None, NotFound, "trips"),
    ):
        with pytest.raises(error) as refused:
            score_table(place, table, model, into=into)
        assert text in f"{refused.value.message} {refused.value.hint}"
    assert place.workspace.history.resolve("main").id == after


def test_the_command(trained: Path, bascule: Bascule) -> None:
    assert bascule("table", "create", "one", "--sql", "select 1 as a").code == 0
    said = bascule("predict", "one", "--model", "delays")
    assert said.code == 2
    assert "Table 'one' does not have" in said.err
    assert bascule("predict", "one", "--model", "delays", "a=1").code == 2
    assert bascule("predict", "delays", "--into", "x").code == 2


@pytest.mark.slow
def test_a_table_is_answered_as_its_rows_are(trained: Path, bascule: Bascule) -> None:
    assert bascule("deploy").code == 0
    one = bascule("predict", "delays", "--example", "--json").json()
    listed = ", ".join(
        f"{value!r} as {name}" if isinstance(value, str) else f"{'null' if value is None else value} as {name}"
        for name, value in one["inputs"].items()
    )
    assert bascule("table", "create", "asked", "--sql", f"select {listed}").code == 0
    said = bascule("predict", "asked", "--model", "deployments/delays", "--into", "said", "--json").json()
    assert (said["table"], said["rows"], said["model"]) == ("said", 1, "delays@1")
    (row,) = bascule("sql", "select predicted_probability, scored_from from said", "--json").json()
    assert row == {"predicted_probability": one["output"]["probability"], "scored_from": said["source"]}


def test_a_refused_query_lets_go_of_the_models_that_it_asked(place: Place) -> None:
    held: list[weakref.ref[Exception]] = []

    def ask() -> None:
        try:
            query(place.workspace, "select predict('delays@1', {'hour': 3, 'night': true})")
        except InputError as error:
            held.append(weakref.ref(error))

    gc.disable()
    try:
        ask()
        assert [one() for one in held] == [None]
    finally:
        gc.enable()


def test_sql_asks_about_rows_with_nan_and_infinity(place: Place) -> None:
    row = "'distance': {0}::double, 'hour': 3, 'night': true, 'carrier': 'AA'"
    sql = f"select predict('delays@1', {{{{{row}}}}}) as p, predict('delays@1', {{0}}::double, 3, true, 'AA') as q"

    def asked(value: str) -> set[float]:
        (found,) = query(place.workspace, sql.format(value))
        return {found["p"], found["q"]}

    assert asked("'nan'") == asked("null")
    assert asked("'-inf'") == asked("-1e300")
    assert len(asked("'inf'")) == 1


@pytest.mark.slow
def test_models_are_functions_of_sql(place: Place) -> None:
    def asked(sql: str) -> list[dict[str, Any]]:
        return query(place.workspace, sql)

    expected = bundle().predict(ROWS)
    rows = asked(
        "select id, predict('delays@1', t) as p, predict_label('deployments/delays', t) as l "
        "from trips t where id < 20000"
    )
    assert [row["p"] for row in sorted(rows, key=lambda row: row["id"])] == expected[:20_000].tolist()
    assert {row["l"] for row in rows} == {"0", "1"}
    one = "select {} as p from trips where id = 7"
    ways = ["predict('delays@1', distance, hour, night, carrier)", ""]
    ways[1] = (
        "predict('delays@1', {'distance': distance, 'hour': hour, 'night': night, 'carrier': carrier, 'more': id})"
    )
    for way in ways:
        assert [row["p"] for row in asked(one.format(way))] == [expected[7]]
    assert asked("select predict('amount', t) > 0 as p, predict_label('three', t) as l from trips t limit 1")
    assert asked("select predict(null, t) as p from trips t limit 1") == [{"p": None}]
    for sql, said in (
        ("select predict('delay', t) from trips t", "no model named 'delay'"),
        ("select predict('delays@9', t) from trips t", "'9'"),
        ("select predict('delays@1', distance) from trips", "takes 4 columns; 1 came"),
        ("select predict('delays@1', {'hour': 3, 'night': true})", "'distance'"),
        ("select predict_label('amount', t) from trips t", "no classes"),
    ):
        with pytest.raises((InputError, NotFound), match=said):
            asked(sql)
