"""Lines that ingestion put aside: those whose raw text holds the subject's values."""

from __future__ import annotations

import re

from bascule.catalog import actor
from bascule.lake import forget_rows, records
from bascule.lake.forgetting import Forgotten, Request
from bascule.lake.iceberg.types import literal
from bascule.project.erasing.values import distinctive

QUARANTINE = "quarantine"
# What stands between values in a line of CSV, JSON or plain text.
_BETWEEN = r"""[\s,;|"':{}\[\]()=<>]"""


def from_quarantine(*requests: Request) -> list[Forgotten]:
    """Remove quarantined lines that hold every value of a subject's key as a value of their own.

    A value that is not distinctive, such as the number 7, means somebody else in lines of other tables: they stay.

    Args:
        requests: the subject by its names in several tables; a line that two of them mean counts once.
    """
    first = requests[0]
    if QUARANTINE not in records.names(first.workspace):
        return []
    told = forget_rows(
        first.workspace,
        QUARANTINE,
        " OR ".join(f"({_means(request)})" for request in requests),
        dry_run=first.dry_run,
        author=actor(),
        despite_hold=first.despite_hold,
    )
    return [Forgotten("quarantine", told.rows)] if told.rows else []


def _means(request: Request) -> str:
    """Return the condition for a line to be about a subject."""
    terms = [f"({_holds(str(value))})" for value in request.key.values()]
    if not any(distinctive(str(value)) for value in request.key.values()):
        terms.append(f'"table" = {literal(request.table)}')
    return " AND ".join(terms)


def _holds(value: str) -> str:
    escaped = re.sub(r"([^\w\s])", r"\\\1", value)
    pattern = literal(f"(^|{_BETWEEN}){escaped}($|{_BETWEEN})")
    return f"regexp_matches(coalesce(raw, ''), {pattern}) OR regexp_matches(coalesce(reason, ''), {pattern})"
