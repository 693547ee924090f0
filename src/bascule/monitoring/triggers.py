"""Triggers: when a rule has held for long enough, or the calendar says so, a job is put down, once.

A rule over windows starts one job in a *breach episode*: the run of windows in which "k of n" holds without a break,
for the version that serves. Another one starts only in another episode, after the cooldown, and not while a job of
the trigger waits or runs. The calendar is kept by `cronsim` (cron expressions, UTC).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from cronsim import CronSim, CronSimError
from sqlalchemy import Connection, delete, insert, select

from bascule.catalog import audit, new_id
from bascule.catalog import now as clock
from bascule.catalog.schema import jobs, settings
from bascule.durations import parse_duration
from bascule.errors import InputError, suggestion
from bascule.history import Workspace
from bascule.monitoring.measurement import release_metrics
from bascule.monitoring.monitors import read_monitor
from bascule.monitoring.points import Point, read_points, take_turns
from bascule.monitoring.reference import decode_profile
from bascule.monitoring.rules import Rule, read_rule
from bascule.store import digest_of

ACTOR = "trigger"
MICROSECONDS = 1_000_000
LONGEST_PREFIX = 150


class TriggerRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """When a trigger fires: `when` (see `rules`), `schedule` (a cron expression, UTC), or either of both.

    Attributes:
        cooldown: the least time between two jobs of `when`, by the windows that started them, such as `7d`.
    """

    when: str | None = None
    schedule: str | None = None
    cooldown: str = "7d"


class Trigger(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What starts a job: the object `triggers/NAME`."""

    name: str
    monitor: str
    rule: TriggerRule
    action: str = "retrain"

    def as_object(self) -> dict[str, Any]:
        """The trigger as the history holds it."""
        return {"kind": "trigger", **msgspec.to_builtins(self)}


@dataclass(frozen=True, slots=True)
class Job:
    """A job that was put down.

    Attributes:
        reason: why, as a sentence.
        spec: what the job is to know, JSON-able.
    """

    id: str
    kind: str
    branch: str
    reason: str
    dedupe_key: str
    spec: Mapping[str, Any]


def read_trigger(source: Mapping[str, Any], columns: Sequence[str] | None = None) -> Trigger:
    """Read a trigger from its object or from plain settings.

    Args:
        columns: the features that its monitor watches, to check names in the rule; None checks no columns.

    Raises:
        InputError: an unknown key, a rule or a cron expression that cannot be read: where, and the nearest right name.
    """
    plain = {key: value for key, value in source.items() if key != "kind"}
    try:
        found = msgspec.convert(plain, Trigger)
    except msgspec.ValidationError as error:
        unknown = re.search(r"unknown field `(\w+)`", str(error))
        kind = TriggerRule if "$.rule" in str(error) else Trigger
        hint = suggestion(unknown[1], kind.__struct_fields__, "key") if unknown else ""
        raise InputError(f"This trigger cannot be used: {error}", hint=hint) from error
    if found.rule.when is None and found.rule.schedule is None:
        raise InputError(f"Trigger {found.name!r} has neither `when` nor `schedule`.", hint="Say when it fires.")
    if found.rule.when is not None:
        read_rule(found.rule.when, columns)
    if found.rule.schedule is not None:
        _previous_due(found.rule.schedule, 0)
    parse_duration(found.rule.cooldown, key="cooldown")
    return found


def evaluate_trigger(
    ws: Workspace, branch: str, trigger: Trigger | Mapping[str, Any], now: int | None = None
) -> Job | None:
    """Put a job down when the trigger fires. Asking again gives no second job for the same cause.

    Args:
        now: microseconds since the epoch, for the calendar; None takes the clock. What was due before a trigger is
            evaluated for the first time is not made up for; what was missed later is made up for once.

    Returns:
        The job, or None.

    Raises:
        InputError: the trigger cannot be used.
        NotFound: its monitor is not on the branch.
    """
    found = trigger if isinstance(trigger, Trigger) else read_trigger(trigger)
    if found.rule.when is not None and (job := _by_rule(ws, branch, found)) is not None:
        return job
    if found.rule.schedule is not None:
        return _by_calendar(ws, branch, found, clock() if now is None else now)
    return None


def _by_rule(ws: Workspace, branch: str, trigger: Trigger) -> Job | None:
    monitor = read_monitor(ws.history.get(branch, f"monitors/{trigger.monitor}"))
    columns = None
    if monitor.reference.profile:
        columns = [c.name for c in decode_profile(ws.store.get(monitor.reference.profile)).columns]
    rule = read_rule(str(trigger.rule.when), columns)
    if rule.unit and rule.unit != monitor.by:
        raise InputError(
            f"Trigger {trigger.name!r} counts {rule.unit}s, but monitor {monitor.name!r} measures by {monitor.by}.",
            hint=f"Write {monitor.by}s, or set `by` of the monitor to {rule.unit}.",
        )
    with ws.catalog.read() as conn:
        points = read_points(conn, branch, monitor.name)
    version = max(points, key=lambda p: p.start).version if points else 0
    windows = _values(points, version)
    release = {f"training.{k}": v for k, v in release_metrics(ws, branch, monitor.deployment, version).items()}
    flags = [(window, rule.condition((release | values).get)) for window, values in sorted(windows.items())]
    judged = [(window, flag) for window, flag in flags if flag is not None]
    episode = _episode([flag for _, flag in judged], *rule.persistence)
    if episode is None:
        return None
    (first, _), ((_, last), _) = judged[episode][0], judged[-1]
    spec = {
        "trigger": trigger.name,
        "monitor": monitor.name,
        "deployment": monitor.deployment,
        "version": version,
        "rule": rule.text,
        "window_start": first,
        "window_end": last,
        "values": {name: (release | windows[judged[-1][0]]).get(name) for name in rule.names},
    }
    key = f"{_prefix(branch, trigger)}v{version}:{_moment(first)}"
    reason = _reason(rule, spec, judged)
    with ws.catalog.write() as conn:
        return _put(conn, branch, trigger, key, reason, spec, last)


