"""Traces over the wire: OpenTelemetry's protocol, MLflow's own in both versions, searches, and what is refused."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from bascule.history import Workspace
from bascule.lake import Session
from bascule.protocols.mlflow.otlp import MOST_UNPACKED
from bascule.server.tokens import create_token
from tests.protocols.mlflow.conftest import Api

TRACE = "0af7651916cd43dd8448eb211c80319c"
ROOT, CHILD = "b7ad6b7169203331", "00f067aa0ba902b7"
BEGIN = 1_700_000_000_000_000_000


def field(number: int, payload: bytes | int, fixed: bool = False) -> bytes:
    if isinstance(payload, int):
        return varint(number << 3 | 1) + struct.pack("<Q", payload) if fixed else varint(number << 3) + varint(payload)
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def protobuf(**changes: bytes) -> bytes:
    """One span of TRACE as protobuf."""
    value = field(6, field(1, field(1, b"deep") + field(2, field(5, field(1, field(3, 2**64 - 5))))))
    parts = {
        "trace": field(1, bytes.fromhex(TRACE)),
        "span": field(2, bytes.fromhex(ROOT)),
        "name": field(5, b"root"),
        "times": field(7, BEGIN, True) + field(8, BEGIN + 2_000_000, True),
        "attributes": field(9, field(1, b"mlflow.spanInputs") + field(2, value)),
        "status": field(15, field(3, 1)),
        **changes,
    }
    return field(1, field(2, field(2, b"".join(parts.values()))))


def span(**changes: Any) -> dict[str, Any]:
    """One span as OpenTelemetry's JSON has it."""
    return {
        "traceId": TRACE,
        "spanId": CHILD,
        "parentSpanId": ROOT,
        "name": "child",
        "startTimeUnixNano": str(BEGIN + 500_000),
        "endTimeUnixNano": BEGIN + 900_000,
        "attributes": [{"key": "rows", "value": {"intValue": "12"}}],
        "events": [{"name": "seen", "timeUnixNano": str(BEGIN), "attributes": []}],
        "status": {"code": 2, "message": "late"},
        **changes,
    }


def document(*spans: Any) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}).encode()


def send(api: Api, body: bytes, kind: str = "application/json", /, **headers: str) -> Any:
    told = {"content-type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return api.http.post(f"{api.below}/v1/traces", content=body, headers=told)


def info(trace_id: str = "tr-1", **changes: Any) -> dict[str, Any]:
    told = {
        "trace_id": trace_id,
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}},
        "request_time": "2026-03-01T12:00:00.250Z",
        "execution_duration": "1.500s",
        "state": "OK",
        "trace_metadata": {"a": "b"},
        "tags": {"t": "u"},
        **changes,
    }
    return {"trace": {"trace_info": told}}


def ids(api: Api, text: str = "", **more: Any) -> list[str]:
    places = [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}]
    found = api("POST", "traces/search", {"locations": places, "filter": text, **more})
    return [one["trace_id"] for one in found.get("traces", ())]


def test_spans_of_any_encoding_become_one_trace(api: Api, local_workspace: Workspace) -> None:
    local_workspace.history.create_branch("dev")
    run, dev = api.run(), Api(api.http, "/branch/dev")
    packed = zlib.compress(document(span()))
    assert send(dev, packed, content_encoding="deflate", x_mlflow_experiment_id="0").status_code == 200
    trace = f"tr-{TRACE}"
    assert api("GET", f"traces/{trace}")["trace"]["trace_info"]["state"] == "IN_PROGRESS"
    for _ in range(2):  # said again, nothing changes
        sent = send(
            api, gzip.compress(protobuf()), "application/x-protobuf", content_encoding="gzip", x_mlflow_run_id=run
        )
        assert (sent.status_code, sent.content) == (200, b"")
    found = api("GET", "traces/get", trace_id=trace)["trace"]
    told = found["trace_info"]
    assert (told["state"], told["execution_duration"]) == ("OK", "0.002000s")
    assert told["request_preview"] == '{"deep":[-5]}'
    assert told["tags"]["mlflow.trace.spansLocation"] == "TRACKING_STORE"
    assert [one["name"] for one in found["spans"]] == ["root", "child"]
    assert found["spans"][1]["attributes"] == [{"key": "rows", "value": {"int_value": "12"}}]
    assert found["spans"][1]["status"] == {"code": "STATUS_CODE_ERROR", "message": "late"}
    assert ids(api, f"run_id = '{run}'") == [trace]
    assert ids(api, f"run_id != '{run}'") == []
    with Session(local_workspace) as session:
        query = (
            "select t.branch, s.name, s.status from spans s join traces t on t.id = s.trace_id order by s.started_ns"
        )
        assert session.arrow(query).to_pylist() == [
            {"branch": "dev", "name": "root", "status": "OK"},
            {"branch": "dev", "name": "child", "status": "ERROR"},
        ]


