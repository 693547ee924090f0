"""Curves: pages hold every point once, and a thinned one has its ends, however its points lie."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bascule.history import Workspace
from bascule.server.reads import runs as reads
from bascule.tracking import curves, remote
from bascule.tracking.points import Point
from bascule.tracking.tracker import Tracker


@pytest.fixture(params=["sqlite", "postgresql"])
def tracker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tracker]:
    url = request.getfixturevalue("migrated_database") if request.param == "postgresql" else ""
    with closing(Workspace.create(tmp_path, catalog=url)) as ws:
        yield Tracker(ws)


def kept(tracker: Tracker, points: list[tuple[int, int, float]]) -> str:
    run = remote.create_run(tracker, 0, user="ana", name="n", started_at=1, tags={})
    told = tuple(Point("loss", value, at, step) for step, at, value in points)
    remote.log_batch(tracker, run, remote.Batch(points=told))
    return run


def test_a_long_curve_is_thinned_evenly_with_its_ends(tracker: Tracker) -> None:
    points = [(step, 5_000_000 - step, 1.0 / (step + 1)) for step in range(0, 30_000, 3)]  # late ones were logged first
    random.Random(1).shuffle(points)
    run = kept(tracker, points)
    found = curves.thinned(tracker, [run], "loss", 100)
    steps = [one.step for one in found]
    assert steps == sorted(steps)
    assert len(steps) == 100
    assert (steps[0], steps[-1]) == (0, 29_997)
    gaps = {b - a for a, b in itertools.pairwise(steps)}
    assert max(gaps) - min(gaps) <= 3  # one point more or less
    within = curves.thinned(tracker, [run], "loss", 10, (30, 60))
    assert next(one.step for one in within) == 30
    assert within[-1].step == 60
    (series,) = reads.get_run(tracker.workspace, run).series
    assert len(series.steps) <= reads.SERIES_POINTS
    assert series.steps == sorted(series.steps)


@pytest.mark.slow
def test_points_that_crowd_on_one_step_are_thinned_too(tracker: Tracker) -> None:
    run = kept(tracker, [(0, at, float(at % 7)) for at in range(9000)])
    found = curves.thinned(tracker, [run], "loss", 100)
    assert 90 <= len(found) <= 101
    assert found[-1].at == 8999
    (series,) = reads.get_run(tracker.workspace, run).series
    assert len(series.at) == 1800
    assert series.at[-1] == 8999
    assert len(curves.thinned(tracker, [run], "loss", 5000)) == 9000  # not crowded for so many
