"""Traces on each database: what spans imply in whatever order they come, and conditions that databases differ in."""

from __future__ import annotations

import random

from bascule.history import Workspace
from bascule.tracking import traces as kept
from bascule.tracking.traces.keeping import put_assessment
from bascule.tracking.tracker import Tracker

DEFAULT = 0
MS = 1_000_000


def span(place: int, parent: int = 0, trace: int = 1, **changes: object) -> kept.Span:
    told = {
        "trace": f"{trace:032x}",
        "id": f"{place:016x}",
        "parent": f"{parent:016x}" if parent else "",
        "name": f"n{place}",
        "started_ns": 1_000_000 * MS + place * MS,
        "ended_ns": 1_000_000 * MS + 100 * MS - place * MS,
        **changes,
    }
    return kept.Span(**told)  # type: ignore[arg-type]


def test_a_trace_is_the_same_whatever_the_order_of_its_spans(workspace: Workspace) -> None:
    tracker = Tracker(workspace)
    used = {"mlflow.chat.tokenUsage": {"input_tokens": 2, "total_tokens": 2}}
    spans = [
        span(1, status="ERROR", attributes={"mlflow.spanInputs": {"a": 1}, "mlflow.traceTag.team": "ops"}),
        span(2, 1, attributes=used),
        span(3, 2, attributes=used),  # counted in the one above it
        span(4, 1, attributes=used | {"session.id": "s"}),
        span(5, 4),
    ]
    found = []
    for trace in range(1, 5):
        order = [span_of(one, trace) for one in spans]
        random.Random(trace).shuffle(order)
        for one in order:
            kept.keep_spans(tracker, DEFAULT, [one])
        (told,) = kept.read_traces(tracker, [order[0].trace_id])
        found.append(
            (told.state, told.started_at, told.duration_us, told.request_preview, told.metadata, told.tags["team"])
        )
        assert kept.read_spans(tracker, [told.id])[told.id] == [span_of(one, trace) for one in spans]
    metadata = {"mlflow.trace.session": "s", "mlflow.trace.tokenUsage": '{"input_tokens":4,"total_tokens":4}'}
    assert found == [("ERROR", 1_000_001_000, 98_000, '{"a":1}', metadata, "ops")] * 4


def span_of(one: kept.Span, trace: int) -> kept.Span:
    return kept.Span(**{**one.__dict__, "trace": f"{trace:032x}"})


def test_conditions_mean_the_same_on_each_database(workspace: Workspace) -> None:
    tracker = Tracker(workspace)
    for trace, value in ((1, 5), (2, "Five"), (3, [1])):
        kept.keep_spans(tracker, DEFAULT, [span(1, trace=trace, attributes={"v.x": value, "100%": "_"})])
        row = {"id": f"a{trace}", "trace_id": f"tr-{trace:032x}", "kind": "feedback", "name": "f", "body_json": "{}"}
        put_assessment(tracker, {**row, "value_json": ('"no"', "4.5", "true")[trace - 1]})

    def ids(text: str) -> list[int]:
        page = kept.search_traces(tracker, [DEFAULT], filter=text, order_by=["request_id ASC"])
        return [int(one.id.removeprefix("tr-"), 16) for one in page.found]

    for text, expected in (
        ("span.attributes.v.x = '5'", [1]),
        ("span.attributes.`v.x` LIKE 'Fi%'", [2]),
        ("span.attributes.v.x RLIKE '(?i)^f'", [2]),
        ("span.attributes.`100%` = '_'", [1, 2, 3]),
        ("span.name IN ('n1', 'n2') AND span.status = 'UNSET'", [1, 2, 3]),
        ("text LIKE '%Five%'", [2]),
        ("text LIKE '%five%'", []),
        ("feedback.f > 4", [2]),
        ("feedback.f = 'true'", [3]),
        ("feedback.f LIKE 'n%'", [1]),
        ("feedback.f RLIKE 'e$'", [3]),
        ("expectation.f IS NULL", [1, 2, 3]),
        ("tag.none IS NULL AND name = 'n1'", [1, 2, 3]),
        ("run_id = 'x'", []),
        ("end_time_ms > 0 AND timestamp_ms < 9e15", [1, 2, 3]),
    ):
        assert ids(text) == expected, text