def test_a_trace_is_told_before_or_after_its_spans(api: Api) -> None:
    trace = f"tr-{TRACE}"
    told = info(trace, response_preview="said", trace_metadata={"mlflow.trace.user": "ana"})
    answer = api("POST", "/api/3.0/mlflow/traces", told)["trace"]["trace_info"]
    assert answer["request_time"] == "2026-03-01T12:00:00.250000Z"
    assert "mlflow.trace.spansLocation" not in answer["tags"]
    assert answer["tags"]["mlflow.artifactLocation"] == f"mlflow-artifacts:/0/traces/{trace}/artifacts"
    send(api, protobuf(), "application/x-protobuf")
    for _ in range(2):
        found = api("POST", "/api/3.0/mlflow/traces", told)["trace"]["trace_info"]
        assert found["tags"]["mlflow.trace.spansLocation"] == "TRACKING_STORE"
        assert (found["execution_duration"], found["response_preview"]) == ("1.500000s", "said")
        assert found["trace_metadata"] == {"mlflow.trace.user": "ana"}


def test_version_2_begins_and_ends_a_trace(api: Api) -> None:
    begun = {"experiment_id": "0", "timestamp_ms": 1000, "request_metadata": [{"key": "m", "value": "n"}]}
    trace = api("POST", "traces", begun)["trace_info"]["request_id"]
    ended = {"timestamp_ms": 1250, "status": "OK", "tags": [{"key": "k", "value": "v"}]}
    api("PATCH", f"traces/{trace}", ended)
    found = api("GET", f"traces/{trace}/info")["trace_info"]
    assert (found["status"], found["timestamp_ms"], found["execution_time_ms"]) == ("OK", 1000, 250)
    assert {"key": "k", "value": "v"} in found["tags"]
    (listed,) = api("GET", "traces", experiment_ids="0", filter="tags.k = 'v' AND execution_time_ms = 250")["traces"]
    assert listed == found


def test_traces_are_paged_ordered_and_deleted_with_their_files(api: Api) -> None:
    for number in range(5):
        at = f"2026-03-01T12:00:0{number}Z"
        api("POST", "/api/3.0/mlflow/traces", info(f"tr-{number}", request_time=at, tags={"n": str(number % 2)}))
    assert ids(api) == [f"tr-{number}" for number in (4, 3, 2, 1, 0)]
    assert ids(api, order_by=["tag.n ASC", "timestamp ASC"]) == ["tr-0", "tr-2", "tr-4", "tr-1", "tr-3"]
    places = [{"mlflow_experiment": {"experiment_id": "0"}}]
    seen: list[str] = []
    token = ""
    for text in ("", "tag.n RLIKE '[01]'"):
        seen, token = [], ""
        while True:
            asked = {"locations": places, "max_results": 2, "page_token": token, "filter": text}
            page = api("POST", "traces/search", asked)
            seen += [one["trace_id"] for one in page["traces"]]
            if not (token := page.get("next_page_token", "")):
                break
        assert seen == ids(api)
    file = "/api/2.0/mlflow-artifacts/artifacts/0/traces/tr-4/artifacts/traces.json"
    api.http.put(file, content=b"{}")
    gone = api("POST", "traces/delete-traces", {"experiment_id": "0", "request_ids": ["tr-4", "tr-none"]})
    assert gone == {"traces_deleted": 1}
    assert api.http.get(file).status_code == 404
    until = {"experiment_id": "0", "max_timestamp_millis": 1772366402000, "max_traces": 2}
    assert api("POST", "traces/delete-traces", until) == {"traces_deleted": 2}
    assert ids(api) == ["tr-3", "tr-2"]


