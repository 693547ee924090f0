"""When rows happened: from when to when, how many in each period, and the periods without any."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import duckdb

from bascule.profiles.results import Gap, Times

MOST_PERIODS = 400
MOST_GAPS = 8
DAY = 86_400.0
# Seconds of a period at its shortest, the finest first.
UNITS = (
    *(("minute", 60.0), ("hour", 3600.0), ("day", DAY), ("week", 7 * DAY), ("month", 28 * DAY)),
    *(("quarter", 89 * DAY), ("year", 365 * DAY), ("decade", 3652 * DAY), ("century", 36_524 * DAY)),
)


def coverage(
    connection: duckdb.DuckDBPyConnection, relation: str, moment: str, now: datetime, *, read_as: str | None = None
) -> Times | None:
    """Measure a column of moments in two narrow scans; None when no row has one.

    Args:
        moment: SQL that gives a TIMESTAMPTZ.
        read_as: what is told of how a text or a number is read as one.
    """
    known = f"{moment} IS NOT NULL AND isfinite({moment})"
    low, high, future, midnight, rows = connection.execute(
        f"SELECT epoch_us(min({moment})), epoch_us(max({moment})), count_if(epoch_us({moment}) > ?), "
        f"count_if(epoch_us({moment}) % 86400000000 = 0), count(*) FROM {relation} AS t WHERE {known}",
        [int(now.timestamp() * 1e6)],
    ).fetchall()[0]
    if low is None:
        return None
    span = (high - low) / 1e6
    unit = next((name for name, seconds in UNITS if span / seconds <= MOST_PERIODS), UNITS[-1][0])
    counted = connection.execute(
        f"SELECT epoch_us(date_trunc('{unit}', {moment})) AS begun, count(*) FROM {relation} AS t WHERE {known} "
        "GROUP BY 1 ORDER BY 1"
    ).fetchall()
    starts = [int(at) for at, _ in counted]
    empty, gaps = _gaps(connection, unit, starts)
    return Times(
        minimum=told(low),
        maximum=told(high),
        span_days=span / DAY,
        unit=unit,
        counts=tuple((told(at), int(count)) for at, count in counted),
        periods=len(starts),
        empty_periods=empty,
        gaps=gaps,
        future=int(future),
        midnight=midnight / rows,
        read_as=read_as,
    )


def told(micros: int) -> str:
    """Return microseconds since 1970 as `2026-03-01` or `2026-03-01 12:30:00`, UTC."""
    try:
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    except OverflowError:
        return f"{micros // 1_000_000} s since 1970"
    if not at.hour and not at.minute and not at.second:
        return at.date().isoformat()
    return at.replace(tzinfo=None, microsecond=0).isoformat(sep=" ")


def _gaps(connection: duckdb.DuckDBPyConnection, unit: str, starts: Sequence[int]) -> tuple[int, tuple[Gap, ...]]:
    """Return how many periods between the first and the last have no row, and the longest runs of them."""
    if len(starts) < 2:
        return 0, ()
    step = {"quarter": "3 months"}.get(unit, f"1 {unit}")
    every = connection.execute(
        "SELECT epoch_us(moment) FROM (SELECT unnest(generate_series("
        f"make_timestamp(?::BIGINT), make_timestamp(?::BIGINT), INTERVAL '{step}')) AS moment)",
        [starts[0], starts[-1]],
    ).fetchall()
    there, periods = set(starts), [int(row[0]) for row in every]
    if unit == "day" and len(periods) >= 28:
        days = {at // 86_400_000_000 % 7 for at in starts}  # a business that never opens on Sundays has no gap there
        periods = [at for at in periods if at // 86_400_000_000 % 7 in days]
    runs: list[tuple[int, int, int]] = []
    begun: int | None = None
    length = 0
    for at in periods:
        if at in there:
            if begun is not None:
                runs.append((length, begun, at))
            begun, length = None, 0
        else:
            begun, length = begun if begun is not None else at, length + 1
    longest = sorted(runs, key=lambda run: (-run[0], run[1]))[:MOST_GAPS]
    return sum(run[0] for run in runs), tuple(Gap(told(first), told(end), count) for count, first, end in longest)
