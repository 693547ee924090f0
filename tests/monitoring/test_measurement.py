import json
from typing import Any

import duckdb
import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from sqlalchemy import select

from bascule import monitoring
from bascule.catalog.schema import monitor_points
from bascule.history import Workspace
from bascule.monitoring.alerts import named

DAY = 86_400_000_000
START = 15_887 * DAY


def points(ws: Workspace, measure: str | None = None) -> list[monitoring.Point]:
    with ws.catalog.read() as conn:
        return monitoring.read_points(conn, "main", "delays", [measure] if measure else None)


def alerts(ws: Workspace, firing: bool = False) -> list[monitoring.Alert]:
    with ws.catalog.read() as conn:
        return monitoring.read_alerts(conn, "main", "delays", firing=firing)


def measure(ws: Workspace, log, monitor: dict) -> monitoring.Measurement:
    return monitoring.measure(ws, log.connection(), "main", monitor)


def table(ws: Workspace) -> list[tuple]:
    columns = [c for c in monitor_points.c if c.name != "computed_at"]
    with ws.catalog.read() as conn:
        return sorted(map(tuple, conn.execute(select(*columns))))


@pytest.mark.slow
def test_quiet_days_give_points_and_no_alert(workspace: Workspace, log, watch) -> None:
    monitor = watch(workspace)
    for day in range(5):
        log.day(day)
    found = measure(workspace, log, monitor)
    assert found.windows == 5
    assert found.opened == ()
    kinds = {(p.measure, p.subject) for p in points(workspace)}
    assert kinds == {
        ("traffic", "rows"),
        ("coverage", "labels"),
        ("drift", "wind"),
        ("drift", "origin"),
        ("drift", "age"),
        ("drift_share", "share"),
        ("prediction_drift", "score"),
        *(("quality", metric) for metric in ("auc", "log_loss", "brier", "ece", "accuracy")),
    }
    auc = [p for p in points(workspace, "quality") if p.subject == "auc"]
    assert all(p.low < p.value < p.high for p in auc)
    assert all(p.detail["release"] == 0.84 and p.breach is False for p in auc)
    assert [p.start for p in auc] == [START + day * DAY for day in range(5)]


def test_measuring_again_changes_nothing(local_workspace: Workspace, log, watch) -> None:
    monitor = watch(local_workspace)
    for day in range(3):
        log.day(day)
    measure(local_workspace, log, monitor)
    before = table(local_workspace)
    again = measure(local_workspace, log, monitor)
    assert (again.windows, again.points) == (0, ())
    assert table(local_workspace) == before


@pytest.mark.slow
@pytest.mark.parametrize(("over", "opened"), [(1, 5), (3, 6)])
def test_measuring_day_by_day_is_measuring_at_once(
    local_workspace: Workspace, log, watch, over: int, opened: int
) -> None:
    monitor = watch(local_workspace, drift={"over": over})
    other = {**monitor, "name": "once"}
    worn = {"change": {"wind": lambda rng, n: rng.normal(12, 3, n)}}
    for day in range(12):
        log.day(day, **(worn if 3 <= day < 7 else {}))
        measure(local_workspace, log, monitor)
    monitoring.measure(local_workspace, log.connection(), "main", other)
    with local_workspace.catalog.read() as conn:
        daily, once = (monitoring.read_points(conn, "main", name) for name in ("delays", "once"))
        episodes = [
            [(a.subject, a.window_start, a.status) for a in monitoring.read_alerts(conn, "main", name)]
            for name in ("delays", "once")
        ]
    assert daily == once
    assert episodes[0] == episodes[1] == [("wind", START + opened * DAY, "resolved")]


@pytest.mark.slow
def test_drift_opens_one_alert_and_resolves(workspace: Workspace, log, watch) -> None:
    monitor = watch(workspace)
    story = []
    for day in range(14):
        shifted = 2 <= day < 9
        log.day(day, change={"wind": lambda rng, n: rng.normal(11.5, 3, n)} if shifted else None)
        found = measure(workspace, log, monitor)
        story += [(day, "open", a.subject) for a in found.opened] + [(day, "resolve", len(found.resolved))] * bool(
            found.resolved
        )
    assert story == [(4, "open", "wind"), (11, "resolve", 1)]
    (alert,) = alerts(workspace)
    assert (alert.measure, alert.severity, alert.status) == ("drift", "warning", "resolved")
    assert alert.value >= alert.threshold == 0.1
    assert alert.closed_at >= alert.opened_at