DAMAGED: list[tuple[bytes, str, dict[str, str]]] = [
    (b"\xff\xff", "application/x-protobuf", {}),
    (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "application/x-protobuf", {}),
    (b"", "application/x-protobuf", {}),
    (protobuf(span=field(2, b"\0" * 8)), "application/x-protobuf", {}),
    (protobuf(trace=field(1, b"short")), "application/x-protobuf", {}),
    (protobuf(name=field(5, b"\xff")), "application/x-protobuf", {}),
    (protobuf(times=field(7, 2**64 - 1, True)), "application/x-protobuf", {}),
    (protobuf(name=field(5, 3)), "application/x-protobuf", {}),
    (b"{", "application/json", {}),
    (b"[" * 100_000, "application/json", {}),
    (b'{"resourceSpans": 3}', "application/json", {}),
    (document(), "application/json", {}),
    (document(3), "application/json", {}),
    (document(span(traceId="x" * 32)), "application/json", {}),
    (document(span(spanId=7)), "application/json", {}),
    (document(span(startTimeUnixNano="soon")), "application/json", {}),
    (document(span(attributes=[{"key": "a", "value": {"intValue": 2**70}}])), "application/json", {}),
    (document(span(attributes=[{"key": "a", "value": {"doubleValue": []}}])), "application/json", {}),
    (document(span()), "text/plain", {}),
    (document(span()), "application/json", {"content_encoding": "br"}),
    (document(span()), "application/json", {"content_encoding": "gzip"}),
    (gzip.compress(document(span()))[:-9], "application/json", {"content_encoding": "gzip"}),
    (gzip.compress(b"\0" * (MOST_UNPACKED + 1)), "application/x-protobuf", {"content_encoding": "gzip"}),
    (document(span()), "application/json", {"x_mlflow_experiment_id": "../1"}),
]


@pytest.mark.slow
def test_spans_that_cannot_be_read_are_refused_whole(api: Api) -> None:
    for body, kind, headers in DAMAGED:
        sent = send(api, body, kind, **headers)
        assert (sent.status_code, sent.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), body[:80]
    assert ids(api) == []


def test_values_that_a_database_or_json_does_not_have_are_kept_all_the_same(api: Api) -> None:
    held = [{"key": "nan", "value": {"doubleValue": "NaN"}}, {"key": "nul\0", "value": {"stringValue": "a\0b"}}]
    deep: dict[str, Any] = {"stringValue": "x"}
    for _ in range(20):
        deep = {"arrayValue": {"values": [deep]}}
    held.append({"key": "deep", "value": deep})
    good = span(parentSpanId="", name="a\0", attributes=held)
    assert send(api, document(good)).status_code == 200
    for _ in range(20):
        deep = {"arrayValue": {"values": [deep]}}
    held[-1]["value"] = deep
    assert send(api, document(span(spanId=ROOT, attributes=held))).status_code == 400
    (found,) = api("GET", "traces/batchGet", trace_ids=f"tr-{TRACE}")["traces"]
    assert found["spans"][0]["attributes"][0]["value"] == {"string_value": "NaN"}
    assert found["spans"][0]["name"] == "a\ufffd"


WRONG: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "traces", {"trace": {"trace_info": {"trace_id": "../x"}}}),
    ("POST", "traces", info(request_time="soon")),
    ("POST", "traces", info(request_time="0001-01-01T00:00:00Z")),
    ("POST", "traces", info(request_time="9999-99-01T00:00:00Z")),
    ("POST", "traces", info(execution_duration="-1s")),
    ("POST", "traces", info(state="WRONG")),
    ("POST", "traces", info(tags={"a": 1})),
    ("POST", "traces", info(tags=[])),
    ("POST", "traces", info(trace_metadata={"k" * 251: ""})),
    ("POST", "traces", info(trace_location={"type": "UC_SCHEMA"})),
    ("POST", "traces", info(trace_location={"mlflow_experiment": {"experiment_id": "x"}})),
    ("POST", "traces", {"experiment_id": "0"}),
    ("POST", "traces/search", {}),
    ("POST", "traces/search", {"locations": [{"mlflow_experiment": {"experiment_id": "0"}}], "max_results": 501}),
    ("POST", "traces/delete-traces", {"experiment_id": "0"}),
    ("POST", "traces/delete-traces", {"experiment_id": "0", "request_ids": ["a"], "max_timestamp_millis": 1}),
    ("POST", "traces/link-to-run", {"trace_ids": ["a"] * 101, "run_id": "r"}),
    ("POST", "traces/tr-1/assessments", {"assessment": {"assessment_name": "a"}}),
    ("POST", "traces/tr-1/assessments", {"assessment": {"assessment_name": "a", "feedback": 3}}),
    ("POST", "traces/tr-1/assessments", {"assessment": {"assessment_name": "", "feedback": {"value": 1}}}),
    ("POST", "traces/tr-1/assessments", {"assessment": {"assessment_name": "a", "rationale": "x" * 300_000}}),
    *(
        ("POST", "traces/tr-1/assessments", {"assessment": {"assessment_name": "a", "feedback": {"value": 1}, **told}})
        for told in (  # what no client could read back
            {"create_time": "soon"},
            {"source": {"source_type": "A FRIEND"}},
            {"source": {"source_type": "HUMAN", "source_id": 5}},
            {"feedback": {"value": 1, "error": {"error_code": 5}}},
            {"metadata": {"a": 1}},
        )
    ),
    ("PATCH", "traces/tr-1/assessments/a", {"assessment": {}, "update_mask": "traceId"}),
]


