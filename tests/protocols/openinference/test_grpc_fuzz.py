"""Whatever a gRPC client sends, it gets an answer or a refusal in the protocol's words, and the server goes on."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bascule.protocols.openinference.grpc.infer import read_message
from bascule.protocols.openinference.grpc.service import METHODS
from tests.protocols.openinference.conftest import Served
from tests.protocols.openinference.test_grpc import ROWS, grpc, pb, stub, typed  # noqa: F401

pytestmark = pytest.mark.slow
RELAXED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
REFUSED = {"INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "UNAVAILABLE", "RESOURCE_EXHAUSTED"}
GOOD = typed(ROWS).SerializeToString()
INTEGERS = st.integers(-(2**63), 2**63 - 1)


def answered(stub: Any, method: str, message: Any) -> None:  # noqa: F811
    refused = None
    try:
        stub(method, message)
    except grpc.RpcError as error:
        refused = error
    assert refused is None or (refused.code().name in REFUSED and refused.details()), refused


@given(st.sampled_from([*METHODS, "ModelInfer"]), st.binary(max_size=60))
@RELAXED
def test_bytes(stub: Any, method: str, data: bytes) -> None:  # noqa: F811
    answered(stub, method, data)


@given(st.integers(0, 1 << 30), st.integers(1, 6), st.integers(1, len(GOOD)))
@RELAXED
def test_requests_with_bytes_changed(stub: Any, seed: int, changes: int, length: int) -> None:  # noqa: F811
    source, bad = random.Random(seed), bytearray(GOOD)
    for _ in range(changes):
        bad[source.randrange(len(bad))] = source.randrange(256)
    answered(stub, "ModelInfer", bytes(bad[:length] if seed % 3 == 0 else bad))


@st.composite
def requests(draw: Any) -> Any:
    found = pb.ModelInferRequest(model_name=draw(st.sampled_from(["delays", "three", "numbers", "one", "x"])))
    found.model_version = draw(st.sampled_from(["", "1", "0", "-1", "99999999999", "é"]))
    for _ in range(draw(st.integers(0, 4))):
        one = found.inputs.add(
            name=draw(st.sampled_from(["distance", "hour", "night", "carrier", "x0", ""])),
            datatype=draw(st.sampled_from(["FP64", "FP32", "FP16", "BF16", "INT64", "UINT8", "BOOL", "BYTES", "x"])),
            shape=draw(st.lists(st.integers(-2, 31) | INTEGERS, max_size=3)),
        )
        kind = draw(st.sampled_from(["raw", "fp64_contents", "int64_contents", "bool_contents", "bytes_contents", ""]))
        if kind == "raw":
            found.raw_input_contents.append(draw(st.binary(max_size=40)))
        elif kind:
            values = {"fp64_contents": st.floats(), "int64_contents": INTEGERS, "bool_contents": st.booleans(),
                      "bytes_contents": st.binary(max_size=5)}[kind]  # fmt: skip
            getattr(one.contents, kind).extend(draw(st.lists(values, max_size=3)))
    for name in draw(st.lists(st.sampled_from(["label", "probability", "y"]), max_size=2)):
        found.outputs.add(name=name).parameters["classification"].int64_param = draw(INTEGERS)
    for name in draw(st.lists(st.sampled_from(["explain", "unit", "timeout"]), max_size=2, unique=True)):
        found.parameters[name].string_param = draw(st.sampled_from(["shap", "x", ""]))
    return found


@given(requests())
@RELAXED
def test_requests_that_are_half_right(stub: Any, message: Any) -> None:  # noqa: F811
    answered(stub, "ModelInfer", message)


@given(requests())
@RELAXED
def test_messages_are_read_as_another_implementation_writes_them(message: Any) -> None:
    found = read_message(message.SerializeToString())
    assert (found.model_name, found.version) == (message.model_name, message.model_version)
    assert [(one.name, one.datatype, one.shape) for one in found.inputs] == [
        (one.name, one.datatype, list(one.shape)) for one in message.inputs
    ]
    assert [bytes(one) for one in found.raw] == list(message.raw_input_contents)


def test_the_server_went_on(server: Served, stub: Any) -> None:  # noqa: F811
    assert stub("ModelInfer", typed(ROWS), pb.ModelInferResponse).model_name == "delays"
    assert server.ask("/v2/health/live") == {"live": True}
