"""The shorter way answers, counts and logs as the longer one does; what it does not know it leaves alone."""

from __future__ import annotations

import json
import re
import struct
from contextlib import ExitStack
from typing import Any

import pytest

from bascule.protocols.openinference.inference import Inference
from bascule.serving.log.frames import read_segment
from bascule.serving.log.predictions import to_arrow
from bascule.serving.log.segment import Segment
from tests.protocols.openinference.conftest import Served
from tests.protocols.openinference.test_infer import ROW, request, tensor
from tests.serving.conftest import put_deployment
from tests.serving.servers import Client, client, post
from tests.serving.test_dataplane import eventually

Asked = tuple[str, bytes, dict[str, str]]
NUMBERS = [round(0.25 * n - 3, 2) for n in range(30)]
VALUES = {name: value for name, (_, value) in ROW.items()}
HEADERS = ("content-type", "inference-header-content-length")


def text(model: str, body: Any) -> Asked:
    return model, json.dumps(body).encode(), {}


def numbers(datatype: str, values: list[float] = NUMBERS, **more: Any) -> Asked:
    """One row as bytes behind the JSON."""
    data = struct.pack(f"<{len(values)}{'d' if datatype == 'FP64' else 'f'}", *values)
    sized = {"binary_data_size": len(data)}
    only = {"name": "input", "shape": [1, len(values)], "datatype": datatype, "parameters": sized}
    header = json.dumps({"inputs": [only], **more}).encode()
    return "numbers", header + data, {"Inference_Header_Content_Length": str(len(header))}


SHORT: dict[str, Asked] = {
    "columns": text("delays", request()),
    "a missing value": text("delays", request(distance=tensor("distance", "FP64", [None]))),
    "an unseen category": text("delays", request(carrier=tensor("carrier", "BYTES", ["??"]))),
    "one tensor": text("numbers", {"inputs": [tensor("input", "FP32", NUMBERS, [1, 30])]}),
    "a value": text("amount", request()),
    "columns in another order": text("delays", {"inputs": request()["inputs"][::-1]}),
    "a whole number": text("delays", request(distance=tensor("distance", "INT64", [3]))),
    "values by name": text("delays", {"instances": [VALUES]}),
    "values by name in another order": text("delays", {"instances": [dict(reversed(VALUES.items()))]}),
    "whole and missing values": text(
        "delays", {"instances": [{**VALUES, "distance": 3, "night": None, "carrier": None}]}
    ),
    "values of other types": text("delays", {"instances": [{**VALUES, "hour": 12.0, "night": 1}]}),
    "a value by names": text("amount", {"instances": [{**VALUES, "distance": None}]}),
    "bytes": numbers("FP64"),
    "bytes of NaN": numbers("FP64", [float("nan"), *NUMBERS[1:]]),
    "all in bytes": numbers("FP32", parameters={"binary_data_output": True}),
    "one in bytes": numbers("FP32", outputs=[{"name": "label", "parameters": {"binary_data": True}}]),
    "one in JSON": numbers("FP32", outputs=[{"name": "label"}]),
}
LONG: dict[str, Asked] = {
    "an id": text("delays", {**request(), "id": "mine"}),
    "a parameter": text("delays", {**request(), "parameters": {"unit": "a"}}),
    "two by name": text("delays", {"instances": [VALUES, VALUES]}),
    "an id beside them": text("delays", {"instances": [VALUES], "id": "mine"}),
    "three classes": text("three", request()),
    "two rows": text("one", {"inputs": [tensor("x0", "FP64", [0.5, 0.25])]}),
    "the top class": numbers("FP32", outputs=[{"name": "probability", "parameters": {"classification": 1}}]),
    "both": numbers("FP32", outputs=[{"name": "label", "parameters": {"binary_data": True}}, {"name": "probability"}]),
    "a trace": (*text("delays", request())[:2], {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}),
}


def form_of(asked: Asked) -> str:
    return "predict" if b"instances" in asked[1] else "infer"


