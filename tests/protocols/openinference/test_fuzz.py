"""Whatever a client sends, it never gets a 5xx, never an error of another shape, and the server goes on."""

from __future__ import annotations

import json
import re
import struct
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.protocols.openinference.conftest import Served
from tests.protocols.openinference.test_infer import INFER, request
from tests.serving.servers import client, post

pytestmark = pytest.mark.slow

RELAXED = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True)
    | st.text(max_size=5)
    | st.sampled_from(
        ["distance", "hour", "night", "carrier", "FP64", "INT64", "BYTES", "BOOL", "label", "probability"]
    )
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
DATATYPES = st.sampled_from(["FP64", "FP32", "FP16", "BF16", "INT64", "INT8", "UINT64", "BOOL", "BYTES", "STRING"])
SHAPES = st.lists(st.integers(-2, 5) | st.sampled_from([2**31, 2**63, 2**64]), max_size=3)
NAMES = st.sampled_from(["distance", "hour", "night", "carrier", "all", "", "é\u0000"])
PARAMETERS = st.none() | st.dictionaries(
    st.sampled_from(
        ["binary_data", "binary_data_size", "classification", "content_type", "unit", "binary_data_output"]
    ),
    SCALARS,
    max_size=3,
)
TENSORS = st.fixed_dictionaries(
    {"name": NAMES, "shape": SHAPES, "datatype": DATATYPES},
    optional={"data": JSON | st.lists(SCALARS, min_size=1, max_size=5), "parameters": PARAMETERS},
)
REQUESTS = st.fixed_dictionaries(
    {"inputs": st.lists(TENSORS, max_size=5)},
    optional={
        "id": st.text(max_size=5),
        "parameters": PARAMETERS,
        "outputs": st.lists(
            st.fixed_dictionaries(
                {"name": st.sampled_from(["label", "probability", "x"])}, optional={"parameters": PARAMETERS}
            ),
            max_size=3,
        ),
    },
)
MODELS = st.sampled_from(["delays", "three", "amount", "numbers", "one"])
NEAR = st.fixed_dictionaries(
    {
        name: st.builds(
            lambda data, kind, shape, name=name: {"name": name, "datatype": kind, "shape": shape, "data": data},
            st.lists(SCALARS, min_size=1, max_size=2),
            DATATYPES,
            st.sampled_from([[1], [1, 1], [2], [2, 1]]),
        )
        for name in ("distance", "hour", "night", "carrier")
    }
).map(lambda inputs: {"inputs": list(inputs.values())})

ROWS = st.builds(
    lambda kind, shape, data: {"inputs": [{"name": "all", "datatype": kind, "shape": shape, "data": data}]},
    st.sampled_from(["FP64", "FP32", "INT64"]),
    st.sampled_from([[1, 30], [1, 1], [30, 1], [2, 15]]),
    st.lists(st.floats(width=32) | st.integers(-9, 9) | st.none(), min_size=29, max_size=31)
    | st.lists(st.floats(-9, 9), min_size=30, max_size=30),
)
INSTANCES = st.lists(
    st.fixed_dictionaries(dict.fromkeys(("distance", "hour", "night", "carrier"), SCALARS))
    | st.dictionaries(NAMES, SCALARS, max_size=4),
    min_size=1,
    max_size=2,
).map(lambda instances: {"instances": instances})
ID = re.compile(rb"pred_[0-9a-z]{26}")


def text_of(value: Any) -> bytes:
    """JSON with the literals NaN and Infinity, and with lone surrogates, as careless clients write it."""
    return json.dumps(value, ensure_ascii=True).encode()


def check(server: Served, path: str, body: bytes, **headers: str) -> None:
    status, _, data = server.request(path, body, **headers)
    assert status < 500, data
    if status >= 400:
        assert set(json.loads(data)) == {"error"}


@given(model=MODELS, body=REQUESTS | NEAR | JSON)
@RELAXED
def test_json_requests(server: Served, model: str, body: Any) -> None:
    check(server, f"/v2/models/{model}/infer", text_of(body))


@given(model=MODELS, body=REQUESTS | NEAR | ROWS | INSTANCES)
@RELAXED
def test_a_head_that_came_before_changes_no_answer(server: Served, model: str, body: dict[str, Any]) -> None:
    """On a kept connection bodies of one length have the same head; a path with a version is answered the long way."""
    text, action = text_of(body).ljust(1_500), "predict" if "instances" in body else "infer"
    with client(server.port) as c:
        for _ in range(2):
            c.send(post(f"/v2/models/{model}/{action}", text))
            found = c.answer()
    status, _, long = server.request(f"/v2/models/{model}/versions/1/{action}", text)
    assert (found.status, ID.sub(b"", found.body)) == (status, ID.sub(b"", long))


@given(body=st.binary(max_size=200) | st.text().map(str.encode))
@RELAXED
def test_bytes(server: Served, body: bytes) -> None:
    for path in (INFER, "/v2/models/delays/predict", "/ground-truth", "/v2/repository/index"):
        check(server, path, body)


@given(
    model=MODELS,
    body=REQUESTS,
    sizes=st.lists(st.integers(-1, 40), max_size=5),
    rest=st.binary(max_size=60),
    length=st.none() | st.integers(0, 300),
)
@RELAXED
def test_binary_requests(
    server: Served, model: str, body: dict[str, Any], sizes: list[int], rest: bytes, length: int | None
) -> None:
    for tensor, size in zip(body["inputs"], sizes, strict=False):
        tensor.pop("data", None)
        tensor["parameters"] = {"binary_data_size": size}
    text = text_of(body)
    header = str(len(text) if length is None else length)
    check(server, f"/v2/models/{model}/infer", text + rest, Inference_Header_Content_Length=header)


@given(rest=st.binary(max_size=64), size=st.integers(0, 16))
@RELAXED
def test_texts_in_binary(server: Served, rest: bytes, size: int) -> None:
    body = request(
        carrier={
            "name": "carrier",
            "datatype": "BYTES",
            "shape": [1],
            "parameters": {"binary_data_size": len(rest) + 4},
        }
    )
    text = text_of(body)
    data = text + struct.pack("<I", size) + rest
    check(server, INFER, data, Inference_Header_Content_Length=str(len(text)))


@given(
    body=JSON
    | st.fixed_dictionaries(
        {},
        optional={
            "instances": st.lists(
                st.dictionaries(st.sampled_from(["distance", "hour", "night", "carrier", "x"]), JSON, max_size=5),
                max_size=3,
            ),
            "columns": st.lists(st.sampled_from(["distance", "hour", "night", "carrier"]), max_size=4),
            "data": st.lists(st.lists(SCALARS, max_size=4), max_size=3),
            "id": SCALARS,
        },
    )
)
@RELAXED
def test_plain_requests(server: Served, body: Any) -> None:
    check(server, "/v2/models/delays/predict", text_of(body))


@given(
    body=JSON
    | st.fixed_dictionaries(
        {"prediction_id": st.just("pred_" + "0" * 26) | st.text(max_size=5), "label": SCALARS},
        optional={"label_time": SCALARS, "deployment": st.sampled_from(["delays", "three", "amount", "x"])},
    )
)
@RELAXED
def test_ground_truth(server: Served, body: Any) -> None:
    check(server, "/ground-truth", text_of(body))
    check(server, "/ground-truth", text_of({"rows": [body]}))


@given(path=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40))
@RELAXED
def test_paths(server: Served, path: str) -> None:
    check(server, "/" + path, b"")
    check(server, "/v2/models/" + path, b"")
