"""The protocol's own form as curl sends it: every datatype, every shape, and what is wrong told by name."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
import pytest

from bascule.serving.scoring import MOST_ROWS
from tests.protocols.openinference.conftest import Served
from tests.serving.conftest import bundle

INFER = "/v2/models/delays/infer"
ROW: dict[str, tuple[str, Any]] = {
    "distance": ("FP64", 1000.5),
    "hour": ("INT64", 12),
    "night": ("BOOL", False),
    "carrier": ("BYTES", "UA"),
}


def tensor(name: str, datatype: str, data: list[Any], shape: list[int] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data, **more}


def request(**change: Any) -> dict[str, Any]:
    """A good request of one row with some inputs replaced or, by None, left out."""
    inputs = {name: tensor(name, kind, [value]) for name, (kind, value) in ROW.items()}
    return {"inputs": [one for one in {**inputs, **change}.values() if one is not None]}


def probability(server: Served, body: Any, path: str = INFER) -> float:
    answer = server.ask(path, body)
    assert answer["outputs"][0]["name"] == "probability"
    share: float = answer["outputs"][0]["data"][0]
    return share


@pytest.mark.slow
def test_the_whole_answer(server: Served) -> None:
    answer = server.ask(INFER, request())
    share = answer["outputs"][0]["data"][0]
    ids = json.loads(answer["parameters"]["prediction_ids"])
    assert answer == {
        "model_name": "delays",
        "model_version": "1",
        "parameters": {"prediction_ids": json.dumps(ids)},
        "outputs": [
            {"name": "probability", "datatype": "FP64", "shape": [1], "data": [share]},
            {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["1" if share >= 0.5 else "0"]},
        ],
    }
    with_id = server.ask(INFER, {**request(), "id": "", "parameters": {}})
    assert with_id["id"] == ""
    assert with_id["outputs"] == answer["outputs"]


def test_numbers_come_in_any_number_type(server: Served) -> None:
    expected = probability(server, request(distance=tensor("distance", "FP64", [1000.0])))
    for datatype in ("FP32", "INT16", "INT32", "INT64", "UINT16", "UINT64"):
        assert probability(server, request(distance=tensor("distance", datatype, [1000]))) == expected
    assert probability(server, request(hour=tensor("hour", "FP32", [12.0]))) == probability(server, request())


@pytest.mark.parametrize("shape", [[1], [1, 1]])
def test_columns_come_flat_or_nested(server: Served, shape: list[int]) -> None:
    nested: Any = [[12]] if len(shape) == 2 else [12]
    for data in (nested, [12]):
        assert probability(server, request(hour=tensor("hour", "INT64", data, shape))) == probability(server, request())


@pytest.mark.parametrize("missing", ["null", "NaN"])
def test_missing_values(server: Served, missing: str) -> None:
    body = json.dumps(request()).replace("1000.5", missing)
    found = probability(server, body.encode())
    table = {"distance": [math.nan], "hour": [12], "night": [False], "carrier": ["UA"]}
    import pyarrow as pa

    assert found == bundle().predict(pa.table(table))[0]
    for name, (kind, _) in ROW.items():
        probability(server, request(**{name: tensor(name, kind, [None])}))


def test_infinities_are_numbers(server: Served) -> None:
    text = json.dumps(request())
    assert probability(server, text.replace("1000.5", "Infinity").encode()) > 0
    assert probability(server, text.replace("1000.5", "-Infinity").encode()) > 0


def test_base64_texts(server: Served) -> None:
    encoded = tensor("carrier", "BYTES", ["VUE="], parameters={"content_type": "base64"})
    assert probability(server, request(carrier=encoded)) == probability(server, request())
    wrong = tensor("carrier", "BYTES", ["V*E="], parameters={"content_type": "base64"})
    assert "'carrier'" in server.error(INFER, request(carrier=wrong))


def test_several_rows(server: Served) -> None:
    inputs = [tensor(name, kind, [value] * 3) for name, (kind, value) in ROW.items()]
    answer = server.ask(INFER, {"inputs": inputs})
    assert answer["outputs"][0]["shape"] == [3]
    assert len(set(json.loads(answer["parameters"]["prediction_ids"]))) == 3


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"carrier": None}, "no column 'carrier'"),
        ({"carrier": tensor("carier", "BYTES", ["UA"])}, "does not know the column 'carier'. Did you mean 'carrier'?"),
        ({"weight": tensor("weight", "FP64", [1.0])}, "does not know the column 'weight'"),
        ({"x": tensor("hour", "INT64", [1])}, "'hour' was sent twice"),
        ({"hour": tensor("hour", "INT64", [1, 2])}, "'hour' has 2 rows; 'distance' has 1"),
        ({"hour": tensor("hour", "INT64", [1], [2])}, "'hour' has 2 rows"),
        ({"distance": tensor("distance", "FP64", [1.0, 2.0], [1])}, "'distance' has 2 elements"),
        ({"distance": tensor("distance", "FP64", [], [1])}, "'distance' has 0 elements"),
        ({"hour": tensor("hour", "INT64", [1], [1, 1, 1])}, "shape [1, 1, 1]; a column has [rows] or [rows, 1]"),
        ({"hour": tensor("hour", "INT64", [1], [-1])}, "'hour' has the shape [-1]"),
        ({"hour": tensor("hour", "INT64", [[[1]]], [1, 1])}, "'hour'"),
        ({"hour": tensor("hour", "INT63", [1])}, "no datatype named 'INT63'. Did you mean"),
        ({"hour": tensor("hour", "INT64", [1.5])}, "'hour' is INT64; element 0 is 1.5"),
        ({"hour": tensor("hour", "INT64", ["1"])}, "'hour' is INT64; element 0 is '1'"),
        ({"hour": tensor("hour", "INT64", [True])}, "'hour' is INT64; element 0 is True"),
        ({"hour": tensor("hour", "UINT8", [256])}, "'hour' has 256, which UINT8 cannot hold"),
        ({"hour": tensor("hour", "INT64", [2**63])}, "which INT64 cannot hold"),
        ({"distance": tensor("distance", "FP64", [10**400])}, "'distance'"),
        ({"distance": tensor("distance", "FP16", [1.0])}, "FP16, which only comes as binary data"),
        ({"distance": tensor("distance", "BYTES", ["far"])}, "'distance' needs a number; row 0 has 'far'"),
        ({"distance": tensor("distance", "BOOL", [True])}, "'distance' needs a number"),
        ({"night": tensor("night", "INT64", [7])}, "'night' needs true or false; row 0 has 7"),
        ({"carrier": tensor("carrier", "INT64", [7])}, "'carrier' needs a text; row 0 has 7"),
        ({"hour": {"name": "hour", "datatype": "INT64", "shape": [1]}}, "'hour' has no data"),
        ({"hour": {"name": "hour", "datatype": "INT64", "shape": [1], "data": 12}}, "'hour' is not a list"),
        (
            {"hour": {"name": "hour", "datatype": "INT64", "data": [1]}},
            "missing required field `shape` - at `$.inputs[1]`",
        ),
        ({"hour": tensor("hour", "INT64", [1], ["1"])}, "Expected `int`, got `str` - at `$.inputs[1].shape[0]`"),
    ],
)
def test_what_is_wrong_is_told_by_name(server: Served, change: dict[str, Any], text: str) -> None:
    assert text in server.error(INFER, request(**change))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"[1, 2]", "does not fit"),
        (b"\xff\xfe", "JSON"),
        (b'{"inputs": []}', "has no inputs"),
        (b'{"inputs": 5}', "$.inputs"),
        (b"[" * 100_000, "does not fit"),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": ' + b"[" * 50_000, "nested too deeply"),
        (b'{"inputs": NaN}', "does not fit"),
    ],
)
def test_bodies_that_are_no_request(server: Served, body: bytes, text: str) -> None:
    assert text in server.error(INFER, body)


def test_too_many_rows_are_refused_and_as_many_as_may_be_are_not(server: Served) -> None:
    row = [[0.5] * 30]
    answer = server.ask(
        "/v2/models/numbers/infer", {"inputs": [tensor("all", "FP64", row * MOST_ROWS, [MOST_ROWS, 30])]}
    )
    assert len(answer["outputs"][0]["data"]) == MOST_ROWS
    assert len(set(answer["outputs"][0]["data"])) == 1
    many = {"inputs": [tensor("all", "FP64", row * (MOST_ROWS + 1), [MOST_ROWS + 1, 30])]}
    assert f"at most {MOST_ROWS:,}" in server.error("/v2/models/numbers/infer", many)


def test_whole_rows_need_numbers(server: Served) -> None:
    assert "Send one input for each column" in server.error(
        INFER, {"inputs": [tensor("all", "FP64", [1.0, 2.0, 0.0, 1.0], [1, 4])]}
    )
    numbers = "/v2/models/numbers/infer"
    narrow = {"inputs": [tensor("all", "FP64", [1.0] * 29, [1, 29])]}
    assert "'all' has 29 values a row; the model reads 30 numbers" in server.error(numbers, narrow)
    assert "BYTES" in server.error(numbers, {"inputs": [tensor("all", "BYTES", ["a"] * 30, [1, 30])]})
    found = server.ask(numbers, {"inputs": [tensor("all", "FP64", [None, *[0.5] * 29], [1, 30])]})
    assert 0 < found["outputs"][0]["data"][0] < 1


def test_outputs_may_be_chosen(server: Served) -> None:
    answer = server.ask(INFER, {**request(), "outputs": [{"name": "label"}]})
    assert [one["name"] for one in answer["outputs"]] == ["label"]
    for asked, text in (
        ({"name": "lable"}, "Did you mean 'label'?"),
        ({"name": "label", "parameters": {"classification": 2}}, "'label' has no classes"),
        ({"name": "probability", "parameters": {"classification": -1}}, "classification -1"),
    ):
        assert text in server.error(INFER, {**request(), "outputs": [asked]})


def binary_request(header: dict[str, Any], *parts: bytes, length: int | None = None) -> tuple[bytes, dict[str, str]]:
    text = json.dumps(header).encode()
    size = len(text) if length is None else length
    return text + b"".join(parts), {"Inference_Header_Content_Length": str(size)}


def binary_inputs(carrier: bytes, **sizes: int) -> dict[str, Any]:
    inputs = [
        {
            "name": "distance",
            "datatype": "FP64",
            "shape": [1],
            "parameters": {"binary_data_size": sizes.get("distance", 8)},
        },
        tensor("hour", "INT64", [12]),
        {"name": "night", "datatype": "BOOL", "shape": [1], "parameters": {"binary_data_size": 1}},
        {"name": "carrier", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(carrier)}},
    ]
    return {"inputs": inputs}


CARRIER = struct.pack("<I", 2) + b"UA"
DISTANCE = struct.pack("<d", 1000.5)


def test_binary_and_json_inputs_mix(server: Served) -> None:
    body, headers = binary_request(binary_inputs(CARRIER), DISTANCE, b"\0", CARRIER)
    assert server.ask(INFER, body, **headers)["outputs"][0]["data"][0] == probability(server, request())


def test_binary_answers(server: Served) -> None:
    body = {**request(), "parameters": {"binary_data_output": True}}
    status, headers, data = server.request(INFER, body)
    assert status == 200
    assert headers["content-type"] == "application/octet-stream"
    size = int(headers["inference-header-content-length"])
    said = json.loads(data[:size])
    assert [one["parameters"]["binary_data_size"] for one in said["outputs"]] == [8, 5]
    assert struct.unpack_from("<d", data, size)[0] == probability(server, request())
    assert data[size + 8 :] in (b"\1\0\0\0001", b"\1\0\0\0000")


@pytest.mark.parametrize(
    ("parts", "carrier", "sizes", "length", "text"),
    [
        ([DISTANCE, b"\0"], CARRIER, {}, None, "'carrier' says binary_data_size 6; 0 bytes are left"),
        ([DISTANCE, b"\0", CARRIER, b"more"], CARRIER, {}, None, "4 bytes follow the tensors"),
        ([DISTANCE[:4], b"\0", CARRIER], CARRIER, {"distance": 4}, None, "'distance' of 1 FP64 needs 8 bytes; 4 came"),
        ([DISTANCE, b"\0", b"\5\0\0\0UA"], CARRIER, {}, None, "longer than the bytes that are left"),
        ([DISTANCE, b"\0", b"\1\0\0\0UA"], CARRIER, {}, None, "1 bytes behind its 1 elements"),
        ([DISTANCE, b"\0", b"\2\0\0\0\xff\xff"], CARRIER, {}, None, "not UTF-8"),
        ([DISTANCE, b"\0", b"\2\0"], b"\2\0", {}, None, "ends after 0 of its 1 elements"),
        ([DISTANCE, b"\0", CARRIER], CARRIER, {"distance": -8}, None, "binary_data_size -8"),
        ([DISTANCE, b"\0", CARRIER], CARRIER, {"distance": 2**70}, None, "binary_data_size"),
        ([DISTANCE, b"\0", CARRIER], CARRIER, {}, 10**9, "Inference-Header-Content-Length is '1000000000'"),
        ([DISTANCE, b"\0", CARRIER], CARRIER, {}, 17, "is not JSON"),
    ],
)
def test_binary_requests_that_do_not_add_up(
    server: Served, parts: list[bytes], carrier: bytes, sizes: dict[str, int], length: int | None, text: str
) -> None:
    body, headers = binary_request(binary_inputs(carrier, **sizes), *parts, length=length)
    assert text in server.ask(INFER, body, 400, **headers)["error"]


def test_a_header_length_that_is_no_number(server: Served) -> None:
    for value in ("-1", "x", "1e3", " "):
        assert "error" in server.ask(INFER, b"{}", 400, Inference_Header_Content_Length=value)


def test_data_and_binary_size_contradict(server: Served) -> None:
    header = request(hour=tensor("hour", "INT64", [12], parameters={"binary_data_size": 8}))
    body, headers = binary_request(header, bytes(8))
    assert "both data and binary_data_size" in server.ask(INFER, body, 400, **headers)["error"]


def test_raw_requests(server: Served) -> None:
    values = np.array([0.5, -1.5, 2.0])
    status, headers, data = server.request(
        "/v2/models/one/infer", values.tobytes(), Inference_Header_Content_Length="0"
    )
    assert status == 200
    size = int(headers["inference-header-content-length"])
    assert np.frombuffer(data[size : size + 24]).shape == (3,)
    rows = np.random.default_rng(0).normal(size=(2, 30))
    status, headers, data = server.request(
        "/v2/models/numbers/infer", rows.tobytes(), Inference_Header_Content_Length="0"
    )
    said = json.loads(data[: int(headers["inference-header-content-length"])])
    assert said["outputs"][0]["shape"] == [2]
    status, _, data = server.request("/v2/models/numbers/infer", b"1234567", Inference_Header_Content_Length="0")
    assert status == 400
    status, _, data = server.request(INFER, DISTANCE, Inference_Header_Content_Length="0")
    assert status == 400
    assert b"a model of one input" in data


def test_brain_floats(server: Served) -> None:
    rows = np.random.default_rng(0).normal(size=(3, 30)).astype(np.float32)
    upper = (rows.view(np.uint32) >> 16).astype("<u2")
    exact = (upper.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    header = {
        "inputs": [{"name": "all", "datatype": "BF16", "shape": [3, 30], "parameters": {"binary_data_size": 180}}]
    }
    body, headers = binary_request(header, upper.tobytes())
    found = server.ask("/v2/models/numbers/infer", body, **headers)["outputs"][0]["data"]
    plain = {"inputs": [tensor("all", "FP64", exact.ravel().tolist(), [3, 30])]}
    assert found == server.ask("/v2/models/numbers/infer", plain)["outputs"][0]["data"]


def test_methods_and_paths(server: Served) -> None:
    status, headers, _ = server.request("/v2/models/delays/infer")
    assert (status, headers["allow"]) == (405, "POST")
    status, headers, _ = server.request("/v2/health/live", b"", "POST")
    assert (status, headers["allow"]) == (405, "GET, HEAD")
    status, _, data = server.request("/v2/health/live", method="HEAD")
    assert (status, data) == (200, b"")
    for path in ("/v3", "/v2/models/delays/versions", "/v2/models/delays/infer/x", "/v2/health"):
        assert "There is no path" in server.error(path, status=404)
    assert "version 'one' is not a number" in server.error("/v2/models/delays/versions/one")
    assert "not UTF-8" in server.error("/v2/models/%ff")
    assert server.ask("/v2/health/live/") == {"live": True}
    assert server.ask("/v2/health/live?x=1") == {"live": True}


def test_the_models_of_a_branch_are_listed(server: Served) -> None:
    assert {"delays", "numbers"} <= set(server.ask("/v2/models")["models"])
    assert server.ask("/branch/main/v2/models/") == server.ask("/v2/models")
    for name in server.ask("/v2/models")["models"]:
        assert server.ask(f"/v2/models/{name}")["name"] == name
    assert server.request("/v2/models", b"", "POST")[1]["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("/v2/model/delays/infer", "/v2/models/delays/infer"),
        ("/v2/models/delays/infr", "/v2/models/delays/infer"),
        ("/v1/models/delays:predct", "/v2/models/delays/predict"),
        ("/models/delays/predict", "/v2/models/delays/predict"),
        ("/v2/heath/ready", "/v2/health/ready"),
        ("/branch/main/v2/model", "/branch/main/v2/models"),
        ("/groundtruth?x=1", "/ground-truth"),
        ("/metric", "/metrics"),
    ],
)
def test_an_unknown_path_names_the_nearest(server: Served, asked: str, meant: str) -> None:
    assert f"Did you mean {meant!r}?" in server.error(asked, status=404)


@pytest.mark.parametrize(
    "path",
    [
        "/v2/trace/setting",
        "/v2/logging",
        "/v2/systemsharedmemory/status",
        "/branch/main/v2/cudasharedmemory/region/a/register",
        "/v2/models/delays/versions/1/trace/setting",
        "/v2/models/delays/generate_stream",
    ],
)
def test_an_extension_that_is_not_here_is_named(server: Served, path: str) -> None:
    said = server.error(path, status=501)
    assert said.startswith("This server does not have '")
    assert path in said
    assert "GET /v2 lists" in said


def test_metrics_count(server: Served) -> None:
    def value(name: str) -> float:
        _, headers, data = server.request("/metrics")
        assert headers["content-type"].startswith("text/plain")
        return next(float(line.split()[-1]) for line in data.decode().splitlines() if line.startswith(name))

    requests = 'bascule_requests_total{branch="main",deployment="delays",version="1"}'
    failures = 'bascule_errors_total{branch="main",deployment="delays",version="1"}'
    bucket = 'bascule_request_seconds_bucket{branch="main",deployment="delays",version="1",le="+Inf"}'
    server.ask(INFER, request())
    before = value(requests), value(failures), value(bucket), value('bascule_http_responses_total{code="400"}')
    server.ask(INFER, request())
    server.error(INFER, request(hour=None))
    after = value(requests), value(failures), value(bucket), value('bascule_http_responses_total{code="400"}')
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 1, 1]


def test_who_asked_and_in_which_trace_is_logged(server: Served) -> None:
    from bascule.serving import find_prediction

    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"X_Bascule_Caller": "tower", "Traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    answer = server.ask(INFER, request(), **headers)
    row = find_prediction(server.workspace, json.loads(answer["parameters"]["prediction_ids"])[0])
    assert row is not None
    assert (row["caller"], row["trace_id"]) == ("tower", trace)
    answer = server.ask(INFER, request(), Traceparent="nonsense")
    row = find_prediction(server.workspace, json.loads(answer["parameters"]["prediction_ids"])[0])
    assert row is not None
    assert (row["caller"], row["trace_id"]) == (None, None)