@pytest.mark.parametrize(
    ("subject", "change"),
    [
        ("wind", lambda rng, n: rng.normal(11.5, 3, n)),
        ("origin", lambda rng, n: rng.choice(["EWR", "JFK", "LGA"], n, p=[0.2, 0.35, 0.45])),
        ("origin", lambda rng, n: rng.choice(["EWR", "JFK", "SWF"], n, p=[0.4, 0.35, 0.25])),
        ("age", lambda rng, n: np.where(rng.random(n) < 0.15, np.nan, rng.gamma(4, 3, n))),
    ],
)
def test_known_shifts_are_paged(local_workspace: Workspace, log, watch, subject: str, change) -> None:
    monitor = watch(local_workspace)
    for day in range(5):
        log.day(day, change={subject: change})
    found = measure(local_workspace, log, monitor)
    assert [alert.subject for alert in found.opened] == [subject]
    assert found.opened[0].detail["moved"]["cell"]


def test_a_feature_that_is_not_sent_any_more_is_paged(local_workspace: Workspace, log, watch) -> None:
    monitor = watch(local_workspace)
    del log.columns["age"]
    for day in range(4):
        log.day(day)
    found = measure(local_workspace, log, monitor)
    assert [(alert.subject, alert.detail["nulls"]) for alert in found.opened] == [("age", 1.0)]


def test_scores_that_shift_are_prediction_drift(local_workspace: Workspace, log, watch) -> None:
    monitor = watch(local_workspace)
    for day in range(4):
        log.day(day, score_shift=0.8, labelled=0.0)
    found = measure(local_workspace, log, monitor)
    assert [(alert.measure, alert.subject) for alert in found.opened] == [("prediction_drift", "score")]


def test_alerts_are_ranked_by_severity_and_then_effect_times_importance(local_workspace: Workspace, log, watch) -> None:
    monitor = watch(local_workspace)
    change = {"wind": lambda rng, n: rng.normal(11.5, 3, n), "age": lambda rng, n: rng.gamma(4, 9, n)}
    for day in range(4):
        log.day(day, change=change, skill=0.1)
    opened = measure(local_workspace, log, monitor).opened
    assert opened[0].subject == "auc"
    (drifted,) = [alert for alert in opened if alert.measure == "drift"]
    wind, age = drifted.detail["members"]
    assert (drifted.subject, wind["subject"], age["subject"]) == ("wind", "wind", "age")
    assert age["value"] > wind["value"] == drifted.value  # the larger effect is on the feature that matters least
    assert drifted.told == f"wind {wind['value']:.3g}, age {age['value']:.3g}"
    assert [a.id for a in alerts(local_workspace, firing=True)] == [a.id for a in opened]


WORN = {
    "wind": lambda rng, n: rng.normal(12, 3, n),
    "age": lambda rng, n: rng.gamma(4, 6, n),
    "origin": lambda rng, n: rng.choice(["EWR", "JFK", "LGA"], n, p=[0.1, 0.2, 0.7]),
}


def worn(day: int) -> dict[str, Any]:
    """Wind drifts from day 2 to 9, age from day 5 to 12, origin from day 20 on."""
    spans = {"wind": range(2, 10), "age": range(5, 13), "origin": range(20, 24)}
    return {name: WORN[name] for name, days in spans.items() if day in days}


@pytest.mark.slow
def test_what_drifts_together_is_one_alert_that_is_kept_up_to_date(workspace: Workspace, log, watch) -> None:
    monitor = watch(workspace, persistence=(2, 3))
    story = []
    for day in range(24):
        log.day(day, change=worn(day))
        found = measure(workspace, log, monitor)
        story += [(day, "open", alert.subject) for alert in found.opened]
        story += [(day, "resolve", len(found.resolved))] * bool(found.resolved)
        firing = alerts(workspace, firing=True)
        assert len(firing) <= 1
        assert {one["subject"] for alert in firing for one in alert.detail["members"]} == (
            {"wind"} if 3 <= day < 6 else {"wind", "age"} if 6 <= day < 11 else {"age"} if 11 <= day < 14
            else {"origin"} if day >= 21 else set()
        )  # fmt: skip
    assert story == [(3, "open", "wind"), (14, "resolve", 1), (21, "open", "origin")]
    first = next(alert for alert in alerts(workspace) if alert.status == "resolved")
    assert (first.window_start, first.window_end) == (START + 3 * DAY, START + 14 * DAY)
    assert (first.subject, first.detail["seen"]) == ("age", ["age", "wind"])
    assert first.value >= first.threshold == 0.1
    # Each feature's own results are in the records all the same.
    assert len({(p.subject, p.start) for p in points(workspace, "drift")}) == 3 * 24


