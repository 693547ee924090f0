"""One span, and what can be said of a trace by looking at its spans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

PREFIX = "tr-"
TYPE, INPUTS, OUTPUTS = "mlflow.spanType", "mlflow.spanInputs", "mlflow.spanOutputs"
USAGE, TRACE_USAGE = "mlflow.chat.tokenUsage", "mlflow.trace.tokenUsage"
COST, TRACE_COST = "mlflow.llm.cost", "mlflow.trace.cost"
SESSIONS, TRACE_SESSION = ("session.id", "gen_ai.conversation.id"), "mlflow.trace.session"
USER, TRACE_USER = "user.id", "mlflow.trace.user"
TAGGED = "mlflow.traceTag."
NAME_TAG, PLACE_TAG, PLACE = "mlflow.traceName", "mlflow.trace.spansLocation", "TRACKING_STORE"
MOST_PREVIEW = 1_000
UNKNOWN = "UNKNOWN"


@dataclass(frozen=True)
class Span:
    """One step of a trace.

    Attributes:
        trace: the trace's id as OpenTelemetry has it: 32 hexadecimal digits.
        id: 16 hexadecimal digits.
        parent: the id of the span that it is part of; empty for the root.
        started_ns: nanoseconds since 1970 UTC.
        ended_ns: None while it goes on.
        status: OK, ERROR or UNSET.
        attributes: plain values: texts, numbers, truths, lists and mappings.
        events: each with `name`, `time_ns` and `attributes`.
        links: each with `trace`, `span` and `attributes`.
    """

    trace: str
    id: str
    name: str
    started_ns: int
    ended_ns: int | None = None
    parent: str = ""
    status: str = "UNSET"
    message: str = ""
    kind: int = 0
    state: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[Mapping[str, Any], ...] = ()
    links: tuple[Mapping[str, Any], ...] = ()

    @property
    def trace_id(self) -> str:
        """The id of the trace that it belongs to, as MLflow calls it."""
        return PREFIX + self.trace

    @property
    def type(self) -> str:
        """Its kind of work, such as `LLM` or `TOOL`."""
        found = self.attributes.get(TYPE)
        return plain(found)[:250] if isinstance(found, str) and found else UNKNOWN


def plain(text: str) -> str:
    """Return a text that every database keeps: NUL and halves of signs become the sign for what is not known."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def preview(value: Any) -> str | None:
    """Return the beginning of a value as JSON text, or None when there is none."""
    if value is None:
        return None
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return plain(text if len(text) <= MOST_PREVIEW else text[: MOST_PREVIEW - 3] + "...")


def totals(spans: Iterable[Span], key: str) -> dict[str, float]:
    """Return the sum of what spans used.

    A span that tells counts for all that are below it: libraries write the sum of a chain into the span above it.
    """
    by_id = {span.id: span for span in spans}
    found: dict[str, float] = {}
    for span in by_id.values():
        told = span.attributes.get(key)
        if not isinstance(told, Mapping) or _told_above(span, by_id, key):
            continue
        for name, value in told.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                found[name] = found.get(name, 0) + value
    return found


def _told_above(span: Span, by_id: Mapping[str, Span], key: str) -> bool:
    seen: set[str] = set()
    parent = by_id.get(span.parent)
    while parent is not None and parent.id not in seen:
        if isinstance(parent.attributes.get(key), Mapping):
            return True
        seen.add(parent.id)
        parent = by_id.get(parent.parent)
    return False
