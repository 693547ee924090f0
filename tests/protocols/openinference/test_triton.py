"""Unmodified Triton clients, synchronous and asynchronous, against all that they can ask over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import numpy as np
import pytest

from tests.protocols.openinference.conftest import Served
from tests.serving.conftest import bundle, flights

http = pytest.importorskip("tritonclient.http")
aio = pytest.importorskip("tritonclient.http.aio")
utils = pytest.importorskip("tritonclient.utils")

ROWS = flights(7, seed=4)
EXPECTED = bundle().predict(ROWS)


def columns(binary: bool, shape: str = "rows") -> list[Any]:
    """The rows as inputs; missing numbers as NaN."""
    values = {
        "distance": np.array([np.nan if v is None else v for v in ROWS["distance"].to_pylist()]),
        "hour": np.array(ROWS["hour"].to_pylist(), dtype=np.int64),
        "night": np.array(ROWS["night"].to_pylist(), dtype=bool),
        "carrier": np.array(ROWS["carrier"].to_pylist(), dtype=np.object_),
    }
    found = []
    for name, array in values.items():
        array = array.reshape(-1, 1) if shape == "column" else array
        one = http.InferInput(name, list(array.shape), utils.np_to_triton_dtype(array.dtype))
        one.set_data_from_numpy(array, binary_data=binary)
        found.append(one)
    return found


@pytest.fixture(params=["sync", "aio"])
def client(request: pytest.FixtureRequest, server: Served) -> Any:
    """Calls a method of either client and returns what it gives."""
    url = f"127.0.0.1:{server.port}"

    def call(method: str, *args: Any, **kwargs: Any) -> Any:
        if request.param == "sync":
            with http.InferenceServerClient(url) as made:
                return getattr(made, method)(*args, **kwargs)

        async def work() -> Any:
            async with aio.InferenceServerClient(url) as made:
                found: Coroutine[Any, Any, Any] = getattr(made, method)(*args, **kwargs)
                return await found

        return asyncio.run(work())

    return call


def test_health(client: Any) -> None:
    assert client("is_server_live") is True
    assert client("is_server_ready") is True
    assert client("is_model_ready", "delays") is True
    assert client("is_model_ready", "delays", "2") is True
    assert client("is_model_ready", "delays", "99") is False
    assert client("is_model_ready", "nothing") is False


def test_metadata(client: Any) -> None:
    found = client("get_server_metadata")
    assert found["name"] == "bascule"
    assert "binary_tensor_data" in found["extensions"]
    model = client("get_model_metadata", "delays")
    assert model["versions"] == ["1", "2"]
    assert model["platform"] == "bascule_lightgbm"
    assert [(one["name"], one["datatype"], one["shape"]) for one in model["inputs"]] == [
        ("distance", "FP64", [-1]),
        ("hour", "INT64", [-1]),
        ("night", "BOOL", [-1]),
        ("carrier", "BYTES", [-1]),
    ]
    assert [one["name"] for one in model["outputs"]] == ["probability", "label"]
    assert client("get_model_metadata", "three", "1")["outputs"][0]["shape"] == [-1, 3]
    config = client("get_model_config", "delays")
    assert config["response_cache"] == {"enable": False}
    assert config["input"][3] == {"name": "carrier", "data_type": "TYPE_STRING", "dims": [-1]}


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
@pytest.mark.parametrize("shape", ["rows", "column"])
def test_infer(client: Any, binary_in: bool, binary_out: bool | None, shape: str) -> None:
    outputs = None
    if binary_out is not None:
        outputs = [http.InferRequestedOutput(name, binary_data=binary_out) for name in ("label", "probability")]
    result = client("infer", "delays", columns(binary_in, shape), outputs=outputs, request_id="abc")
    assert result.as_numpy("probability").tolist() == EXPECTED.tolist()
    labels = [value.decode() if isinstance(value, bytes) else value for value in result.as_numpy("label")]
    assert labels == ["1" if share >= 0.5 else "0" for share in EXPECTED]
    answer = result.get_response()
    assert answer["id"] == "abc"
    assert answer["model_name"] == "delays"
    assert answer["model_version"] == "1"
    assert len(json.loads(answer["parameters"]["prediction_ids"])) == 7


def test_infer_on_a_named_version_and_with_mixed_outputs(client: Any) -> None:
    outputs = [
        http.InferRequestedOutput("probability", binary_data=True),
        http.InferRequestedOutput("label", binary_data=False),
    ]
    result = client("infer", "delays", columns(True), model_version="2", outputs=outputs)
    assert result.get_response()["model_version"] == "2"
    assert result.as_numpy("probability").tolist() == bundle(seed=1).predict(ROWS).tolist()
    assert len(result.as_numpy("label")) == 7


@pytest.mark.parametrize("algorithm", ["gzip", "deflate", None])
def test_compression_both_ways(client: Any, algorithm: str) -> None:
    many = flights(500, seed=8)
    array = np.array([0.0 if v is None else v for v in many["distance"].to_pylist()])
    inputs = []
    for name, values in (
        ("distance", array),
        ("hour", np.array(many["hour"].to_pylist(), dtype=np.int64)),
        ("night", np.array(many["night"].to_pylist())),
        ("carrier", np.array(many["carrier"].to_pylist(), dtype=np.object_)),
    ):
        one = http.InferInput(name, [500], utils.np_to_triton_dtype(values.dtype))
        one.set_data_from_numpy(values)
        inputs.append(one)
    result = client(
        "infer", "delays", inputs,
        request_compression_algorithm=algorithm, response_compression_algorithm=algorithm,
    )  # fmt: skip
    assert result.as_numpy("probability").shape == (500,)


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "INT8", "INT64", "UINT8"])
@pytest.mark.parametrize("binary", [True, False])
def test_one_tensor_of_whole_rows_in_any_number_type(client: Any, datatype: str, binary: bool) -> None:
    if datatype == "FP16" and not binary:
        pytest.skip("the protocol has no FP16 in JSON")
    array = np.random.default_rng(0).integers(0, 4, (5, 30)).astype(utils.triton_to_np_dtype(datatype))
    one = http.InferInput("input", [5, 30], datatype)
    one.set_data_from_numpy(array, binary_data=binary)
    result = client("infer", "numbers", [one])
    expected = bundle(fields=tuple(_numbers())).predictor.predict(array.astype(np.float64))
    assert result.as_numpy("probability").tolist() == expected.tolist()


@pytest.mark.parametrize("binary", [True, False])
def test_an_image_is_a_row(client: Any, binary: bool) -> None:
    rows = np.random.default_rng(1).integers(0, 255, (3, 30)).astype(np.uint8)
    expected = bundle(fields=tuple(_numbers())).predictor.predict(rows.astype(np.float64)).tolist()
    for shape in ((3, 5, 6), (3, 5, 6, 1), (3, 1, 5, 6), (3, 1, 30)):
        for count in (3, 1):
            one = http.InferInput("image", [count, *shape[1:]], "UINT8")
            one.set_data_from_numpy(rows.reshape(shape)[:count], binary_data=binary)
            assert client("infer", "numbers", [one]).as_numpy("probability").tolist() == expected[:count]
    one = http.InferInput("image", [1, 4, 6], "UINT8")
    one.set_data_from_numpy(rows.reshape(-1)[:24].reshape(1, 4, 6), binary_data=binary)
    with pytest.raises(utils.InferenceServerException, match="24 values a row; the model reads 30 numbers"):
        client("infer", "numbers", [one])


def test_shared_memory_is_told_to_be_elsewhere(client: Any) -> None:
    one, output = http.InferInput("input", [1, 30], "FP64"), http.InferRequestedOutput("probability")
    one.set_shared_memory("region", 240)
    with pytest.raises(utils.InferenceServerException, match=r"does not have shared memory.*'input'") as refused:
        client("infer", "numbers", [one])
    assert refused.value.status() == "501"
    output.set_shared_memory("region", 8)
    with pytest.raises(utils.InferenceServerException, match=r"does not have shared memory.*'probability'") as refused:
        client("infer", "delays", columns(True), outputs=[output])
    assert refused.value.status() == "501"


def test_classification(client: Any) -> None:
    result = client("infer", "three", columns(True), outputs=[http.InferRequestedOutput("probability", class_count=2)])
    found = result.as_numpy("probability")
    assert found.shape == (7, 2)
    expected = bundle("multiclass").predict(ROWS)
    for row, shares in zip(found, expected, strict=True):
        value, place, name = row[0].decode().split(":")
        assert int(place) == int(np.argmax(shares))
        assert name == ("early", "late", "on time")[int(place)]
        assert float(value) == pytest.approx(shares.max(), abs=1e-6)
    binary = client("infer", "delays", columns(True), outputs=[http.InferRequestedOutput("probability", class_count=5)])
    assert binary.as_numpy("probability").shape == (7, 2)


def test_all_classes_and_values(client: Any) -> None:
    three = client("infer", "three", columns(True)).as_numpy("probability")
    assert np.array_equal(three, bundle("multiclass").predict(ROWS))
    amount = client("infer", "amount", columns(False)).as_numpy("value")
    assert np.array_equal(amount, bundle("regression").predict(ROWS))


def test_no_rows_at_all(client: Any) -> None:
    inputs = []
    for name, kind in (("distance", np.float64), ("hour", np.int64), ("night", bool), ("carrier", np.object_)):
        array = np.array([], dtype=kind)
        one = http.InferInput(name, [0], utils.np_to_triton_dtype(array.dtype))
        one.set_data_from_numpy(array)
        inputs.append(one)
    assert client("infer", "delays", inputs).as_numpy("probability").shape == (0,)


def test_parameters_and_query_strings_pass(client: Any) -> None:
    result = client(
        "infer", "delays", columns(False), parameters={"unit": "u7", "note": "x", "n": 3, "f": 0.5, "ok": True},
        query_params={"a": 1}, headers={"x-other": "y"}, priority=3, timeout=1000,
    )  # fmt: skip
    assert result.as_numpy("probability").shape == (7,)


def test_statistics(client: Any) -> None:
    before = client("get_inference_statistics", "delays", "2")["model_stats"][0]
    client("infer", "delays", columns(True), model_version="2")
    after = client("get_inference_statistics", "delays", "2")["model_stats"][0]
    assert after["inference_count"] - before["inference_count"] == 7
    assert after["execution_count"] - before["execution_count"] == 1
    assert after["inference_stats"]["success"]["count"] == after["execution_count"]
    assert after["inference_stats"]["success"]["ns"] > before["inference_stats"]["success"]["ns"]
    assert any(batch["batch_size"] == 7 for batch in after["batch_stats"])
    assert {one["name"] for one in client("get_inference_statistics")["model_stats"]} >= {"delays", "three", "amount"}


def test_repository(client: Any) -> None:
    index = client("get_model_repository_index")
    assert {(one["name"], one["version"]) for one in index} >= {("delays", "1"), ("delays", "2"), ("three", "1")}
    assert {one["state"] for one in index} <= {"READY", "UNAVAILABLE"}
    client("unload_model", "amount")
    assert client("is_model_ready", "amount") is False
    with pytest.raises(utils.InferenceServerException, match="was unloaded"):
        client("infer", "amount", columns(True))
    client("load_model", "amount")
    assert client("is_model_ready", "amount") is True
    with pytest.raises(utils.InferenceServerException, match="registry"):
        client("load_model", "amount", config="{}")


def test_errors_carry_their_text_and_status(client: Any) -> None:
    with pytest.raises(utils.InferenceServerException, match="Request for unknown model: 'delay'") as unknown:
        client("infer", "delay", columns(True))
    assert unknown.value.status() == "404"
    assert "Did you mean 'delays'?" in unknown.value.message()
    with pytest.raises(utils.InferenceServerException, match="version 9") as version:
        client("infer", "delays", columns(True), model_version="9")
    assert version.value.status() == "404"
    with pytest.raises(utils.InferenceServerException, match="no column 'carrier'") as column:
        client("infer", "delays", columns(False)[:3])
    assert column.value.status() == "400"
    with pytest.raises(utils.InferenceServerException, match="no output named 'probabilities'"):
        client("infer", "delays", columns(True), outputs=[http.InferRequestedOutput("probabilities")])


def _numbers() -> Any:
    from tests.serving.conftest import NUMBERS

    return NUMBERS


def test_names_are_quoted_in_urls(client: Any) -> None:
    with pytest.raises(utils.InferenceServerException, match="unknown model: 'a bü'"):
        client("get_model_metadata", "a bü")


@pytest.mark.slow
def test_many_requests_on_one_connection(server: Served) -> None:
    with http.InferenceServerClient(f"127.0.0.1:{server.port}", concurrency=4) as made:
        waiting = [made.async_infer("delays", columns(n % 2 == 0)) for n in range(40)]
        for one in waiting:
            assert one.get_result().as_numpy("probability").tolist() == EXPECTED.tolist()