@pytest.mark.slow
def test_alerts_that_grow_day_by_day_are_those_of_one_look(local_workspace: Workspace, log, watch) -> None:
    monitor = watch(local_workspace, persistence=(2, 3))
    for day in range(24):
        log.day(day, change=worn(day))
        measure(local_workspace, log, monitor)
    monitoring.measure(local_workspace, log.connection(), "main", {**monitor, "name": "once"})
    with local_workspace.catalog.read() as conn:
        daily, once = (
            [
                (a.subject, a.status, a.value, a.window_start, a.window_end, a.detail)
                for a in monitoring.read_alerts(conn, "main", name)
            ]
            for name in ("delays", "once")
        )
    assert len(daily) == 2
    assert daily == once


def test_a_line_names_the_first_and_how_many_more() -> None:
    assert named(["a"]) == "a"
    assert named(["a", "b", "c"]) == "a, b, c"
    assert named(list("abcdefg")) == "a, b, c and 4 more"


def test_quality_waits_for_labels_and_is_measured_when_they_arrive(local_workspace: Workspace, log, watch) -> None:
    monitor = watch(local_workspace)
    for day in range(4):
        log.day(day, labelled=0.5, skill=0.0)
    measure(local_workspace, log, monitor)
    assert points(local_workspace, "quality") == []
    assert all(0.4 < p.value < 0.6 for p in points(local_workspace, "coverage"))
    have = {i for t in log.truth for i in t.column("prediction_id").to_pylist()}
    late = [i for t in log.predictions[:2] for i in t.column("prediction_id").to_pylist() if i not in have]
    log.label(late, (np.random.default_rng(5).random(len(late)) < 0.3).astype(float), START + 9 * DAY)
    found = measure(local_workspace, log, monitor)
    assert found.windows == 2
    assert {p.start for p in points(local_workspace, "quality")} == {START, START + DAY}
    assert {p.measure for p in found.points} == {"traffic", "coverage", "quality"}


def test_a_corrected_label_is_measured_again(local_workspace: Workspace, log, watch) -> None:
    monitor = watch(local_workspace)
    log.day(0)
    measure(local_workspace, log, monitor)
    (before,) = [p.value for p in points(local_workspace, "quality") if p.subject == "brier"]
    ids = log.predictions[0].column("prediction_id").to_pylist()
    log.label(ids, np.ones(len(ids)), START + 3 * DAY)
    assert measure(local_workspace, log, monitor).windows == 1
    (after,) = [p.value for p in points(local_workspace, "quality") if p.subject == "brier"]
    scores = log.predictions[0].column("score").to_numpy()
    assert after == pytest.approx(((1 - scores) ** 2).mean())
    assert after != before


def test_worse_quality_is_critical(local_workspace: Workspace, log, watch) -> None:
    monitor = watch(local_workspace, quality={"metric": "auc", "tolerance": 0.03})
    for day in range(6):
        log.day(day, 800, skill=0.2)
    (alert,) = (a for a in measure(local_workspace, log, monitor).opened if a.measure == "quality")
    assert (alert.subject, alert.severity) == ("auc", "critical")
    assert alert.value < alert.threshold == pytest.approx(0.81)


def test_small_windows_are_counted_and_not_judged(local_workspace: Workspace, log, watch) -> None:
    monitor = watch(local_workspace)
    log.day(0, 50, change={"wind": lambda rng, n: rng.normal(100, 1, n)})
    measure(local_workspace, log, monitor)
    assert {p.measure for p in points(local_workspace)} == {"traffic", "coverage"}


def test_the_canary_is_left_to_its_rollout(local_workspace: Workspace, log, watch) -> None:
    monitor = watch(local_workspace)
    log.day(0)
    log.day(0, arm="canary", change={"wind": lambda rng, n: rng.normal(100, 1, n)})
    measure(local_workspace, log, monitor)
    (traffic,) = points(local_workspace, "traffic")
    assert traffic.value == 400
    assert not any(p.breach for p in points(local_workspace, "drift"))


def test_drift_is_the_naive_computation(local_workspace: Workspace, log, watch) -> None:
    monitor = watch(local_workspace)
    log.day(0, 1000)
    measure(local_workspace, log, monitor)
    profile = monitoring.decode_profile(local_workspace.store.get(monitor["reference"]["profile"]))
    column = next(c for c in profile.columns if c.name == "origin")
    sent = [json.loads(text)["origin"] for text in log.predictions[0].column("features").to_pylist()]
    counts = [sent.count(category) for category in column.categories]
    (point,) = [p for p in points(local_workspace, "drift") if p.subject == "origin"]
    distance = jensenshannon(counts, column.counts[:3], base=2)
    assert point.detail["distance"] == pytest.approx(distance)
    null = 2 * (1 / 1000 + 1 / 20_000) / (8 * np.log(2))
    assert point.detail["null_level"] == pytest.approx(null)
    assert point.value == pytest.approx(np.sqrt(max(0, distance**2 - null)))


