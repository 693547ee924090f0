"""Endpoints of traces: of version 3, which tells a trace at its end, and of 2, which begins and ends it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec

from bascule.catalog import now
from bascule.errors import InputError, NotFound
from bascule.protocols.mlflow.experiments import experiment_number, number_of
from bascule.protocols.mlflow.files import SCHEME
from bascule.protocols.mlflow.limits import LATEST_TIME
from bascule.protocols.mlflow.messages import Answer, Ask, Fields, milliseconds, pairs, present
from bascule.protocols.mlflow.otlp import span_json
from bascule.tracking import traces as kept
from bascule.tracking.artifacts import confined
from bascule.tracking.traces.keeping import PLACE_OF_FILES, STATES

MOST = 500
MOST_KEY, MOST_TAG = 250, 8_000
MOST_IDS = 1_000
MOST_FACTS = 1_000
STATE_NUMBERS = dict(enumerate(STATES))
_ID = re.compile(r"[\w\-:.]{1,250}")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")
_SPAN_OF_TIME = re.compile(r"(-?\d{1,12})(?:\.(\d{1,9}))?s")


def info_json(trace: kept.Trace) -> dict[str, Any]:
    """Return what version 3 calls a trace's info."""
    location = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": str(trace.experiment_id)}}
    return present(
        {
            "trace_id": trace.id,
            "client_request_id": trace.client_request_id,
            "trace_location": location,
            "request_preview": trace.request_preview,
            "response_preview": trace.response_preview,
            "request_time": moment_text(trace.started_at),
            "execution_duration": None if trace.duration_us is None else duration_text(trace.duration_us),
            "state": trace.state,
            "trace_metadata": trace.metadata,
            "tags": trace.tags,
            "assessments": trace.assessments,
        }
    )


def info_json_2(trace: kept.Trace) -> dict[str, Any]:
    """Return what version 2 calls a trace's info."""
    status = "TRACE_STATUS_UNSPECIFIED" if trace.state == STATES[0] else trace.state
    return present(
        {
            "request_id": trace.id,
            "experiment_id": str(trace.experiment_id),
            "timestamp_ms": milliseconds(trace.started_at),
            "execution_time_ms": milliseconds(trace.duration_us),
            "status": status,
            "request_metadata": pairs(trace.metadata),
            "tags": pairs(trace.tags),
        }
    )


def start(ask: Ask) -> Answer:
    """Keep what a client says of a whole trace (version 3), or begin one (version 2)."""
    if ask.told.get("trace") is None:
        return _begin(ask)
    told = ask.told.object("trace").object("trace_info")
    started = moment_of(told, "request_time")
    trace = kept.Told(
        id=_id(told.text("trace_id", required=True)),
        experiment=_experiment_of(told.object("trace_location")),
        started_at=now() if started is None else started,
        state=told.choice("state", STATES, STATE_NUMBERS, STATES[0]),
        duration_us=duration_of(told, "execution_duration"),
        request_preview=told.given("request_preview") or told.given("request"),
        response_preview=told.given("response_preview") or told.given("response"),
        client_request_id=told.given("client_request_id"),
        metadata=_mapping(told, "trace_metadata"),
        tags=_mapping(told, "tags"),
    )
    kept.put_trace(ask.tracker, trace, branch=ask.branch)
    return Answer({"trace": {"trace_info": info_json(_one(ask, trace.id))}})


def _begin(ask: Ask) -> Answer:
    told = ask.told
    at = told.integer("timestamp_ms", required=True, least=0, most=LATEST_TIME)
    trace = kept.Told(
        id=f"{kept.PREFIX}{uuid4().hex}",
        experiment=number_of(told),
        started_at=at * 1000,
        state="IN_PROGRESS",
        metadata=_pairs(told, "request_metadata"),
        tags=_pairs(told, "tags"),
    )
    kept.put_trace(ask.tracker, trace, branch=ask.branch, ended=False)
    return Answer({"trace_info": info_json_2(_one(ask, trace.id))})


def end(ask: Ask) -> Answer:
    """Say how a trace ended that version 2 began."""
    told = ask.told
    found = _one(ask, ask.path["trace_id"])
    at = told.integer("timestamp_ms", 0, least=0, most=LATEST_TIME) * 1000
    named = {number: "TRACE_STATUS_UNSPECIFIED" if not number else state for number, state in STATE_NUMBERS.items()}
    status = told.choice("status", tuple(named.values()), named, named[0])
    trace = kept.Told(
        id=found.id,
        experiment=found.experiment_id,
        started_at=found.started_at,
        state=STATES[0] if status == named[0] else status,
        duration_us=max(at - found.started_at, 0) if at else None,
        metadata=_pairs(told, "request_metadata"),
        tags=_pairs(told, "tags"),
    )
    kept.put_trace(ask.tracker, trace, branch=ask.branch)
    return Answer({"trace_info": info_json_2(_one(ask, found.id))})