def ask(server: Served, asked: Asked) -> tuple[int, list[str | None], bytes, bytes]:
    """Return the status, headers, body without its prediction id, and that."""
    status, headers, body = server.request(f"/v2/models/{asked[0]}/{form_of(asked)}", asked[1], **asked[2])
    found = re.findall(rb"pred_[0-9a-z]{26}", body)
    assert found, body
    for one in found:
        body = body.replace(one, b"ID")
    return status, [headers.get(name) for name in HEADERS], body, found[-1]


def logged(server: Served, prediction_id: bytes) -> dict[str, Any]:
    """Return a row of the log without what differs each time."""
    folder = server.workspace.log_folder / "predictions"
    payloads = [payload for path in folder.glob("*.log") for payload in read_segment(path).payloads]
    (row,) = [row for row in to_arrow(payloads).to_pylist() if row["prediction_id"].encode() == prediction_id]
    assert row.pop("latency_us") >= 0
    assert row.pop("at") == row.pop("event_time")
    del row["prediction_id"]
    return row  # type: ignore[no-any-return]


def counted(server: Served, model: str) -> int:
    found: int = server.ask(f"/v2/models/{model}/stats")["model_stats"][0]["inference_count"]
    return found


@pytest.mark.parametrize("asked", SHORT.values(), ids=list(SHORT))
def test_both_ways_say_count_and_log_the_same(server: Served, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(server, asked)  # in what form requests come is known from the first one on
    before = counted(server, asked[0])
    with monkeypatch.context() as patch:
        patch.setattr(Inference, "_answer", lambda *_: pytest.fail("this is the longer way"))
        *short, short_id = ask(server, asked)
    state = server.plane.state()
    assert state is not None
    with monkeypatch.context() as patch:
        shortcuts = state.deployments[asked[0]].shortcuts
        patch.setitem(shortcuts, form_of(asked), lambda *_: None)
        *long, long_id = ask(server, asked)
    assert short == long
    assert counted(server, asked[0]) == before + 2
    assert repr(logged(server, short_id)) == repr(logged(server, long_id))  # NaN is not equal to itself


@pytest.mark.parametrize("asked", LONG.values(), ids=list(LONG))
def test_what_asks_for_more_goes_the_longer_way(server: Served, asked: Asked) -> None:
    assert [ask(server, asked)[0] for _ in range(2)] == [200, 200]


def test_a_new_header_has_the_short_way_also_after_a_replacement_that_failed(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws, new = server.workspace, numbers("FP64", parameters={"binary_data_output": False})
    before = ws.history.get("main", "deployments/numbers")

    def problem() -> str:
        state = server.plane.state()
        assert state is not None
        return state.deployments["numbers"].problem

    assert ask(server, SHORT["bytes"])[0] == 200
    try:
        put_deployment(ws, {99: 100}, name="numbers", model="numbers")
        eventually(lambda: "99" in problem())
        assert ask(server, new)[0] == 200
        with monkeypatch.context() as patch:
            patch.setattr(Inference, "_answer", lambda *_: pytest.fail("this is the longer way"))
            assert ask(server, new)[0] == 200
    finally:
        ws.history.commit("main", {"deployments/numbers": before}, message="As before")
        eventually(lambda: not problem())


def test_what_was_right_in_one_header_is_looked_at_in_the_next(server: Served) -> None:
    model, body, headers = numbers("FP64")
    path, length = f"/v2/models/{model}/infer", int(headers["Inference_Header_Content_Length"])
    for _ in range(2):
        assert server.request(path, body, **headers)[0] == 200
        for wrong in (body[:-8], body + bytes(8)):
            assert server.request(path, wrong, **headers)[0] == 400
        assert server.request(path, body, Inference_Header_Content_Length=str(length - 1))[0] == 400


def ask_whole(c: Client, asked: Asked) -> tuple[int, list[str | None], bytes, bytes]:
    """As `ask`, on a connection that is kept, head and body in one."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in asked[2].items()]
    c.send(post(f"/v2/models/{asked[0]}/{form_of(asked)}", asked[1], *lines))
    answer = c.answer()
    (found,) = set(re.findall(rb"pred_[0-9a-z]{26}", answer.body)) or {b""}
    body = answer.body.replace(found, b"ID") if found else answer.body
    return answer.status, [answer.headers.get(name) for name in HEADERS], body, found


@pytest.mark.parametrize("asked", SHORT.values(), ids=list(SHORT))
def test_a_head_that_came_before_is_answered_without_the_handler(
    server: Served, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said, counted and logged as the handler does."""
    with client(server.port) as c:
        *first, first_id = [ask_whole(c, asked) for _ in range(2)][1]
        before = counted(server, asked[0])
        with monkeypatch.context() as patch:
            patch.setattr(Inference, "answer", lambda *_: pytest.fail("this is the longer way"))
            *again, again_id = ask_whole(c, asked)
    assert again == first
    assert first_id != again_id
    assert counted(server, asked[0]) == before + 1
    assert repr(logged(server, again_id)) == repr(logged(server, first_id))


def test_what_is_out_of_service_does_not_answer_a_head_that_came_before(server: Served) -> None:
    asked = SHORT["columns"]
    with client(server.port) as c:
        assert [ask_whole(c, asked)[0] for _ in range(3)] == [200] * 3
        server.plane.set_loaded("main", asked[0], False)
        try:
            assert ask_whole(c, asked)[0] >= 400
        finally:
            server.plane.set_loaded("main", asked[0], True)
        assert ask_whole(c, asked)[0] == 200


def by_outcome(server: Served) -> tuple[int, int]:
    """How many requests succeeded and failed, as Triton's clients are told."""
    told = json.loads(server.request("/v2/models/numbers/stats")[2])["model_stats"][0]["inference_stats"]
    return told["success"]["count"], told["fail"]["count"]


def by_code(server: Served) -> dict[str, int]:
    """How many answers had which code, as Prometheus is told."""
    told = server.request("/metrics")[2].decode()
    return {code: int(count) for code, count in re.findall(r'bascule_http_responses_total\{code="(\d+)"\} (\d+)', told)}


@pytest.mark.parametrize("others", [0, 1])
def test_a_full_disk_is_told_behind_a_head_that_came_before(
    server: Served, others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = SHORT["one tensor"]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with ExitStack() as stack:
        c, *_ = [stack.enter_context(client(server.port)) for _ in range(others + 1)]
        assert [ask_whole(c, asked)[0] for _ in range(3)] == [200] * 3
        before, told = by_code(server), by_outcome(server)
        with monkeypatch.context() as patch:
            patch.setattr(Segment, "write", full)
            status, _, body, _ = ask_whole(c, asked)
        assert status == 503
        later = by_code(server)  # it counts the two looks before it
        assert (later["200"] - before["200"], later["503"] - before.get("503", 0)) == (2, 1)
        assert by_outcome(server) == (told[0], told[1] + 1)
        assert b"No space left on device" in body
        status, _, _, made = ask_whole(c, asked)
        assert status == 200
        assert logged(server, made)


def test_a_model_that_fails_is_logged_and_counted_once(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    state = server.plane.state()
    assert state is not None
    deployment = state.deployments["delays"]

    def fails(row: Any) -> Any:
        raise ZeroDivisionError("no")

    monkeypatch.setattr(deployment.first.runtime, "predict_one", fails)
    monkeypatch.setattr(deployment.first.runtime, "predict_packed", fails)
    deployment.shortcuts.clear()
    stats = server.plane.stats_of(deployment, deployment.first.version)
    before = stats.failures
    assert "ZeroDivisionError" in server.error("/v2/models/delays/infer", request(), 500)
    assert stats.failures == before + 1
    deployment.shortcuts.clear()