def log_nothing(log) -> duckdb.DuckDBPyConnection:
    """The relations, without a row."""
    log.day(0)
    made = log.connection()
    for name in ("predictions", "ground_truth"):
        made.execute(f"create table none_{name} as select * from {name} limit 0")
        made.unregister(name)
        made.execute(f"create view {name} as select * from none_{name}")
    log.predictions.clear()
    log.truth.clear()
    return made


def weekday(day: int) -> dict:
    """What `wind` is like on a day of the week: half of its variance is between days."""
    return {"change": {"wind": lambda rng, n: rng.normal(10 + 3 * (day % 7 - 3) / 2, 2, n)}}


@pytest.mark.slow
def test_the_rhythm_of_the_week_is_no_drift(local_workspace: Workspace, log_of, watch) -> None:
    week = {"wind": lambda rng, n: rng.normal(10 + 3 * (rng.integers(0, 7, n) - 3) / 2, 2, n)}
    daily = watch(local_workspace, week)
    weekly = watch(local_workspace, week, drift={"over": 7}) | {"name": "weekly"}
    log = log_of(week)
    for day in range(21):
        log.day(day, **weekday(day))
    assert [alert.subject for alert in measure(local_workspace, log, daily).opened] == ["wind"]
    found = measure(local_workspace, log, weekly)
    assert not [p for p in found.points if p.measure == "drift" and p.breach and p.start >= START + 6 * DAY]


def test_windows_are_counted_together_while_one_version_serves(local_workspace: Workspace, log, watch) -> None:
    monitor = watch(local_workspace, drift={"over": 3})
    for day, version in enumerate((1, 1, 1, 2, 2)):
        log.day(day, 100 + day, version=version)
    measure(local_workspace, log, monitor)
    rows = {p.start: p.rows for p in points(local_workspace, "drift") if p.subject == "wind"}
    # Fewer than three windows of one version are not judged.
    assert rows == {START + 2 * DAY: 303}


@pytest.mark.slow
def test_drift_is_not_judged_before_its_windows_have_come(local_workspace: Workspace, log, watch) -> None:
    monitor = watch(local_workspace, drift={"over": 3, "persistence": [1, 1]})
    worn = {"change": {"wind": lambda rng, n: rng.normal(30, 3, n)}}
    assert monitoring.measure(local_workspace, log_nothing(log), "main", monitor).waits == 3
    said = []
    for day in range(6):
        log.day(day, version=1 if day < 4 else 2, **worn)
        found = measure(local_workspace, log, monitor)
        said.append((found.waits, len(found.opened), measure(local_workspace, log, monitor).waits))
    assert said == [(2, 0, 2), (1, 0, 1), (0, 1, 0), (0, 0, 0), (2, 0, 2), (1, 0, 1)]
    shares = points(local_workspace, "drift_share")
    assert [p.detail.get("waits") for p in shares] == [2, 1, None, None, 2, 1]
    assert [p.value is None for p in shares] == [True, True, False, False, True, True]
    # That a new version is not judged yet is no end of what the one before had.
    assert [alert.status for alert in alerts(local_workspace)] == ["firing"]


@pytest.mark.slow
def test_a_trigger_waits_as_drift_does(local_workspace: Workspace, log, watch) -> None:
    watch(local_workspace, drift={"over": 3})
    monitor = local_workspace.history.get("main", "monitors/delays")
    rule = monitoring.TriggerRule(when="drift.share > 0.1 for 1 of 1 days")
    trigger = monitoring.Trigger("retrain", "delays", rule).as_object()
    jobs = []
    for day in range(3):
        log.day(day, change={"wind": lambda rng, n: rng.normal(30, 3, n)})
        measure(local_workspace, log, monitor)
        jobs.append(monitoring.evaluate_trigger(local_workspace, "main", trigger) is not None)
    assert jobs == [False, False, True]


@pytest.mark.slow
def test_a_quiet_year_on_100_features_gives_at_most_one_page(local_workspace: Workspace, log_of, watch) -> None:
    columns = {f"x{i}": lambda rng, n: rng.normal(size=n) for i in range(60)}
    columns |= {f"c{i}": lambda rng, n: rng.choice(list("abcdefgh"), n) for i in range(30)}
    columns |= {f"h{i}": lambda rng, n: np.where(rng.random(n) < 0.01, np.nan, rng.pareto(2, n)) for i in range(10)}
    monitor = watch(local_workspace, columns)
    log = log_of(columns, seed=4)
    log.day(0, 365 * 280, days=365)
    found = measure(local_workspace, log, monitor)
    assert found.windows == 365
    assert len([p for p in found.points if p.measure == "drift"]) == 36_500
    assert len(found.opened) <= 1
