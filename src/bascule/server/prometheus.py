"""Figures in Prometheus' text format: this server's requests, and what the catalog says of the workspace."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from urllib.parse import unquote

from sqlalchemy import func, select

from bascule.catalog import Catalog
from bascule.catalog.schema import alerts, commits, jobs, model_versions, refs, runs

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: The folder of the streams' logs in a workspace: a folder a branch, and one a stream in it.
STREAMS = "streams"
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class RequestMeter:
    """Counts requests and their durations by method, route (so their number is bounded) and status."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str, int], list[int]] = defaultdict(lambda: [0] * (len(BUCKETS) + 1))
        self._seconds: dict[tuple[str, str, int], float] = defaultdict(float)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        key = (method if method in _METHODS else "other", route, status)
        with self._lock:
            self._counts[key][bisect_left(BUCKETS, seconds)] += 1
            self._seconds[key] += seconds

    def lines(self) -> Iterator[str]:
        """The histogram in text format."""
        name = "bascule_http_request_duration_seconds"
        yield f"# HELP {name} Time to answer a request."
        yield f"# TYPE {name} histogram"
        with self._lock:
            counts = {key: list(value) for key, value in sorted(self._counts.items())}
            seconds = dict(self._seconds)
        for (method, route, status), buckets in counts.items():
            said = {"method": method, "route": route, "status": str(status)}
            totals = list(accumulate(buckets))
            for edge, total in zip((*BUCKETS, "+Inf"), totals, strict=True):
                yield sample(f"{name}_bucket", {**said, "le": str(edge)}, total)
            yield sample(f"{name}_sum", said, seconds[method, route, status])
            yield sample(f"{name}_count", said, totals[-1])


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def workspace_lines(catalog: Catalog) -> Iterator[str]:
    """What the catalog counts."""
    with catalog.read() as conn:
        for name, help_text, table, column in (
            ("bascule_refs", "Branches and tags.", refs, refs.c.kind),
            ("bascule_runs", "Runs by status.", runs, runs.c.status),
            ("bascule_jobs", "Jobs by status.", jobs, jobs.c.status),
            ("bascule_alerts", "Alerts by status.", alerts, alerts.c.status),
            ("bascule_model_versions", "Registered model versions.", model_versions, model_versions.c.model),
        ):
            counted = conn.execute(select(column, func.count()).select_from(table).group_by(column)).all()
            yield from gauge(name, help_text, [({column.name: str(value)}, total) for value, total in counted])
        total = conn.execute(select(func.count()).select_from(commits)).scalar_one()
        yield from gauge("bascule_commits", "Commits in the history.", [({}, total)])


def stream_lines(folder: Path) -> Iterator[str]:
    """What the logs of streams count, and what their consumers said of themselves last."""
    if not folder.is_dir():
        return
    from bascule.features.streams.log import look

    now, found = time.time(), []
    for path in sorted(folder.glob("*/*")):
        if (path / "data.mdb").is_file():
            found.append(({"stream": unquote(path.name), "branch": unquote(path.parent.name)}, *look(path)))
    for name, help_text, figure in (
        ("bascule_stream_events", "Events that were taken over.", lambda state, told: state.events),
        ("bascule_stream_waiting_events", "Events that the lake does not have yet.", lambda s, told: s.waiting_rows),
        ("bascule_stream_waiting_bytes", "Bytes that the lake does not have yet.", lambda s, told: s.waiting_bytes),
        ("bascule_stream_lag", "Messages or bytes at the source that were not read.", lambda s, told: told.get("lag")),
        (
            "bascule_stream_age_seconds",
            "How old the newest event is.",
            lambda s, told: None if s.watermark is None else round(now - s.watermark / 1e6, 3),
        ),
        ("bascule_stream_problems", "Parts that wait for something.", lambda s, told: len(told.get("problems", ()))),
    ):
        told = ((said, figure(state, told)) for said, state, told in found)
        yield from gauge(name, help_text, [(said, value) for said, value in told if value is not None])
    aside = [({**said, "why": why}, count) for said, state, _ in found for why, count in state.aside.items()]
    yield from gauge("bascule_stream_set_aside", "Events that were set aside.", aside)


def gauge(name: str, help_text: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> Iterator[str]:
    """One gauge with its samples."""
    yield f"# HELP {name} {help_text}"
    yield f"# TYPE {name} gauge"
    for said, value in samples:
        yield sample(name, said, value)


def sample(name: str, said: Mapping[str, str], value: float) -> str:
    """One line, with label values escaped as the format asks."""
    if not said:
        return f"{name} {value}"
    inside = ",".join(f'{key}="{_escape(text)}"' for key, text in said.items())
    return f"{name}{{{inside}}} {value}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
