"""Points of metrics: once each, in any order, and the latest is the greatest (step, time, value)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule.history import Workspace
from bascule.tracking import curves, remote
from bascule.tracking.documents import documents
from bascule.tracking.points import Point
from bascule.tracking.tracker import Tracker

VALUES = st.sampled_from([0.0, -1.0, 1.0, 2.5, math.nan, math.inf, -math.inf])
TIMES, STEPS = st.sampled_from([1000, 2000]), st.integers(-1, 2)
POINTS = st.lists(st.builds(Point, st.sampled_from(["a", "b"]), VALUES, TIMES, STEPS, st.just(0)), max_size=8)


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return Tracker(Workspace.create(tmp_path_factory.mktemp("points")))


def new_run(tracker: Tracker) -> str:
    return remote.create_run(tracker, 0, user="ana", name="r", started_at=1, tags={})


def told(tracker: Tracker, run: str) -> dict[str, Any]:
    import msgspec

    with tracker.workspace.catalog.read() as conn:
        number = remote.demand_run(conn, run).number
    found: dict[str, Any] = msgspec.json.decode(b"{" + documents(tracker, [number])[number] + b"}")
    return found


def same(value: float) -> tuple[bool, float]:
    return math.isnan(value), 0.0 if math.isnan(value) else value


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(batches=st.lists(POINTS, max_size=4))
def test_points_are_kept_once_and_the_latest_is_the_greatest(tracker: Tracker, batches: list[list[Point]]) -> None:
    run = new_run(tracker)
    for batch in batches:
        remote.log_batch(tracker, run, remote.Batch(points=tuple(batch)))
    everything = {(p.name, p.at, p.step, *same(p.value)) for batch in batches for p in batch}
    for name in ("a", "b"):
        mine = [one for one in everything if one[0] == name]
        held = [(name, p.at, p.step, *same(p.value)) for p in curves.history(tracker, run, name).found]
        assert held == sorted(mine, key=lambda one: (one[1], one[2], one[4], one[3]))
    latest = {one["key"]: one for one in told(tracker, run)["data"].get("metrics", [])}
    wanted = {}
    for name, at, step, nan, value in everything:
        wanted[name] = max(wanted.get(name, (-9, -9, -9.0, False)), (step, at, value, nan))
    assert latest.keys() == wanted.keys()
    for name, (step, at, value, _) in wanted.items():
        assert (latest[name]["step"], latest[name]["timestamp"] * 1000) == (step, at)
        found = latest[name]["value"]
        assert found == "NaN" or math.isclose(found, max(-1.7976931348623157e308, min(1.7976931348623157e308, value)))


def test_histories_come_in_pages_that_hold_everything(tracker: Tracker) -> None:
    run = new_run(tracker)
    remote.log_batch(tracker, run, remote.Batch(points=tuple(Point("a", float(i), 1000 * i, i) for i in range(25))))
    steps, token = [], ""
    while True:
        page = curves.history(tracker, run, "a", limit=10, token=token)
        steps += [one.step for one in page.found]
        token = page.token
        if not token:
            break
        # What comes meanwhile, and belongs before what was read, neither doubles a point nor hides one.
        remote.log_batch(tracker, run, remote.Batch(points=(Point("a", math.nan, -len(steps), -1),)))
    assert steps == list(range(25))


def test_thinned_curves_keep_both_ends(tracker: Tracker) -> None:
    run = new_run(tracker)
    remote.log_batch(tracker, run, remote.Batch(points=tuple(Point("a", float(i), i, i) for i in range(1000))))
    found = [one.step for one in curves.thinned(tracker, [run], "a", 11)]
    assert (len(found), found[0], found[-1]) == (11, 0, 999)
    assert [one.step for one in curves.thinned(tracker, [run], "a", 5, (10, 12))] == [10, 11, 12]


def test_a_batch_is_kept_whole_or_not_at_all(tracker: Tracker, tmp_path: Path) -> None:
    run = new_run(tracker)
    remote.log_batch(tracker, run, remote.Batch(params={"rate": "0.1"}))
    with pytest.raises(Exception, match="Changing param values is not allowed"):
        remote.log_batch(
            tracker, run, remote.Batch(params={"rate": "0.2", "new": "1"}, tags={"t": "v"}, points=(Point("a", 1, 1),))
        )
    found = told(tracker, run)["data"]
    assert found["params"] == [{"key": "rate", "value": "0.1"}]
    assert [tag["key"] for tag in found["tags"]] == [remote.NAME_TAG]
    assert "metrics" not in found
