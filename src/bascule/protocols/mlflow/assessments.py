"""Endpoints of assessments: what people and judges say of a trace."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import msgspec

from bascule.catalog import now
from bascule.errors import InputError
from bascule.protocols.mlflow.messages import Answer, Ask, Fields
from bascule.protocols.mlflow.traces import moment_of, moment_text
from bascule.tracking.traces.keeping import drop_assessment, put_assessment
from bascule.tracking.traces.reading import read_assessment

MOST_BODY = 256 << 10
MOST_NAME = 250
SOURCES = ("SOURCE_TYPE_UNSPECIFIED", "HUMAN", "LLM_JUDGE", "CODE")
KINDS = ("feedback", "expectation", "issue")
CHANGEABLE = ("assessment_name", "expectation", "feedback", "rationale", "metadata", "valid")


def create(ask: Ask) -> Answer:
    """Keep an assessment of a trace."""
    told = _given(ask)
    at = moment_text(now())
    body = {"create_time": at, "last_update_time": at, **told}
    body |= {"assessment_id": f"a-{uuid4().hex}", "trace_id": ask.path["trace_id"]}
    body.setdefault("valid", True)
    put_assessment(ask.tracker, assessment_row(body))
    return Answer({"assessment": body})


def get(ask: Ask) -> Answer:
    """Return an assessment."""
    return Answer({"assessment": read_assessment(ask.tracker, ask.path["trace_id"], ask.path["assessment_id"])})


def update(ask: Ask) -> Answer:
    """Change those parts of an assessment that the mask names."""
    told, mask = _given(ask), _mask(ask.told)
    body = read_assessment(ask.tracker, ask.path["trace_id"], ask.path["assessment_id"])
    for name in mask:
        if name in ("expectation", "feedback"):
            body = {key: value for key, value in body.items() if key not in ("expectation", "feedback")}
        if name in told:
            body[name] = told[name]
        else:
            body.pop(name, None)
    body["last_update_time"] = moment_text(now())
    put_assessment(ask.tracker, assessment_row(body), replace=True)
    return Answer({"assessment": body})


def delete(ask: Ask) -> Answer:
    """Delete an assessment."""
    drop_assessment(ask.tracker, ask.path["trace_id"], ask.path["assessment_id"])
    return Answer()


def _given(ask: Ask) -> dict[str, Any]:
    """Return the assessment that a request brings, its fields as the tables have them."""
    held = ask.told.get("assessment")
    if not isinstance(held, dict):
        raise InputError("Missing value for required parameter 'assessment'.", hint="Send an assessment.")
    if len(msgspec.json.encode(held)) > MOST_BODY:
        raise InputError(f"An assessment has at most {MOST_BODY:,} bytes.", hint="Shorten it.")
    fields = Fields(held, "assessment")
    _demand_readable(fields)
    found: dict[str, Any] = {}
    for name in ("assessment_name", "span_id", "rationale", "create_time", "last_update_time", "overrides"):
        if text := fields.given(name):
            found[name] = text
    for name in ("source", "feedback", "expectation", "issue", "metadata", "error"):
        value = fields.get(name)
        if value is not None and not isinstance(value, dict):
            raise InputError(f"'assessment.{name}' is no object.", hint="See the API docs.")
        if value is not None:
            found[name] = value
    if fields.get("valid") is not None:
        found["valid"] = fields.flag("valid")
    return found


def _demand_readable(fields: Fields) -> None:
    """Refuse what clients could not read back: they would find no trace beside it either."""
    for name in ("create_time", "last_update_time"):
        moment_of(fields, name)
    source, error = fields.object("source"), fields.object("feedback").object("error")
    source.choice("source_type", SOURCES, dict(enumerate(SOURCES)))
    source.given("source_id")
    for name in ("error_code", "error_message", "stack_trace"):
        error.given(name)
    metadata = fields.get("metadata")
    if isinstance(metadata, dict) and not all(isinstance(one, str) for one in metadata.values()):
        raise InputError("'assessment.metadata' holds texts.", hint="Send each value as a text.")


def _mask(told: Fields) -> list[str]:
    held = told.get("update_mask")
    names = (
        held.split(",") if isinstance(held, str) else (held or {}).get("paths", ()) if isinstance(held, dict) else ()
    )
    mask = [re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", str(name)) for name in names if name]
    if not mask or not set(mask) <= set(CHANGEABLE):
        raise InputError(
            f"'update_mask' is {str(held)[:80]!r}.", hint=f"Name what is to change: {', '.join(CHANGEABLE)}."
        )
    return mask


def assessment_row(body: dict[str, Any]) -> dict[str, Any]:
    """Return an assessment as the table has it.

    Raises:
        InputError: it has no name, or is none of the kinds.
    """
    name = str(body.get("assessment_name", ""))
    if not name.strip() or len(name) > MOST_NAME or not name.isprintable():
        raise InputError(
            f"Invalid assessment name {name[:80]!r}.", hint=f"It has 1 to {MOST_NAME} characters that can be printed."
        )
    kind = next((kind for kind in KINDS if kind in body), None)
    if kind is None:
        raise InputError("An assessment is feedback, an expectation or an issue.", hint=f"Send {', '.join(KINDS)}.")
    value = body[kind].get("value")
    serialized = body[kind].get("serialized_value")
    if value is None and isinstance(serialized, dict):
        value = serialized.get("value")
    return {
        "id": body["assessment_id"],
        "trace_id": body["trace_id"],
        "kind": kind,
        "name": name,
        "value_json": msgspec.json.encode(value).decode(),
        "body_json": msgspec.json.encode(body).decode(),
    }
