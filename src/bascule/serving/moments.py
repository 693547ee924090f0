"""Times as requests bring them: texts, or whole microseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

EPOCH = datetime(1970, 1, 1)
MICROSECOND = timedelta(microseconds=1)
WANTED = "a time such as 2026-03-01T12:00:00Z, or microseconds since 1970"


def moment_of(value: Any) -> datetime:
    """Return a time as DuckDB's TIMESTAMP has it: UTC, without a zone.

    Args:
        value: an ISO 8601 text, or a whole number of microseconds since the epoch.

    Raises:
        ValueError, OverflowError: it is neither.
    """
    if type(value) is int:
        return EPOCH + timedelta(microseconds=value)
    if type(value) is not str:
        raise ValueError
    found = datetime.fromisoformat(value.strip())
    return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found
