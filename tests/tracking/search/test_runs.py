"""Searching runs is what a loop over them says, for any filter and any order, on both databases."""

from __future__ import annotations

import math
import random
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event, select

from bascule.catalog.schema import runs as columns
from bascule.catalog.texts import holding
from bascule.errors import InputError
from bascule.history import Workspace
from bascule.tracking import remote
from bascule.tracking.experiments import DELETED, create_experiment
from bascule.tracking.inputs import Dataset, log_inputs
from bascule.tracking.points import Point
from bascule.tracking.search import count_runs, search_runs
from bascule.tracking.search import runs as searching
from bascule.tracking.search.candidates import candidates
from bascule.tracking.search.grammar import MOST_ORDERS, parse_filter
from bascule.tracking.search.runs import ENTITIES
from bascule.tracking.tracker import Tracker

RUNS = 60
NAMES = ("Alpha", "alpha-2", "beta_1", "be%ta", "gamma*", "Ähnlich")


class Told:
    """What a run was told."""

    def __init__(self, chance: random.Random, number: int) -> None:
        self.start = 1_000_000 * (1 + number // 2) * 1000
        self.name = chance.choice(NAMES)
        self.metrics = {
            k: chance.choice([0.1, 0.5, 0.9, math.nan, 2.0]) for k in ("auc", "val/loss") if chance.random() < 0.7
        }
        self.params = {k: chance.choice(["1", "10", "a'b"]) for k in ("rate", "max depth") if chance.random() < 0.7}
        self.tags = {k: chance.choice(["x", "X", "yes"]) for k in ("stage",) if chance.random() < 0.6}
        self.status = chance.choice(["running", "done", "failed"])
        self.deleted = chance.random() < 0.15
        self.id = ""


@pytest.fixture(params=["sqlite", "postgresql"], scope="module")
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tracker, Any]]:
    url = ""
    if request.param == "postgresql":
        import uuid

        import psycopg

        server, name = request.getfixturevalue("postgresql"), f"t{uuid.uuid4().hex}"
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name}")
        url = server.replace("/postgres?", f"/{name}?").replace("postgresql://", "postgresql+psycopg://")
    tracker = Tracker(Workspace.create(tmp_path_factory.mktemp("runs"), catalog=url))
    chance, told = random.Random(7), []
    experiment = create_experiment(tracker, "e").id
    for number in range(RUNS):
        one = Told(chance, number)
        one.id = remote.create_run(
            tracker, experiment, user="ana", name=one.name, started_at=one.start, tags=dict(one.tags)
        )
        points = tuple(Point(key, value, 1000, 0) for key, value in one.metrics.items())
        remote.log_batch(tracker, one.id, remote.Batch(params=one.params, points=points))
        remote.update_run(tracker, one.id, status=one.status)
        if one.deleted:
            remote.set_run_lifecycle(tracker, one.id, DELETED)
        told.append(one)
    remote.create_run(tracker, 0, user="bo", name="elsewhere", started_at=1, tags={})
    yield tracker, (experiment, told)
    tracker.workspace.close()


