"""Times of day and week as cron writes them: `0 3 * * 1` is Monday at three, UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bascule.errors import InputError

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_SHORTHANDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 7))
_PART = re.compile(r"(?:(\*)|([a-z]{3}|\d+)(?:-([a-z]{3}|\d+))?)(?:/(\d+))?")
_FARTHEST = timedelta(days=366 * 8 + 1)  # 29 February may be eight years away, around a century


@dataclass(frozen=True)
class Cron:
    """A schedule in UTC. Each field holds the values that fit; Sunday is 0."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    def next_after(self, moment: int) -> int:
        """Return the first moment of the schedule after `moment`; both in microseconds since 1970 UTC."""
        start = datetime.fromtimestamp(moment // 1_000_000, UTC).replace(second=0, microsecond=0)
        at = start + timedelta(minutes=1)
        while not self._day_fits(at):
            at = at.replace(hour=0, minute=0) + timedelta(days=1)
        while at.hour not in self.hours or at.minute not in self.minutes:
            at += timedelta(minutes=1)
            if not self._day_fits(at):
                return self.next_after(int(at.timestamp()) * 1_000_000 - 60_000_000)
        return int(at.timestamp()) * 1_000_000

    def _day_fits(self, at: datetime) -> bool:
        of_month, of_week = at.day in self.days, at.isoweekday() % 7 in self.weekdays
        return at.month in self.months and (of_month or of_week if self.either_day else of_month and of_week)


def parse_cron(text: str) -> Cron:
    """Read five fields (minute, hour, day of month, month, day of week) or a name such as `@daily`.

    Lists, ranges, steps and English three-letter names are understood. As in every cron, when both days are restricted
    either of them is enough.

    Raises:
        InputError: a field cannot be read, is out of its range, or the schedule never comes.
    """
    fields = _SHORTHANDS.get(text.strip().lower(), text).split()
    if len(fields) != 5:
        raise InputError(
            f"{text!r} is not a schedule: it has {len(fields)} fields instead of 5.",
            hint='Write minute, hour, day of month, month and day of week, such as "0 3 * * 1".',
        )
    minutes, hours, days, months, weekdays = (
        _field(field, *limits, schedule=text) for field, limits in zip(fields, _FIELDS, strict=True)
    )
    cron = Cron(
        minutes, hours, days, months, frozenset(day % 7 for day in weekdays), fields[2] != "*" and fields[4] != "*"
    )
    start = datetime(2000, 1, 1)
    if not any(cron._day_fits(start + timedelta(days=n)) for n in range(_FARTHEST.days)):
        raise InputError(f"The schedule {text!r} never comes.", hint="Look at its day of month and its month.")
    return cron


def _field(text: str, name: str, low: int, high: int, *, schedule: str) -> frozenset[int]:
    values: set[int] = set()
    for part in text.lower().split(","):
        match = _PART.fullmatch(part)
        first = low if match and match[1] else _number(match[2], name) if match else None
        if match is None or first is None:
            raise InputError(
                f"{part!r} is not a {name} in the schedule {schedule!r}.",
                hint=f"Allowed: {low} to {high}, *, a-b, */n.",
            )
        last = high if match[1] or (match[4] and not match[3]) else _number(match[3] or match[2], name)
        step = int(match[4] or 1)
        if last is None or not low <= first <= last <= high or step < 1:
            raise InputError(
                f"{part!r} is out of range for the {name} in the schedule {schedule!r}.",
                hint=f"Allowed: {low} to {high}.",
            )
        values.update(range(first, last + 1, step))
    return frozenset(values)


def _number(text: str, name: str) -> int | None:
    if text.isdigit():
        return int(text)
    names = _MONTHS if name == "month" else _DAYS if name == "day of week" else ()
    return names.index(text) + (name == "month") if text in names else None
