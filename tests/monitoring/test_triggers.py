import threading
from datetime import UTC, datetime

import msgspec
import pytest
from sqlalchemy import select, update

from bascule import monitoring
from bascule.catalog import audit
from bascule.catalog.schema import jobs
from bascule.errors import InputError, NotFound
from bascule.history import Workspace
from bascule.monitoring.points import Point, write_points

DAY = 86_400_000_000
START = 15_887 * DAY  # 2013-07-01, a Monday
RULE = "quality.auc < training.auc - 0.03 for 3 of 5 days"
GOOD, BAD = 0.83, 0.70


def trigger(**rule) -> dict:
    found = {"name": "worse", "monitor": "delays", "rule": rule or {"when": RULE}}
    return monitoring.read_trigger(found).as_object()


def quality(ws: Workspace, values: list[float | None], first: int = 0, version: int = 1) -> None:
    """Write the AUC of days as if they had been measured; None is a day without enough labels."""
    points = []
    for day, value in enumerate(values, first):
        window = (START + day * DAY, START + (day + 1) * DAY)
        points.append(Point("traffic", "rows", *window, 900.0, None, None, 900, version))
        if value is not None:
            points.append(Point("quality", "auc", *window, value, value - 0.02, value + 0.02, 800, version))
    with ws.catalog.write() as conn:
        starts = {p.start for p in points}
        write_points(conn, "main", "delays", points, {"traffic": starts, "quality": starts})


def rows(ws: Workspace) -> list:
    with ws.catalog.read() as conn:
        return list(conn.execute(select(jobs).order_by(jobs.c.id)))


def finish(ws: Workspace) -> None:
    with ws.catalog.write() as conn:
        conn.execute(update(jobs).values(status="done"))


def fire(ws: Workspace, source: dict | None = None, **settings) -> monitoring.Job | None:
    return monitoring.evaluate_trigger(ws, "main", source or trigger(), **settings)


@pytest.mark.slow
def test_a_breach_that_lasts_puts_one_job_down(workspace: Workspace, watch) -> None:
    watch(workspace)
    quality(workspace, [GOOD, BAD, GOOD, BAD])
    assert fire(workspace) is None
    quality(workspace, [BAD], first=4)
    job = fire(workspace)
    assert job is not None
    assert job.kind == "retrain"
    assert job.spec["values"] == {"quality.auc": BAD, "training.auc": 0.84}
    assert "held in 3 of the last 5 windows to 2013-07-06T00:00Z" in job.reason
    assert fire(workspace) is None
    (row,) = rows(workspace)
    assert (row.id, row.status, row.dedupe_key) == (job.id, "waiting", "retrain:main:worse:v1:2013-07-05T00:00")
    assert msgspec.json.decode(row.spec_json)["version"] == 1
    with workspace.catalog.read() as conn:
        subjects = conn.execute(select(audit.audit.c.subject).where(audit.audit.c.action == "trigger")).scalars().all()
    assert subjects == ["triggers/worse"]


def test_one_job_in_an_episode_and_another_in_the_next_one(local_workspace: Workspace, watch) -> None:
    watch(local_workspace)
    for day in range(20):
        quality(local_workspace, [BAD], first=day)
        fire(local_workspace)
        finish(local_workspace)
    assert len(rows(local_workspace)) == 1
    quality(local_workspace, [GOOD] * 5, first=20)
    assert fire(local_workspace) is None
    quality(local_workspace, [BAD] * 3, first=25)
    assert fire(local_workspace) is not None


def test_the_cooldown_holds_a_new_episode_back(local_workspace: Workspace, watch) -> None:
    watch(local_workspace)
    slow = trigger(when=RULE, cooldown="30d")
    quality(local_workspace, [BAD] * 3 + [GOOD] * 5 + [BAD] * 3)
    assert fire(local_workspace, slow) is not None
    finish(local_workspace)
    quality(local_workspace, [GOOD] * 5 + [BAD] * 3, first=11)
    assert fire(local_workspace, slow) is None
    quality(local_workspace, [GOOD] * 20 + [BAD] * 3, first=19)
    assert fire(local_workspace, slow) is not None


def test_nothing_new_while_a_job_waits_or_runs(local_workspace: Workspace, watch) -> None:
    watch(local_workspace)
    eager = trigger(when=RULE, cooldown="1s")
    quality(local_workspace, [BAD] * 3)
    assert fire(local_workspace, eager) is not None
    quality(local_workspace, [GOOD] * 5 + [BAD] * 3, first=3)
    assert fire(local_workspace, eager) is None
    finish(local_workspace)
    assert fire(local_workspace, eager) is not None