def info(ask: Ask) -> Answer:
    """Return what is known of a trace (version 3)."""
    return Answer({"trace": {"trace_info": info_json(_one(ask, ask.path["trace_id"]))}})


def info_2(ask: Ask) -> Answer:
    """Return what is known of a trace (version 2)."""
    return Answer({"trace_info": info_json_2(_one(ask, ask.path["trace_id"]))})


def get(ask: Ask) -> Answer:
    """Return a trace with its spans."""
    found = _one(ask, ask.told.text("trace_id", required=True))
    return Answer({"trace": _whole(ask, [found])[0]})


def batch(ask: Ask) -> Answer:
    """Return traces with their spans; those that are not there are left out."""
    return Answer(present({"traces": _whole(ask, _several(ask))}))


def batch_infos(ask: Ask) -> Answer:
    """Return what is known of traces; those that are not there are left out."""
    return Answer(present({"trace_infos": [info_json(one) for one in _several(ask)]}))


def search(ask: Ask) -> Answer:
    """Return a page of traces (version 3)."""
    places = [_experiment_of(one) for one in ask.told.objects("locations")]
    found = _page(ask, places)
    return Answer(present({"traces": [info_json(one) for one in found.found], "next_page_token": found.token or None}))


def search_2(ask: Ask) -> Answer:
    """Return a page of traces (version 2)."""
    found = _page(ask, [experiment_number(one) for one in ask.told.texts("experiment_ids")])
    listed = [info_json_2(one) for one in found.found]
    return Answer(present({"traces": listed, "next_page_token": found.token or None}))


def _page(ask: Ask, experiments: Sequence[int]) -> Any:
    if not experiments or len(experiments) > MOST_FACTS:
        raise InputError(
            f"Name 1 to {MOST_FACTS:,} experiments to search; there were {len(experiments)}.", hint="Send locations."
        )
    return kept.search_traces(
        ask.tracker,
        experiments,
        filter=ask.told.text("filter"),
        order_by=ask.told.texts("order_by"),
        limit=ask.told.integer("max_results", 100, least=1, most=MOST),
        token=ask.told.text("page_token"),
    )


def set_tag(ask: Ask) -> Answer:
    """Set a tag of a trace."""
    key = _key(ask.told.text("key", required=True))
    kept.put_tag(ask.tracker, ask.path["trace_id"], key, (ask.told.given("value") or "")[:MOST_TAG])
    return Answer()


def delete_tag(ask: Ask) -> Answer:
    """Take a tag of a trace away."""
    kept.drop_tag(ask.tracker, ask.path["trace_id"], ask.told.text("key", required=True))
    return Answer()


def delete(ask: Ask) -> Answer:
    """Delete traces with their spans and files: those named, or the oldest until a time."""
    told = ask.told
    experiment = number_of(told)
    ids = told.texts("request_ids") or told.texts("trace_ids")
    until, most = told.get("max_timestamp_millis"), told.get("max_traces")
    if bool(ids) == (until is not None) or (ids and most is not None):
        raise InputError(
            "Either `max_timestamp_millis` (with `max_traces`, if wanted) or `request_ids` must be given, not both.",
            hint="Name the traces, or until when they are deleted.",
        )
    before = told.integer("max_timestamp_millis", least=0, most=LATEST_TIME) * 1000 + 999 if until is not None else None
    limit = told.integer("max_traces", least=1) if most is not None else None
    listed = kept.read_traces(ask.tracker, ids[:MOST_IDS]) if ids else []
    gone = kept.delete_traces(
        ask.tracker,
        experiment,
        ids=ids[:MOST_IDS] if ids else None,
        before=before,
        most=min(limit or MOST_IDS, MOST_IDS),
    )
    places = {one.id: one.tags.get(PLACE_OF_FILES, "") for one in listed}
    for trace in gone:
        place = places.get(trace) or f"{SCHEME}/{experiment}/traces/{trace}/artifacts"
        if place.startswith(f"{SCHEME}/") and place.endswith(f"/traces/{trace}/artifacts"):
            ask.artifacts.delete(confined(place.removeprefix(SCHEME).lstrip("/")))
    return Answer({"traces_deleted": len(gone)})


def link(ask: Ask) -> Answer:
    """Link traces to a run."""
    kept.link_runs(ask.tracker, ask.told.texts("trace_ids"), ask.told.text("run_id", required=True))
    return Answer()


def link_prompts(ask: Ask) -> Answer:
    """Note which prompts a trace used: in a tag, as clients do."""
    trace = _one(ask, ask.told.text("trace_id", required=True))
    fresh = [
        {"name": one.text("name", required=True), "version": one.text("version", required=True)}
        for one in ask.told.objects("prompt_versions")
    ]
    try:
        known = msgspec.json.decode(trace.tags.get("mlflow.linkedPrompts", "[]"), type=list[dict[str, str]])
    except msgspec.MsgspecError:
        known = []
    told = known + [one for one in fresh if one not in known]
    text = msgspec.json.encode(told).decode()
    if len(text) > MOST_TAG:
        raise InputError(f"The trace {trace.id} would have too many prompts: {len(told)}.", hint="Link fewer.")
    kept.put_tag(ask.tracker, trace.id, "mlflow.linkedPrompts", text)
    return Answer()