def _by_calendar(ws: Workspace, branch: str, trigger: Trigger, now: int) -> Job | None:
    """Put a job down for the last time that was due since this trigger was looked at before."""
    key = f"trigger:{digest_of(f'{_prefix(branch, trigger)}{trigger.rule.schedule}'.encode())}"
    due = _previous_due(str(trigger.rule.schedule), now)
    with ws.catalog.write() as conn:
        take_turns(conn)
        seen = conn.execute(select(settings.c.value).where(settings.c.key == key)).scalar()
        conn.execute(delete(settings).where(settings.c.key == key))
        conn.execute(insert(settings).values(key=key, value=str(max(now, int(seen or now)))))
        if seen is None or due <= int(seen):
            return None
        spec = {"trigger": trigger.name, "monitor": trigger.monitor, "schedule": trigger.rule.schedule, "due": due}
        reason = f"The schedule {trigger.rule.schedule!r} was due at {_moment(due)}Z."
        cause = f"{_prefix(branch, trigger)}schedule:{_moment(due)}"
        return _put(conn, branch, trigger, cause, reason, spec, None)


def _put(
    conn: Connection,
    branch: str,
    trigger: Trigger,
    key: str,
    reason: str,
    spec: Mapping[str, Any],
    last_window: int | None,
) -> Job | None:
    """Put a job down unless there is one for this cause, one is under way, or (for windows) it is too soon."""
    job = Job(new_id("job"), trigger.action, branch, reason, key, spec)
    take_turns(conn)
    if not _free(conn, _prefix(branch, trigger), key, last_window, parse_duration(trigger.rule.cooldown)):
        return None
    conn.execute(
        insert(jobs).values(
            id=job.id,
            kind=job.kind,
            branch=branch,
            spec_json=msgspec.json.encode(spec).decode(),
            reason=reason,
            dedupe_key=key,
            status="waiting",
            created_at=clock(),
        )
    )
    detail = {"job": job.id, "kind": job.kind, "branch": branch, "reason": reason}
    audit.append(conn, actor=ACTOR, action="trigger", subject=f"triggers/{trigger.name}", detail=detail)
    return job


def _free(conn: Connection, prefix: str, key: str, last_window: int | None, cooldown: int) -> bool:
    query = select(jobs.c.dedupe_key, jobs.c.status, jobs.c.spec_json)
    for row in conn.execute(query.where(jobs.c.dedupe_key.startswith(prefix, autoescape=True))):
        if row.dedupe_key == key or row.status in ("waiting", "running"):
            return False
        started_by = msgspec.json.decode(row.spec_json).get("window_end")
        if last_window is not None and started_by is not None and last_window < started_by + cooldown:
            return False
    return True


def _values(points: Sequence[Point], version: int) -> dict[tuple[int, int], dict[str, float]]:
    """The values by window, under the names that rules use, of the windows that a version served."""
    names = {"traffic": "traffic.rows", "coverage": "quality.coverage", "drift_share": "drift.share"}
    found: dict[tuple[int, int], dict[str, float]] = {}
    for point in points:
        if point.version == version and point.value is not None:
            name = names.get(point.measure, f"{point.measure}.{point.subject}")
            found.setdefault((point.start, point.end), {})[name] = point.value
    return found


def _episode(flags: Sequence[bool], k: int, n: int) -> int | None:
    """Where the run of windows with k of n begins that lasts, without a break, up to the last one; None for no run."""
    start = None
    for at in range(len(flags) - 1, -1, -1):
        if sum(flags[max(0, at - n + 1) : at + 1]) < k:
            break
        start = at
    return start


def _reason(rule: Rule, spec: Mapping[str, Any], judged: Sequence[tuple[tuple[int, int], bool]]) -> str:
    n = rule.persistence[1]
    held = sum(flag for _, flag in judged[-n:])
    shown = ", ".join(f"{name} = {value:.4g}" for name, value in spec["values"].items() if value is not None)
    return f"{rule.text}: held in {held} of the last {n} windows to {_moment(spec['window_end'])}Z (last: {shown})."


def _prefix(branch: str, trigger: Trigger) -> str:
    """What the keys of a trigger's jobs begin with. Long names are cut to fit, and told apart by a digest."""
    whole = f"{trigger.action}:{branch}:{trigger.name}:"
    return whole if len(whole) <= LONGEST_PREFIX else f"{whole[:100]}~{digest_of(whole.encode())[:32]}:"


def _previous_due(schedule: str, now: int) -> int:
    """The last time at or before `now` that a cron expression names, microseconds since the epoch.

    Raises:
        InputError: when it is not a cron expression.
    """
    after = datetime.fromtimestamp(now // MICROSECONDS + 1, UTC)
    try:
        return int(next(CronSim(schedule, after, reverse=True)).timestamp()) * MICROSECONDS
    except (CronSimError, StopIteration) as error:
        raise InputError(
            f"{schedule!r} is not a cron expression: {str(error) or 'it never comes'}.",
            hint="Write five fields: minute hour day month weekday. Every Monday at three: 0 3 * * 1",
        ) from error


def _moment(at: int) -> str:
    return datetime.fromtimestamp(at / MICROSECONDS, UTC).strftime("%Y-%m-%dT%H:%M")