FILTERS: dict[str, Any] = {
    "": lambda r: True,
    "metrics.auc > 0.4": lambda r: r.metrics.get("auc", math.nan) > 0.4,
    "metric.auc != 0.5": lambda r: "auc" in r.metrics and r.metrics["auc"] != 0.5,
    "metrics.`val/loss` <= 0.5 AND params.rate = '10'": lambda r: (
        r.metrics.get("val/loss", math.nan) <= 0.5 and r.params.get("rate") == "10"
    ),
    "metrics.none > 0": lambda r: False,
    "params.`max depth` != '1'": lambda r: r.params.get("max depth", "1") != "1",
    'params.rate = "a\'b"': lambda r: r.params.get("rate") == "a'b",
    "params.rate LIKE '1%'": lambda r: r.params.get("rate", "").startswith("1"),
    "tags.stage IS NULL": lambda r: "stage" not in r.tags,
    "tags.stage is not null and tag.stage = 'x'": lambda r: r.tags.get("stage") == "x",
    "tags.stage LIKE 'x'": lambda r: r.tags.get("stage") == "x",
    "tags.stage ILIKE 'X'": lambda r: r.tags.get("stage", "").lower() == "x",
    "attributes.run_name ILIKE 'alpha%'": lambda r: r.name.lower().startswith("alpha"),
    "run_name ILIKE 'Ähn%'": lambda r: r.name == "Ähnlich",
    "run_name LIKE 'Alpha%'": lambda r: r.name.startswith("Alpha"),
    "run_name LIKE 'be_ta'": lambda r: re.fullmatch("be.ta", r.name) is not None,
    "run_name = 'gamma*'": lambda r: r.name == "gamma*",
    "status = 'FINISHED'": lambda r: r.status == "done",
    "status != 'FINISHED'": lambda r: r.status != "done",
    "start_time > 10000000": lambda r: r.start > 10_000_000_000,
    "tags.`mlflow.runName` = 'Alpha'": lambda r: r.name == "Alpha",
}


@pytest.mark.slow
@pytest.mark.parametrize("text", FILTERS)
@pytest.mark.parametrize("view", ["ACTIVE_ONLY", "ALL"])
def test_a_filter_finds_what_a_loop_finds(filled: Any, text: str, view: str) -> None:
    tracker, (experiment, told) = filled
    found = [row.id for row in search_runs(tracker, [experiment], filter=text, view=view).found]
    wanted = [one for one in told if FILTERS[text](one) and (view == "ALL" or not one.deleted)]
    assert found == [one.id for one in sorted(wanted, key=lambda one: (-one.start, one.id))]


@pytest.mark.slow
@pytest.mark.parametrize("many", [0, 4, 20_000])
@pytest.mark.parametrize("rare", [0, 5, 2000])
@pytest.mark.parametrize("sorted_", [0, 3000])
def test_whoever_a_search_asks_first_its_answer_is_the_same(
    filled: Any, monkeypatch: pytest.MonkeyPatch, many: int, rare: int, sorted_: int
) -> None:
    tracker, (experiment, told) = filled
    monkeypatch.setattr("bascule.tracking.search.candidates.RARE", rare)
    monkeypatch.setattr(searching, "candidates", lambda conn, c, n, most=many: candidates(conn, c, n, most))
    monkeypatch.setattr(searching, "SORTED", sorted_)
    monkeypatch.setattr(searching, "SOUGHT", sorted_)
    pairs = [(a, b) for a in FILTERS for b in FILTERS if a and b]
    for a, b in pairs[::5]:
        text = f"{a} AND {b}"
        wanted = [one for one in told if FILTERS[a](one) and FILTERS[b](one) and not one.deleted]
        assert count_runs(tracker, [experiment], filter=text) == len(wanted), text
        wanted.sort(key=lambda one: (-one.start, one.id))
        values = [one for one in wanted if not math.isnan(one.metrics.get("auc", math.nan))]
        nan = [one for one in wanted if math.isnan(one.metrics.get("auc", 0))]
        without = [one for one in wanted if "auc" not in one.metrics]
        ordered = [*sorted(values, key=lambda one: one.metrics["auc"]), *nan, *without]
        found: list[str] = []
        token = ""
        while True:
            page = search_runs(tracker, [experiment], filter=text, order_by=["metrics.auc"], limit=9, token=token)
            found += [row.id for row in page.found]
            token = page.token
            if not token:
                break
        assert found == [one.id for one in ordered], text
        ordered = sorted(wanted, key=lambda one: ("rate" not in one.params, one.params.get("rate", "")))
        by_param = search_runs(tracker, [experiment], filter=text, order_by=["params.rate", "tags.nobody"]).found
        assert [row.id for row in by_param] == [one.id for one in ordered], text