def _whole(ask: Ask, found: Sequence[kept.Trace]) -> list[dict[str, Any]]:
    spans = kept.read_spans(ask.tracker, [one.id for one in found])
    return [
        present({"trace_info": info_json(one), "spans": [span_json(span) for span in spans.get(one.id, ())]})
        for one in found
    ]


def _several(ask: Ask) -> list[kept.Trace]:
    ids = ask.told.texts("trace_ids")
    if len(ids) > MOST_IDS:
        raise InputError(f"At most {MOST_IDS:,} traces are read at once; got {len(ids):,}.", hint="Ask in parts.")
    found = kept.read_traces(ask.tracker, ids)
    wanted = {experiment_number(one) for one in ask.told.texts("experiment_ids")}
    return [one for one in found if not wanted or one.experiment_id in wanted]


def _one(ask: Ask, trace: str) -> kept.Trace:
    found = kept.read_traces(ask.tracker, [trace])
    if not found:
        raise NotFound(f"Trace with ID '{trace[:80]}'", trace[:80], hint="Search the traces for what there is.")
    return found[0]


def _experiment_of(location: Fields) -> int:
    kind = location.get("type")
    if kind not in (None, "", "MLFLOW_EXPERIMENT", 1):
        raise InputError(f"Traces are kept with experiments here, not in {str(kind)[:60]!r}.", hint="Name one.")
    return number_of(location.object("mlflow_experiment"))


def _id(text: str) -> str:
    if not _ID.fullmatch(text) or ".." in text:
        raise InputError(f"Invalid trace id: {text[:80]!r}.", hint="It has letters, digits, '-', '_', ':' and '.'.")
    return text


def _key(key: str) -> str:
    if len(key) > MOST_KEY or not key.isprintable():
        raise InputError(f"Invalid key {key[:80]!r}: it has {len(key)} characters.", hint=f"At most {MOST_KEY}.")
    return key


def _mapping(told: Fields, name: str) -> dict[str, str]:
    """Return the mapping of texts that a field is."""
    held = told.get(name)
    if held is None:
        return {}
    if not isinstance(held, dict) or not all(isinstance(one, str) for one in held.values()) or len(held) > MOST_FACTS:
        raise InputError(f"'{name}' is no mapping of at most {MOST_FACTS:,} texts.", hint="Send texts.")
    return {_key(key): value[:MOST_TAG] for key, value in held.items() if key}


def _pairs(told: Fields, name: str) -> dict[str, str]:
    found = told.objects(name)
    if len(found) > MOST_FACTS:
        raise InputError(f"'{name}' has {len(found):,} entries; at most {MOST_FACTS:,} are kept.", hint="Send fewer.")
    return {_key(one.text("key", required=True)): (one.given("value") or "")[:MOST_TAG] for one in found}


# Times ---------------------------------------------------------------------------------------------------------------


def moment_text(at: int) -> str:
    """Return microseconds since 1970 UTC as protobuf's JSON has a moment."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)).isoformat().replace("+00:00", "Z")


def moment_of(told: Fields, name: str) -> int | None:
    """Return a moment in microseconds since 1970 UTC, or None when it was not given.

    Raises:
        InputError: it is no RFC 3339 text.
    """
    held = told.text(name)
    if not held:
        return None
    found = _MOMENT.fullmatch(held)
    try:
        if found is None:
            raise ValueError
        zone = "+00:00" if found[3] == "Z" else found[3]
        moment = datetime.fromisoformat(found[1] + zone)
        seconds = int((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1))
    except (ValueError, OverflowError):
        raise InputError(f"'{name}' is {held[:60]!r}, no time.", hint="Such as 2026-03-01T12:00:00.5Z.") from None
    if seconds < 0:
        raise InputError(f"'{name}' is {held[:60]!r}: times begin with 1970.", hint="Send a later one.")
    return seconds * 1_000_000 + int((found[2] or "0").ljust(9, "0")) // 1000


def duration_text(us: int) -> str:
    """Return microseconds as protobuf's JSON has a duration."""
    return f"{us // 1_000_000}.{us % 1_000_000:06d}s"


def duration_of(told: Fields, name: str) -> int | None:
    """Return a duration in microseconds, or None when it was not given.

    Raises:
        InputError: it is no text such as `1.5s`.
    """
    held = told.text(name)
    if not held:
        return None
    found = _SPAN_OF_TIME.fullmatch(held)
    if found is None or held.startswith("-"):
        raise InputError(f"'{name}' is {held[:60]!r}, no duration.", hint="Such as 1.5s.")
    return int(found[1]) * 1_000_000 + int((found[2] or "0").ljust(9, "0")) // 1000