def test_what_cannot_be_said_of_traces_is_refused(api: Api) -> None:
    for method, path, body in WRONG:
        found = api.refusal(method, f"/api/3.0/mlflow/{path}", body)
        assert found[:2] == (400, "INVALID_PARAMETER_VALUE"), (path, body)


UNREADABLE = [
    "tag.a RLIKE '('",
    "tag.a RLIKE '" + "a" * 1001 + "'",
    "nothing = 'a'",
    "timestamp = 'a'",
    "status = 5",
    "span.nothing = 'a'",
    "span.content = 'a'",
    "text RLIKE 'a'",
    "timestamp RLIKE 'a'",
    "prompt = 'a'",
    "feedback.a IN ('b')",
    "other.a = 'b'",
    "status = 'OK' OR status = 'ERROR'",
]


def test_filters_of_traces_that_cannot_be_read(api: Api) -> None:
    places = [{"mlflow_experiment": {"experiment_id": "0"}}]
    for text in UNREADABLE:
        assert api.refusal("POST", "traces/search", {"locations": places, "filter": text})[0] == 400, text


def test_what_is_not_there_is_told_so(api: Api) -> None:
    for method, path, body in (
        ("GET", "traces/tr-x", None),
        ("GET", "traces/tr-x/info", None),
        ("GET", "traces/get?trace_id=tr-x", None),
        ("PATCH", "traces/tr-x", {"timestamp_ms": 1}),
        ("PATCH", "traces/tr-x/tags", {"key": "a", "value": "b"}),
        ("DELETE", "traces/tr-x/tags", {"key": "a"}),
        ("GET", "traces/tr-x/assessments/a", None),
        ("POST", "traces/tr-x/assessments", {"assessment": {"assessment_name": "a", "feedback": {"value": 1}}}),
        ("POST", "traces/link-to-run", {"trace_ids": ["tr-x"], "run_id": "r"}),
        ("POST", "traces", info(trace_location={"mlflow_experiment": {"experiment_id": "77"}})),
    ):
        assert api.refusal(method, path, body)[:2] == (404, "RESOURCE_DOES_NOT_EXIST"), path
    assert api("GET", "traces/batchGet", trace_ids="tr-x") == {}
    # A regular expression that others need years for is over at once.
    api("POST", "traces", info(tags={"a": "a" * 5000 + "!"}))
    assert ids(api, "tag.a RLIKE '^(a+)+$'") == []


def test_spans_are_taken_from_those_who_may_write(serve: Callable[..., Api], local_workspace: Workspace) -> None:
    _, reader = create_token(local_workspace.catalog, "r", "reader")
    api = serve(require_tokens=True)
    for place in ("/v1/traces", "/branch/main/v1/traces"):
        told = {"content-type": "application/json"}
        assert api.http.post(place, content=document(span()), headers=told).status_code == 401
        told["authorization"] = f"Bearer {reader}"
        assert api.http.post(place, content=document(span()), headers=told).status_code == 403
    for path in ("traces/search", "traces/batchGetInfos"):
        assert api.ask("POST", path, {}).status_code == 401
    evil = {"content-type": "application/json", "origin": "http://evil.example"}
    assert api.http.post("/v1/traces", content=document(span()), headers=evil).status_code == 403