@pytest.mark.parametrize("text", ["", "metrics.auc > -1", "status = 'FINISHED'"])
def test_an_order_by_a_parameter_reads_the_index_of_its_values(
    filled: Any, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    tracker, (experiment, _) = filled
    engine = tracker.workspace.catalog.engine
    if engine.dialect.name != "sqlite":
        return  # PostgreSQL's planner weighs it, and few runs are read whole
    monkeypatch.setattr(searching, "SORTED", 0 if text else 3000)
    monkeypatch.setattr(searching, "SOUGHT", 0)
    said: list[tuple[str, Any]] = []
    listen = lambda conn, cursor, statement, parameters, *_: said.append((statement, parameters))  # noqa: E731
    event.listen(engine, "before_cursor_execute", listen)
    try:
        search_runs(tracker, [experiment], filter=text, order_by=["params.rate DESC"], limit=3)
    finally:
        event.remove(engine, "before_cursor_execute", listen)
    statement, parameters = said[-1]
    with engine.connect() as conn:
        plan = conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    assert any("ix_run_params_value" in row[3] for row in plan), plan


def test_the_few_are_read_at_once_and_names_that_were_asked_once_are_known(filled: Any) -> None:
    tracker, (experiment, told) = filled
    engine = tracker.workspace.catalog.engine
    said: list[str] = []
    listen = lambda conn, cursor, statement, *_: said.append(statement)  # noqa: E731
    counts = []
    asked = Tracker(tracker.workspace)
    for _ in range(2):
        said.clear()
        event.listen(engine, "before_cursor_execute", listen)
        try:
            found = search_runs(
                asked,
                [experiment],
                filter="metrics.auc > 0.4 AND params.rate = '10'",
                order_by=["metrics.`val/loss`"],
            ).found
        finally:
            event.remove(engine, "before_cursor_execute", listen)
        assert len(found) == sum(
            not one.deleted and one.metrics.get("auc", 0) > 0.4 and one.params.get("rate") == "10" for one in told
        )
        counts.append(len(said))
    assert counts == [3, 2]  # the names, what indexes tell, and the page
    if engine.dialect.name == "sqlite":
        assert "json_group_array" in said[0]
        assert "json_each" in said[1]


def test_long_values_are_told_apart_beyond_what_the_index_holds(filled: Any) -> None:
    tracker, _ = filled
    experiment = create_experiment(tracker, f"long-{id(filled)}").id
    values = ["x" * 99, "x" * 100, "x" * 100 + "a", "x" * 100 + "b", "\ud7ff\U0001f600z", "y_z", "y%z", ""]
    ids = {}
    for value in values:
        ids[value] = remote.create_run(tracker, experiment, user="ana", name="n", started_at=1, tags={})
        remote.log_batch(tracker, ids[value], remote.Batch(params={"text": value}))
    for value in values:
        found = search_runs(tracker, [experiment], filter=f"params.text = '{value}'").found
        assert [row.id for row in found] == [ids[value]]
        starts = search_runs(tracker, [experiment], filter=f"params.text LIKE '{value}%'").found
        wanted = {one for text, one in ids.items() if re.match(value.replace("_", ".").replace("%", ".*"), text)}
        assert {row.id for row in starts} == wanted, value


@pytest.mark.parametrize("key", ["metrics.auc", "params.rate", "tags.stage", "attributes.run_name", "start_time"])
@pytest.mark.parametrize("direction", ["ASC", "DESC"])
@pytest.mark.parametrize("page", [7, 1000])
def test_an_order_is_that_of_a_sort_and_pages_hold_everything_once(
    filled: Any, monkeypatch: pytest.MonkeyPatch, key: str, direction: str, page: int
) -> None:
    tracker, (experiment, told) = filled
    monkeypatch.setattr(searching, "SORTED", 3 if page == 7 else 3000)  # many runs have one value, or few do

    def value(one: Told) -> Any:
        if key == "metrics.auc":
            return one.metrics.get("auc")
        return {
            "params.rate": one.params.get("rate"),
            "tags.stage": one.tags.get("stage"),
            "attributes.run_name": one.name,
            "start_time": one.start,
        }[key]

    def rank(one: Told) -> int:
        found = value(one)
        return 2 if found is None else 1 if isinstance(found, float) and math.isnan(found) else 0

    wanted = [one for one in told if not one.deleted]
    if key != "start_time":
        wanted.sort(key=lambda one: one.id)
        wanted.sort(key=lambda one: one.start, reverse=True)
    else:
        wanted.sort(key=lambda one: one.id)
    first = sorted((o for o in wanted if rank(o) == 0), key=value, reverse=direction == "DESC")
    wanted = first + [o for o in wanted if rank(o) == 1] + [o for o in wanted if rank(o) == 2]
    found, token = [], ""
    while True:
        answer = search_runs(tracker, [experiment], order_by=[f"{key} {direction}"], limit=page, token=token)
        found += [row.id for row in answer.found]
        token = answer.token
        if not token:
            break
    assert len(found) == len(set(found))
    if key == "attributes.run_name" and tracker.workspace.catalog.engine.dialect.name == "postgresql":
        assert set(found) == {one.id for one in wanted}  # the database's own collation
        return
    assert found == [one.id for one in wanted]


def test_more_conditions_than_the_filter_has_and_no_experiments(filled: Any) -> None:
    tracker, (experiment, told) = filled
    active = {one.id for one in told if not one.deleted}
    also = [columns.c.status.in_(["done", "failed"]), holding("LPH", columns.c.id, columns.c.name)]
    wanted = {one.id for one in told if one.id in active and one.status != "running" and "lph" in one.name.lower()}
    for text in ("", "metrics.auc > 0.4"):
        few = {one.id for one in told if one.id in wanted and FILTERS[text](one)}
        assert few
        assert {run.id for run in search_runs(tracker, [experiment], filter=text, also=also).found} == few
        assert search_runs(tracker, [], filter=text).found == []
        assert count_runs(tracker, [], filter=text) == 0
    assert active < {run.id for run in search_runs(tracker, None).found}


def test_a_run_is_told_as_it_is_kept(filled: Any) -> None:
    tracker, (experiment, _) = filled
    page = search_runs(tracker, [experiment], filter="metrics.auc > 0.4", view="ALL").found
    with tracker.workspace.catalog.read() as conn:
        for run in page:
            row = conn.execute(select(columns).where(columns.c.id == run.id)).one()._mapping
            assert run._asdict() == {name: row[name] for name in run._fields}


@pytest.mark.parametrize(
    "text",
    [
        "metrics.auc >> 3",
        "metrics.auc > 'x'",
        "params.rate = 3",
        "params.rate > '3'",
        "auc > 0.5",
        "metric > 1",
        "nothing.auc > 1",
        "metrics.auc > 1 OR metrics.auc < 0",
        "(metrics.auc > 1)",
        "tags.stage = 'x",
        "tags.stage IN 'x'",
        "status IN ('FINISHED')",
        "metrics.auc IS NULL",
        "experiment_id = '1'",
        "metrics.auc > 1 AND",
        "AND",
        "'; DROP TABLE runs; --",
        "x" * 40_000,
        " AND ".join(["metrics.a > 1"] * 300),
    ],
)
def test_what_cannot_be_read_is_told(filled: Any, text: str) -> None:
    tracker, (experiment, _) = filled
    with pytest.raises(InputError) as told:
        search_runs(tracker, [experiment], filter=text)
    assert told.value.hint


def test_a_search_is_refused_an_order_said_twice_and_a_foreign_token(filled: Any) -> None:
    tracker, (experiment, _) = filled
    with pytest.raises(InputError, match="duplicate"):
        search_runs(tracker, [experiment], order_by=["metrics.auc", "metric.auc DESC"])
    for token in ("x", "e30=", "eyJvZmZzZXQiOi0xfQ=="):
        with pytest.raises(InputError, match="page token"):
            search_runs(tracker, [experiment], token=token)


def test_injection_is_only_text(filled: Any) -> None:
    tracker, (experiment, _) = filled
    before = len(search_runs(tracker, [experiment]).found)
    assert search_runs(tracker, [experiment], filter='tags.`x" OR 1=1 --` = "\'; DELETE FROM runs; --"').found == []
    assert len(search_runs(tracker, [experiment]).found) == before
    (one,) = parse_filter("params.`a.b c` = 'it''s'", ENTITIES)
    assert (one.entity, one.key, one.value) == ("param", "a.b c", "it''s")


def test_the_longest_order_is_answered(filled: Any) -> None:
    tracker, _ = filled
    experiment = create_experiment(tracker, f"wide-{id(filled)}").id
    names = [f"p{place}" for place in range(60)]
    for number in range(3):
        run = remote.create_run(tracker, experiment, user="ana", name="n", started_at=number, tags={})
        remote.log_batch(tracker, run, remote.Batch(params=dict.fromkeys(names, "1")))
    order = [f"params.{name}" for name in names]
    for first in ("params.p59", "metrics.auc", "status"):  # one more ended the process
        found = search_runs(tracker, [experiment], order_by=[first, *order[: MOST_ORDERS - 1]]).found
        assert [run.started_at for run in found] == [2, 1, 0]
    with pytest.raises(InputError, match="more than"):
        search_runs(tracker, [experiment], order_by=order[: MOST_ORDERS + 1])


def test_patterns_of_odd_signs_and_lengths_are_answered_or_refused(filled: Any) -> None:
    tracker, (experiment, _) = filled
    for pattern in ("\U0010ffff%", "\ud7fe%", "\ud7ff%", "a\\", "%\\"):
        for sign in ("LIKE", "ILIKE"):
            assert search_runs(tracker, [experiment], filter=f"tags.stage {sign} '{pattern}'").found == []
    experiment = create_experiment(tracker, f"signs-{id(filled)}").id
    run = remote.create_run(tracker, experiment, user="a\\_b", name="n", started_at=1, tags={"path": "C:\\x_y"})
    for said in ("tags.path LIKE 'C:\\%'", "tags.path ILIKE '%\\x_Y'", "user_id LIKE 'a\\_b'", "user_id ILIKE 'A\\%'"):
        assert [one.id for one in search_runs(tracker, [experiment], filter=said).found] == [run], said
    sqlite = tracker.workspace.catalog.engine.dialect.name == "sqlite"
    for text in ("run_name LIKE '%s'" % ("*" * 30_000), "tags.path ILIKE '%s'" % ("é" * 30_000)):
        if not sqlite:
            assert search_runs(tracker, [experiment], filter=text).found == []
            continue
        with pytest.raises(InputError, match="too long"):
            search_runs(tracker, [experiment], filter=text)
    with pytest.raises(InputError, match="no text"):
        search_runs(tracker, [experiment], filter="tags.stage = '\udcff'")


def test_many_datasets_in_a_filter_are_answered_soon(filled: Any) -> None:
    tracker, _ = filled
    experiment = create_experiment(tracker, f"sets-{id(filled)}").id
    run, _ = (remote.create_run(tracker, experiment, user="a", name="n", started_at=1, tags={}) for _ in range(2))
    log_inputs(tracker, run, [Dataset(name="d", digest="1", source_type="local", source="x")], [])
    began = time.monotonic()
    for many in (1, 8, 9, 200):
        text = " AND ".join(["datasets.name IN ('d', 'e')"] * many)
        assert [one.id for one in search_runs(tracker, [experiment], filter=text).found] == [run]
        assert count_runs(tracker, [experiment], filter=text) == 1
    assert time.monotonic() - began < 10  # half a minute each, once
