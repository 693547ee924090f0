"""Many rows in one tensor of bytes: the shorter way answers, counts and logs them as the longer one does."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from bascule.protocols.openinference.inference import Inference
from bascule.protocols.openinference.shortcut import BATCH
from bascule.serving.log import find_prediction, read_segment
from bascule.serving.log.predictions import label, to_arrow
from bascule.serving.model import LoadedModel
from tests.protocols.openinference.conftest import Served
from tests.serving.servers import client, post

PATH = "/v2/models/numbers/infer"
WIDTH = 30
BINARY = [{"name": "probability", "parameters": {"binary_data": True}}]
Asked = tuple[bytes, dict[str, str]]


def many(rows: int, datatype: str = "FP64", outputs: Any = BINARY, **more: Any) -> Asked:
    """So many rows as bytes behind the JSON, one of their numbers missing."""
    matrix = np.random.default_rng(rows).normal(size=(rows, WIDTH)).astype("<f8" if datatype == "FP64" else "<f4")
    matrix[0, 0] = np.nan
    sized = {"binary_data_size": matrix.nbytes}
    only = {"name": "input", "shape": [rows, WIDTH], "datatype": datatype, "parameters": sized}
    header = json.dumps({"inputs": [only], **({"outputs": outputs} if outputs else {}), **more}).encode()
    return header + matrix.tobytes(), {"Inference_Header_Content_Length": str(len(header))}


def ask(server: Served, asked: Asked) -> tuple[tuple[int, str, str, bytes], list[bytes]]:
    """Return the status, two headers and the body without its prediction ids, and these."""
    status, headers, body = server.request(PATH, asked[0], **asked[1])
    ids = re.findall(rb"pred_[0-9a-z]{26}", body)
    said = status, headers["content-type"], headers["inference-header-content-length"]
    return (*said, re.sub(rb"pred_[0-9a-z]{26}", b"ID", body)), ids


def logged(server: Served, ids: list[bytes]) -> list[str]:
    """Return the rows of the log of these ids, as texts without what differs each time."""
    folder, found = server.workspace.log_folder / "predictions", {}
    payloads = [payload for path in folder.glob("*.log") for payload in read_segment(path).payloads]
    for row in to_arrow(payloads).to_pylist():
        assert row.pop("latency_us") >= 0
        assert row.pop("at") == row.pop("event_time")
        made = row.pop("prediction_id").encode()
        found[made] = repr(row)  # NaN is not equal to itself
    return [found[one] for one in ids]


def counted(server: Served) -> int:
    found: int = server.ask("/v2/models/numbers/stats")["model_stats"][0]["inference_count"]
    return found


@pytest.mark.parametrize("datatype", ["FP64", "FP32"])
@pytest.mark.parametrize("rows", [2, 100, 1_000])
def test_both_ways_say_count_and_log_the_same(
    server: Served, rows: int, datatype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, before = many(rows, datatype), counted(server)
    with monkeypatch.context() as patch:
        patch.setattr(Inference, "_answer", lambda *_: pytest.fail("this is the longer way"))
        found = [ask(server, asked) for _ in range(2)]
    state = server.plane.state()
    assert state is not None
    with monkeypatch.context() as patch:
        patch.setitem(state.deployments["numbers"].shortcuts, BATCH, None)
        found.append(ask(server, asked))
    assert found[0][0] == found[1][0] == found[2][0]
    assert found[0][0][0] == 200
    assert counted(server) == before + 3 * rows
    ids = [made for _, made in found]
    assert list(map(len, ids)) == [rows] * 3
    assert len({one for made in ids for one in made}) == 3 * rows
    rows_logged = [logged(server, made) for made in ids]
    assert rows_logged[0] == rows_logged[1] == rows_logged[2]


@pytest.mark.parametrize(
    "asked",
    [
        many(3, parameters={"binary_data_output": True}, outputs=None),
        many(3, outputs=[{"name": "label", "parameters": {"binary_data": True}}]),
        many(3, outputs=[*BINARY, {"name": "label", "parameters": {"binary_data": True}}]),
        many(3, outputs=[{"name": "probability", "parameters": {"binary_data": True, "classification": 1}}]),
        many(3, id="mine"),
        many(3, parameters={"unit": "a"}),
    ],
)
def test_what_asks_for_more_goes_the_longer_way(server: Served, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    state = server.plane.state()
    assert state is not None
    first = ask(server, asked)[0]
    monkeypatch.setitem(state.deployments["numbers"].shortcuts, BATCH, None)
    assert ask(server, asked)[0] == first
    assert first[0] == 200


def test_what_was_right_in_one_header_is_looked_at_in_the_next(server: Served) -> None:
    body, headers = many(200)
    length = int(headers["Inference_Header_Content_Length"])
    for _ in range(2):
        assert server.request(PATH, body, **headers)[0] == 200
        for wrong in (body[:-8], body + bytes(8)):
            assert server.request(PATH, wrong, **headers)[0] == 400
        assert server.request(PATH, body, Inference_Header_Content_Length=str(length - 1))[0] == 400
    assert server.request(PATH, *many(10_001)[:1], **many(10_001)[1])[0] == 400


def test_a_size_that_is_no_whole_number_is_refused(server: Served) -> None:
    body, headers = many(7)
    length = int(headers["Inference_Header_Content_Length"])
    header = body[:length].replace(b'"binary_data_size": 1680', b'"binary_data_size": 1680.0')
    for _ in range(2):
        asked = header + body[length:], {"Inference_Header_Content_Length": str(len(header))}
        assert server.request(PATH, *asked[:1], **asked[1])[0] == 400


@pytest.mark.parametrize("clients", [1, 2])
def test_a_client_alone_is_scored_on_the_loop_and_others_are_not_held_up(
    server: Served, clients: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, headers = many(1_000)
    lines = [f"inference-header-content-length: {headers['Inference_Header_Content_Length']}"]
    with client(server.port) as c, client(server.port) as other:
        if clients == 1:
            other.close()
        c.send(post(PATH, body, *lines))
        assert c.answer().status == 200  # how long it takes is known from here on
        state = server.plane.state()
        assert state is not None
        batches = state.deployments["numbers"].shortcuts[BATCH]
        ran: list[int] = []
        deferred = Inference._answer_batch

        def watched(self: Inference, *told: Any) -> Any:
            found = deferred(self, *told)
            ran.append(hasattr(found, "work"))
            return found

        monkeypatch.setattr(Inference, "_answer_batch", watched)
        for row_ns, apart in ((1, clients == 2), (10**9, True)):
            monkeypatch.setattr(batches, "row_ns", row_ns)
            c.send(post(PATH, body, *lines))
            assert c.answer().status == 200
            assert ran.pop() == apart


@pytest.mark.parametrize("rows", [2, 1_000])
def test_a_model_that_fails_is_logged_and_counted_once(
    server: Served, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = server.plane.state()
    assert state is not None
    deployment = state.deployments["numbers"]
    body, headers = many(rows)
    assert server.request(PATH, body, **headers)[0] == 200
    stats = server.plane.stats_of(deployment, deployment.first.version)
    before = stats.failures, counted(server)

    def fails(matrix: Any) -> Any:
        raise ZeroDivisionError("no")

    monkeypatch.setattr(deployment.first.runtime, "predict", fails)
    status, _, said = server.request(PATH, body, **headers)
    assert status == 500
    assert b"ZeroDivisionError" in said
    assert (stats.failures, counted(server)) == (before[0] + 1, before[1])


def test_each_row_of_a_batch_is_found_by_its_id(server: Served) -> None:
    _, ids = ask(server, many(1_000))
    for place in (0, 1, 500, 999):
        found = find_prediction(server.workspace, ids[place].decode())
        assert found is not None
        assert found["prediction_id"] == ids[place].decode()
    assert find_prediction(server.workspace, ids[0].decode()[:-3] + "zzz") is None


@pytest.mark.parametrize("binary", [False, True])
def test_where_the_model_has_no_number_there_is_no_label(
    server: Served, binary: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LoadedModel, "score", lambda self, rows, now: ([float("nan"), 0.25, 0.5], None, None))
    only = {"name": "input", "shape": [3, WIDTH], "datatype": "FP64", "data": [0.5] * 3 * WIDTH}
    outputs = [{"name": name, "parameters": {"binary_data": binary}} for name in ("probability", "label")]
    _, headers, body = server.request(PATH, {"inputs": [only], "outputs": outputs})
    if binary:
        tensors = body[int(headers["inference-header-content-length"]) :]
        assert np.array_equal(np.frombuffer(tensors[:24]), [np.nan, 0.25, 0.5], equal_nan=True)
        assert tensors[24:] == b"\0\0\0\0" + b"\1\0\0\0" + b"0" + b"\1\0\0\0" + b"1"
    else:
        found = {one["name"]: one["data"] for one in json.loads(body)["outputs"]}
        assert found == {"probability": [None, 0.25, 0.5], "label": ["", "0", "1"]}
    assert label(("a", "b", "c"), [float("nan")] * 3) == ""
    assert label(("a", "b", "c"), [0.1, 0.7, 0.2]) == "b"
