"""What the inference process tells Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bascule.serving.dataplane import DataPlane
from bascule.serving.http import HttpServer
from bascule.serving.log import Journal
from bascule.serving.stats import BUCKETS, VersionStats

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
GOAWAYS = ("rapid_reset", "too_much", "protocol", "internal")
Sample = tuple[str, Mapping[str, str], float | int]


def exposition(plane: DataPlane, server: HttpServer, journals: Iterable[Journal]) -> str:
    """Return all figures in Prometheus' text format."""
    lines: list[str] = []
    stats = [({"branch": b, "deployment": d, "version": str(v)}, s) for (b, d, v), s in sorted(plane.stats.items())]
    _add(
        lines,
        "bascule_requests_total",
        "counter",
        "Requests that were scored.",
        [("", k, s.executions) for k, s in stats],
    )
    _add(lines, "bascule_predictions_total", "counter", "Rows that were scored.", [("", k, s.rows) for k, s in stats])
    _add(lines, "bascule_errors_total", "counter", "Requests that a version could not answer.",
         [("", k, s.failures + s.unkept) for k, s in stats])  # fmt: skip
    _add(lines, "bascule_shadow_errors_total", "counter", "Rollout requests that the unseen arm could not score.",
         [("", k, s.shadow_failures) for k, s in stats])  # fmt: skip
    _add(lines, "bascule_request_seconds", "histogram", "From a request's last byte to its answer.",
         [sample for k, s in stats for sample in _histogram(k, s)])  # fmt: skip
    statuses: list[Sample] = [("", {"code": str(code)}, count) for code, count in sorted(server.statuses.items())]
    _add(lines, "bascule_http_responses_total", "counter", "Answers by code.", statuses)
    ended: list[Sample] = [("", {"reason": why}, server.goaways[why]) for why in GOAWAYS]
    _add(lines, "bascule_http2_goaways_total", "counter", "gRPC connections ended for what the client did.", ended)
    gauges = (
        ("bascule_connections", "Open connections.", len(server.connections)),
        ("bascule_requests_in_flight", "Requests that are being answered in threads.", server.deferred),
        ("bascule_body_bytes", "Bytes of request bodies that are being read.", server.buffered),
        ("bascule_log_failing", "1 while the prediction log cannot be written.", int(any(j.failing for j in journals))),
    )
    for name, text, value in gauges:
        _add(lines, name, "gauge", text, [("", {}, value)])
    _add(lines, "bascule_unlogged_total", "counter", "Answers that left though the log could not be written.",
         [("", {}, sum(j.unlogged for j in journals))])  # fmt: skip
    _add(lines, "bascule_cache_hits_total", "counter", "Requests that were answered before.",
         [("", k, s.hits) for k, s in stats])  # fmt: skip
    _add(lines, "bascule_worker_restarts_total", "counter", "Workers that were lost or replaced.", _lanes(plane))
    _add(lines, "bascule_incidents_total", "counter",
         "What broke: crashed, hung, grew, failed or unloadable versions.", _incidents(plane))  # fmt: skip
    _add(lines, "bascule_reloads_total", "counter", "States of branches that were loaded.", [("", {}, plane.reloads)])
    _add(lines, "bascule_reload_errors_total", "counter", "States of branches that could not be loaded whole.",
         [("", {}, plane.reload_failures)])  # fmt: skip
    return "\n".join(lines) + "\n"


def _lanes(plane: DataPlane) -> list[Sample]:
    state = plane.state()
    found: list[Sample] = []
    for name, deployment in sorted(state.deployments.items()) if state else []:
        for version, model in sorted(deployment.models.items()):
            if model.lane is not None:
                found.append(("", {"deployment": name, "version": str(version)}, model.lane.restarts))
    return found


def _incidents(plane: DataPlane) -> list[Sample]:
    found: list[Sample] = []
    for case in sorted(plane.incidents.cases(), key=lambda case: (case.model, case.version, case.artifact)):
        labels = {"model": case.model, "version": str(case.version), "artifact": case.artifact[:12]}
        found += [("", {**labels, "kind": kind}, one.count) for kind, one in case.happenings().items()]
    return found


def _histogram(labels: Mapping[str, str], stats: VersionStats) -> list[Sample]:
    found: list[Sample] = []
    count = 0
    for place, here in enumerate(stats.histogram):
        count += here
        bound = f"{(1 << place) / 1e6:g}" if place < BUCKETS else "+Inf"
        found.append(("_bucket", {**labels, "le": bound}, count))
    return [*found, ("_sum", labels, stats.succeeded_ns / 1e9), ("_count", labels, count)]


def _add(lines: list[str], name: str, kind: str, text: str, samples: Iterable[Sample]) -> None:
    lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for suffix, labels, value in samples:
        said = ",".join(f'{key}="{_escaped(one)}"' for key, one in labels.items())
        lines.append(f"{name}{suffix}{{{said}}} {value}" if said else f"{name}{suffix} {value}")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
