"""Traces of a database or a folder of MLflow's, told as its servers tell them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bascule.errors import InputError
from bascule.protocols.mlflow.importing.records import Unreachable

Object = dict[str, Any]
# Of the file that a client wrote its spans to.
SPANS, LARGEST = "traces.json", 64 << 20
PLACE = "mlflow.artifactLocation"
# What servers before version 3 said of how a trace ended.
STATES = {"OK": "OK", "ERROR": "ERROR", "IN_PROGRESS": "IN_PROGRESS"}


def info_of(
    told: Mapping[str, Any], tags: Mapping[str, str], metadata: Mapping[str, str], assessments: Iterable[Object]
) -> Object:
    """Return what is said of a whole trace, from a row of `trace_info` or a `trace_info.yaml`, of versions 2 and 3."""
    at, took = told.get("timestamp_ms"), told.get("execution_time_ms", told.get("execution_duration_ms"))
    state = str(told.get("state") or told.get("status") or "")
    found = {
        "trace_id": str(told.get("trace_id") or told.get("request_id") or ""),
        "client_request_id": told.get("client_request_id"),
        "request_time": told.get("request_time") or (None if at is None else _moment(at)),
        "execution_duration": told.get("execution_duration")
        or (None if took is None else f"{_whole(took) / 1000:.3f}s"),
        "state": STATES.get(state, "STATE_UNSPECIFIED"),
        "request_preview": told.get("request_preview"),
        "response_preview": told.get("response_preview"),
    }
    kept = {key: str(value) for key, value in found.items() if value is not None}
    held = [{key: value for key, value in one.items() if value is not None} for one in assessments]
    return {**kept, "tags": dict(tags), "trace_metadata": dict(metadata), "assessments": held}


def assessment_of(row: Mapping[str, Any]) -> Object:
    """Return an assessment as servers tell it, from a row of `assessments`."""
    value = _json(row.get("value"))
    kind = str(row.get("assessment_type"))
    held: Object = {"value": value}
    if kind == "feedback" and row.get("error"):
        held["error"] = _json(row["error"])
    return {
        "assessment_id": row.get("assessment_id"),
        "assessment_name": row.get("name"),
        "trace_id": row.get("trace_id"),
        "span_id": row.get("span_id"),
        "source": {"source_type": row.get("source_type"), "source_id": row.get("source_id")},
        "create_time": _moment(row.get("created_timestamp")),
        "last_update_time": _moment(row.get("last_updated_timestamp")),
        kind: held,
        "rationale": row.get("rationale"),
        "overrides": row.get("overrides"),
        "valid": None if row.get("valid") is None else bool(row["valid"]),
        "metadata": _json(row.get("assessment_metadata")) or None,
    }


def spans_of(text: str | bytes, where: str) -> list[Object]:
    """Return the spans in the file that a client wrote, or in a row.

    Raises:
        InputError: it is none.
    """
    try:
        found = json.loads(text)
        spans = found.get("spans", [found]) if isinstance(found, dict) else found
        if not isinstance(spans, list) or not all(isinstance(one, dict) for one in spans):
            raise ValueError("spans are objects")
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"The spans in {where} cannot be read: {error}.", hint="They are left where they are."
        ) from None
    return spans


def spans_at(where: Callable[[], Path]) -> list[Object]:
    """Return the spans that lie in a trace's folder of artifacts; none when there is no file of them.

    Args:
        where: returns the folder.

    Raises:
        InputError: the file is none, too large, or cannot be reached from here.
    """
    try:
        path = where() / SPANS
    except FileNotFoundError:
        return []
    except Unreachable as error:
        raise InputError(f"The spans are among {error.message}", hint=error.hint) from None
    if path.is_symlink() or not path.is_file():
        return []
    if path.stat().st_size > LARGEST:
        raise InputError(f"{str(path)!r} is larger than {LARGEST >> 20} MiB.", hint="It is left where it is.")
    return spans_of(path.read_bytes(), str(path))


def _json(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return text


def _moment(milliseconds: Any) -> str | None:
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=_whole(milliseconds))
    except OverflowError:
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _whole(held: Any) -> int:
    try:
        return max(0, int(held or 0))
    except (TypeError, ValueError):
        return 0
