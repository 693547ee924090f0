"""Who waits beside one that hangs is answered within its own time; who is only slow is waited for."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import Future
from contextlib import closing

import pytest

from bascule.errors import EnvironmentProblem
from bascule.serving.service import Service
from bascule.serving.workers import Lane, Program
from bascule.serving.workers.child import Child, WorkerSlow
from bascule.serving.workers.job import PREDICT, Job
from bascule.serving.workers.patience import Patience
from bascule.training import encode
from tests.serving.conftest import bundle, bundle_bytes, flights

STEPS = b"""
import time
def after(rows, outputs):
    for kind, seconds in (("hang", 600), ("slow", 0.9), ("busy", 0.2)):
        if any(row["carrier"] == kind for row in rows):
            time.sleep(seconds)
    return outputs
"""
ROW = {"distance": 500.0, "hour": 3, "night": True, "carrier": "AA"}


def put(lane: Lane, carrier: str, seconds: float | None = None) -> Job:
    columns = {name: [value] for name, value in {**ROW, "carrier": carrier}.items()}
    job = Job(PREDICT, 1, encode(bundle().signature, flights(1, seed=1)), columns, seconds, future=Future())
    lane.put(job)
    return job


def told(job: Job) -> BaseException | None:
    assert isinstance(job.future, Future)
    return job.future.exception(20)


def lane_of(**service: float) -> Lane:
    made = Service(**service)  # type: ignore[arg-type]
    return Lane(Program("x", 1, bundle_bytes(), {"after": "steps:after"}, {}, {"steps.py": STEPS}), made)


def test_a_call_has_all_its_time_until_others_wait_for_it() -> None:
    patience = Patience(4.0)
    assert patience.urged() == 4.0  # nobody knows what is much
    assert patience.shared() == 1.0
    patience.took(0.001)
    assert (patience.urged(), patience.urged(suspected=True), patience.shared()) == (2.0, 1.0, 1.0)
    patience.lost()
    assert patience.careful
    assert patience.urged() == 1.0
    patience.took(1.5)  # a model that is slow is waited for
    assert (patience.urged(), patience.shared()) == (2.25, 2.25)
    for _ in range(1_000):
        patience.took(0.001)
    assert patience.urged() == 1.0
    assert Patience(0.0).shared() == 1.0


@pytest.mark.slow
def test_innocent_rows_in_a_batch_with_one_that_hangs_are_answered_in_their_own_time() -> None:
    with closing(lane_of(workers=1, timeout=8.0)) as lane:
        first = put(lane, "busy")
        while lane._waiting:
            time.sleep(0.01)
        jobs = [put(lane, one) for one in (*["AA"] * 3, "hang", *["AA"] * 3)]
        began = time.monotonic()
        found = [told(job) for job in jobs]
        assert time.monotonic() - began < 8.0 + 1.0
        assert told(first) is None
        assert [type(one) for one in found] == [*[type(None)] * 3, WorkerSlow, *[type(None)] * 3]
        assert "while others waited for it" in str(found[3])
        assert lane.restarts == 2
        assert lane._patience.careful
        jobs = [put(lane, one) for one in ("AA", "hang", "AA", "AA")]  # they share no call now
        assert [told(job) is None for job in jobs] == [True, False, True, True]
        assert lane.restarts == 3


@pytest.mark.slow
def test_who_waits_already_goes_before_those_of_a_call_that_cost_its_worker() -> None:
    with closing(lane_of(workers=1, timeout=6.0, batch=4)) as lane:
        first = put(lane, "busy")
        while lane._waiting:
            time.sleep(0.01)
        done: list[str] = []
        jobs = []
        for name, carrier in (("a", "AA"), ("hang", "hang"), ("b", "AA"), ("c", "AA"), ("later", "AA"), ("last", "AA")):
            jobs.append(put(lane, carrier))
            assert isinstance(jobs[-1].future, Future)
            jobs[-1].future.add_done_callback(lambda _, name=name: done.append(name))
        for job in (first, *jobs):
            told(job)
        assert done == ["later", "last", "a", "hang", "b", "c"]


@pytest.mark.slow
def test_those_who_have_no_time_for_others_go_first() -> None:
    with closing(lane_of(workers=1, timeout=6.0)) as lane:
        busy, waits = put(lane, "busy"), put(lane, "AA")
        lane._spent = 5.0
        late = Job(PREDICT, 1, seconds=1.0, future=Future())
        lane._put_back([late])
        assert lane._waiting[0] is late
        lane._waiting.remove(late)
        told(busy)
        told(waits)


@pytest.mark.slow
def test_a_row_that_is_slow_alone_has_all_of_its_time_also_after_another_hung() -> None:
    with closing(lane_of(workers=1, timeout=3.0)) as lane:
        assert told(put(lane, "AA")) is None
        assert isinstance(told(put(lane, "hang")), WorkerSlow)
        assert told(put(lane, "slow")) is None  # nobody waits behind it


@pytest.mark.slow
def test_a_request_waits_for_a_worker_no_longer_than_the_service_lets_any_take() -> None:
    with closing(lane_of(workers=1, timeout=0.4)) as lane:
        jobs = [put(lane, "hang") for _ in range(12)]
        assert all(told(job) is not None for job in jobs)
        assert lane.restarts <= 8


@pytest.mark.slow
def test_a_worker_that_cannot_be_started_takes_no_requests_from_one_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(lane_of(workers=2, timeout=5.0)) as lane:
        monkeypatch.setattr(lane, "_start", refused)
        os.kill(lane.pids[0], signal.SIGKILL)
        until = time.monotonic() + 2.5  # the other thread tries once a second
        while time.monotonic() < until:
            assert told(put(lane, "AA")) is None
            time.sleep(0.02)
        assert len(lane.pids) == 1


def refused() -> Child:
    raise EnvironmentProblem("No memory.")