def test_only_the_version_that_serves_is_judged(local_workspace: Workspace, watch) -> None:
    watch(local_workspace)
    quality(local_workspace, [BAD] * 5, version=1)
    quality(local_workspace, [BAD, GOOD, GOOD], first=5, version=2)
    assert fire(local_workspace) is None
    quality(local_workspace, [BAD, BAD], first=8, version=2)
    job = fire(local_workspace)
    assert job is not None
    assert ":v2:" in job.dedupe_key


def test_days_without_labels_say_nothing(local_workspace: Workspace, watch) -> None:
    watch(local_workspace)
    quality(local_workspace, [BAD, None, BAD, None, None])
    assert fire(local_workspace) is None
    quality(local_workspace, [BAD], first=3)
    assert fire(local_workspace) is not None


def test_without_any_points_nothing_fires(local_workspace: Workspace, watch) -> None:
    watch(local_workspace)
    assert fire(local_workspace) is None


@pytest.mark.slow
def test_many_evaluators_put_one_job_down(workspace: Workspace, watch) -> None:
    watch(workspace)
    quality(workspace, [BAD] * 5)
    found: list[object] = []

    def ask() -> None:
        try:
            found.append(fire(workspace))
        except Exception as error:
            found.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(one).__name__ for one in found if one is not None] == ["Job"]
    assert len(rows(workspace)) == 1


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def test_the_calendar_puts_a_job_down_for_each_time_and_makes_up_once(workspace: Workspace, watch) -> None:
    watch(workspace)
    weekly = trigger(schedule="0 3 * * 1")
    assert fire(workspace, weekly, now=at("2013-07-01T03:30")) is None  # due before it was looked at for the first time
    assert fire(workspace, weekly, now=at("2013-07-08T02:59")) is None
    job = fire(workspace, weekly, now=at("2013-07-08T03:00"))
    assert job is not None
    assert "2013-07-08T03:00Z" in job.reason
    assert fire(workspace, weekly, now=at("2013-07-08T03:01")) is None
    finish(workspace)
    missed = fire(workspace, weekly, now=at("2013-07-30T12:00"))
    assert missed is not None
    assert missed.dedupe_key.endswith("schedule:2013-07-29T03:00")
    finish(workspace)
    assert fire(workspace, weekly, now=at("2013-07-30T12:01")) is None
    assert len(rows(workspace)) == 2


def test_both_a_rule_and_a_calendar(local_workspace: Workspace, watch) -> None:
    watch(local_workspace)
    both = trigger(when=RULE, schedule="0 0 1 * *")
    fire(local_workspace, both, now=at("2013-07-02"))
    quality(local_workspace, [BAD] * 3)
    assert fire(local_workspace, both, now=at("2013-07-03")) is not None
    finish(local_workspace)
    job = fire(local_workspace, both, now=at("2013-08-02"))
    assert job is not None
    assert "schedule" in job.spec


def test_long_names_fit_the_column(workspace: Workspace, watch) -> None:
    watch(workspace)
    long = {"name": "w" * 240, "monitor": "delays", "rule": {"when": RULE}}
    quality(workspace, [BAD] * 3)
    assert fire(workspace, long) is not None
    assert fire(workspace, long) is None
    assert len(rows(workspace)[0].dedupe_key) <= 250


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        ({"rule": {"when": "quality.auk < 1"}}, "no 'quality.auk'", "quality.auc"),
        ({"rule": {"schedule": "0 3 * *"}}, "not a cron expression", "five fields"),
        ({"rule": {"schedule": "0 25 * * 1"}}, "not a cron expression", "five fields"),
        ({"rule": {}}, "neither", "when it fires"),
        ({"rule": {"whn": "x"}}, "unknown field", "'when'"),
        ({"rule": {"when": RULE, "cooldown": "a week"}}, "not a span of time", "30d"),
    ],
)
def test_triggers_that_cannot_be_used(source: dict, message: str, hint: str) -> None:
    with pytest.raises(InputError, match=message) as found:
        monitoring.read_trigger({"name": "worse", "monitor": "delays", **source})
    assert hint in found.value.hint


def test_units_and_names_must_fit_the_monitor(local_workspace: Workspace, watch) -> None:
    watch(local_workspace)
    with pytest.raises(InputError, match="counts hours, but monitor 'delays' measures by day"):
        fire(local_workspace, trigger(when="quality.auc < 0.7 for 3 of 5 hours"))
    with pytest.raises(InputError, match=r"no 'drift\.wnd'"):
        fire(local_workspace, trigger(when="drift.wnd > 0.1"))
    with pytest.raises(NotFound, match="no monitor named 'delay'"):
        fire(local_workspace, {"name": "worse", "monitor": "delay", "rule": {"when": RULE}})
