"""Unmodified Triton clients over gRPC, and messages that they never send."""

from __future__ import annotations

import asyncio
import json
import queue
from typing import Any

import numpy as np
import pytest

from bascule.serving import unmoved
from tests.protocols.openinference.conftest import Served
from tests.serving.conftest import NUMBERS, bundle, flights

pytest.importorskip("grpc")
triton = pytest.importorskip("tritonclient.grpc")
aio = pytest.importorskip("tritonclient.grpc.aio")
pb = pytest.importorskip("tritonclient.grpc.service_pb2")
utils = pytest.importorskip("tritonclient.utils")
import grpc  # noqa: E402

ROWS = flights(7, seed=4)
EXPECTED = bundle().predict(ROWS)


def inputs_of(rows: Any, shape: tuple[int, ...] = (-1,)) -> list[Any]:
    values = {
        "distance": np.array([np.nan if v is None else v for v in rows["distance"].to_pylist()]),
        "hour": np.array(rows["hour"].to_pylist(), dtype=np.int64),
        "night": np.array(rows["night"].to_pylist(), dtype=bool),
        "carrier": np.array(rows["carrier"].to_pylist(), dtype=np.object_),
    }
    found = []
    for name, array in values.items():
        array = array.reshape(shape)
        one = triton.InferInput(name, list(array.shape), utils.np_to_triton_dtype(array.dtype))
        found.append(one.set_data_from_numpy(array))
    return found


@pytest.fixture(params=["sync", "aio"])
def client(request: pytest.FixtureRequest, server: Served) -> Any:
    """Calls a method of either client and returns what it gives."""
    url = f"127.0.0.1:{server.grpc_port}"

    def call(method: str, *args: Any, **kwargs: Any) -> Any:
        if request.param == "sync":
            with triton.InferenceServerClient(url) as made:
                return getattr(made, method)(*args, **kwargs)

        async def work() -> Any:
            async with aio.InferenceServerClient(url) as made:
                return await getattr(made, method)(*args, **kwargs)

        return asyncio.run(work())

    return call


def test_health_and_metadata(client: Any) -> None:
    assert client("is_server_live") is True
    assert client("is_server_ready") is True
    assert [client("is_model_ready", name) for name in ("delays", "nothing")] == [True, False]
    assert [client("is_model_ready", "delays", version) for version in ("2", "99")] == [True, False]
    assert "binary_tensor_data" in client("get_server_metadata").extensions
    model = client("get_model_metadata", "delays")
    assert (model.name, model.platform, list(model.versions)) == ("delays", "bascule_lightgbm", ["1", "2"])
    assert [(one.name, one.datatype, list(one.shape)) for one in model.inputs][3] == ("carrier", "BYTES", [-1])
    config = client("get_model_config", "three").config
    assert [one.data_type for one in config.input] == [12, 9, 1, 13]
    assert config.HasField("response_cache")
    assert config.response_cache.enable is False
    assert list(config.output[0].dims) == [-1, 3]
    assert config.parameters["task"].string_value == "multiclass"


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_infer(client: Any, shape: tuple[int, ...]) -> None:
    result = client("infer", "delays", inputs_of(ROWS, shape), request_id="abc")
    assert result.as_numpy("probability").tolist() == EXPECTED.tolist()
    assert [value.decode() for value in result.as_numpy("label")] == ["1" if p >= 0.5 else "0" for p in EXPECTED]
    said = result.get_response()
    assert (said.id, said.model_name, said.model_version) == ("abc", "delays", "1")
    assert len(json.loads(said.parameters["prediction_ids"].string_param)) == 7


def test_versions_outputs_classes_and_compression(client: Any) -> None:
    wanted = [triton.InferRequestedOutput("probability")]
    for algorithm in ("gzip", "deflate"):
        result = client(
            "infer", "delays", inputs_of(ROWS), model_version="2", outputs=wanted, compression_algorithm=algorithm
        )
        assert result.as_numpy("probability").tolist() == bundle(seed=1).predict(ROWS).tolist()
        assert result.as_numpy("label") is None
        assert result.get_response().model_version == "2"
    top = client("infer", "three", inputs_of(ROWS), outputs=[triton.InferRequestedOutput("probability", class_count=2)])
    assert top.as_numpy("probability").shape == (7, 2)
    assert client("infer", "amount", inputs_of(ROWS)).as_numpy("value").shape == (7,)
    with_parameters = client("infer", "delays", inputs_of(ROWS), parameters={"unit": "u", "n": 3, "f": 0.5, "ok": True})
    assert with_parameters.as_numpy("probability").shape == (7,)


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "INT8", "INT64", "UINT8", "UINT64", "BOOL"])
@pytest.mark.parametrize("count", [1, 5])
def test_whole_rows_in_any_number_type(client: Any, datatype: str, count: int) -> None:
    array = np.random.default_rng(0).integers(0, 2, (count, 30)).astype(utils.triton_to_np_dtype(datatype))
    one = triton.InferInput("input", [count, 30], datatype).set_data_from_numpy(array)
    found = client("infer", "numbers", [one]).as_numpy("probability")
    assert found.tolist() == bundle(fields=NUMBERS).predictor.predict(array.astype(np.float64)).tolist()


def test_more_than_any_window_or_frame_holds(client: Any) -> None:
    array = np.random.default_rng(0).normal(size=(10_000, 30))  # 2.4 MB in, more than 65,535 bytes out
    one = triton.InferInput("input", [10_000, 30], "FP64").set_data_from_numpy(array)
    found = client("infer", "numbers", [one]).as_numpy("probability")
    assert found.tolist() == bundle(fields=NUMBERS).predictor.predict(array).tolist()


def test_statistics_and_repository(client: Any) -> None:
    before = client("get_inference_statistics", "delays", "2").model_stats[0]
    client("infer", "delays", inputs_of(ROWS), model_version="2")
    after = client("get_inference_statistics", "delays", "2").model_stats[0]
    assert after.inference_count - before.inference_count == 7
    assert after.execution_count - before.execution_count == 1
    assert after.inference_stats.success.ns > before.inference_stats.success.ns
    assert {one.name for one in client("get_inference_statistics").model_stats} >= {"delays", "three"}
    assert ("delays", "2") in {(one.name, one.version) for one in client("get_model_repository_index").models}
    client("unload_model", "amount")
    assert client("is_model_ready", "amount") is False
    with pytest.raises(utils.InferenceServerException, match="was unloaded") as unloaded:
        client("infer", "amount", inputs_of(ROWS))
    assert unloaded.value.status() == "StatusCode.UNAVAILABLE"
    client("load_model", "amount")
    assert client("is_model_ready", "amount") is True
    with pytest.raises(utils.InferenceServerException, match="registry") as brought:
        client("load_model", "amount", config="{}", files={"file:1/model.onnx": b"\xff\x00"})
    assert brought.value.status() == "StatusCode.UNIMPLEMENTED"


def test_errors_have_the_same_words_as_over_http(client: Any, server: Served) -> None:
    for model, inputs, status, text in (
        ("delay", inputs_of(ROWS), "NOT_FOUND", "Request for unknown model: 'delay'"),
        ("delays", inputs_of(ROWS)[:3], "INVALID_ARGUMENT", "no column 'carrier'"),
        ("délays", inputs_of(ROWS), "NOT_FOUND", "'délays'"),
    ):
        with pytest.raises(utils.InferenceServerException, match=text) as refused:
            client("infer", model, inputs)
        assert refused.value.status() == f"StatusCode.{status}"
    with pytest.raises(utils.InferenceServerException, match="version 9") as version:
        client("infer", "delays", inputs_of(ROWS), model_version="9")
    assert version.value.status() == "StatusCode.NOT_FOUND"
    with pytest.raises(utils.InferenceServerException, match="'x' is not a number"):
        client("infer", "delays", inputs_of(ROWS), model_version="x")


def test_a_stream_answers_in_order_and_goes_on_after_an_error(server: Served) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    with triton.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as made:
        made.start_stream(lambda result, error: answers.put((result, error)))
        for place in range(20):
            bad = place == 7
            made.async_stream_infer("delay" if bad else "delays", inputs_of(ROWS), request_id=f"r{place}")
        found = [answers.get(timeout=60) for _ in range(20)]
        made.stop_stream()
    for place, (result, error) in enumerate(found):
        if place == 7:
            assert "unknown model" in str(error)
        else:
            assert result.get_response().id == f"r{place}"
            assert result.as_numpy("probability").tolist() == EXPECTED.tolist()


@pytest.fixture
def stub(server: Served) -> Any:
    """The bare calls, for messages that no client makes."""
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:

        def call(method: str, message: Any, answer: Any = None, **options: Any) -> Any:
            path = method if method.startswith("/") else f"/inference.GRPCInferenceService/{method}"
            data = message if isinstance(message, bytes) else message.SerializeToString()
            said = channel.unary_unary(path)(data, timeout=10, **options)
            return answer.FromString(said) if answer is not None else said

        yield call


def typed(rows: Any) -> Any:
    """A request whose values are in the fields of their types, as KServe's client sends them."""
    columns = rows.to_pydict()
    distances = [np.nan if one is None else one for one in columns["distance"]]
    count = len(distances)
    contents = {
        "distance": ("FP64", {"fp64_contents": distances}),
        "hour": ("INT64", {"int64_contents": columns["hour"]}),
        "night": ("BOOL", {"bool_contents": columns["night"]}),
        "carrier": ("BYTES", {"bytes_contents": [one.encode() for one in columns["carrier"]]}),
    }
    found = pb.ModelInferRequest(model_name="delays")
    for name, (datatype, fields) in contents.items():
        found.inputs.add(name=name, datatype=datatype, shape=[count], contents=pb.InferTensorContents(**fields))
    return found


def test_typed_contents_are_answered_by_typed_contents(stub: Any) -> None:
    said = stub("ModelInfer", typed(ROWS), pb.ModelInferResponse)
    assert not said.raw_output_contents
    assert list(said.outputs[0].contents.fp64_contents) == EXPECTED.tolist()
    assert said.outputs[1].contents.bytes_contents[0] == b"0"


@pytest.mark.parametrize(
    ("datatype", "fields"),
    [("INT8", {"int_contents": [-3] * 30}), ("UINT32", {"uint_contents": [4] * 30}),
     ("UINT64", {"uint64_contents": [5] * 30}), ("FP32", {"fp32_contents": [0.5] * 30})],
)  # fmt: skip
def test_other_typed_contents(stub: Any, datatype: str, fields: Any) -> None:
    asked = pb.ModelInferRequest(model_name="numbers")
    asked.inputs.add(name="input", datatype=datatype, shape=[1, 30], contents=pb.InferTensorContents(**fields))
    said = stub("ModelInfer", asked, pb.ModelInferResponse)
    row = np.array([next(iter(fields.values()))], dtype=np.float64)
    assert list(said.outputs[0].contents.fp64_contents) == bundle(fields=NUMBERS).predictor.predict(row).tolist()


def changed(change: Any) -> Any:
    found = typed(ROWS.slice(0, 1))
    change(found)
    return found


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b"\xff", "not protobuf"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "not protobuf"),
        (b"\x0a\x05ab", "longer than the bytes"),
        (b"\x0a\x02\xff\xfe", "not UTF-8"),
        (pb.ModelInferRequest(model_name="delays"), "no inputs"),
        (changed(lambda m: m.raw_input_contents.append(b"x" * 8)), "has contents, and the request has raw"),
        (changed(lambda m: m.inputs[0].shape.__setitem__(0, 2)), "its shape"),
        (changed(lambda m: m.inputs[0].shape.__setitem__(0, -1)), "has the shape"),
        (changed(lambda m: setattr(m.inputs[0], "datatype", "FP128")), "no datatype named 'FP128'"),
        (changed(lambda m: setattr(m.inputs[0], "datatype", "INT64")), "of another type"),
        (changed(lambda m: m.inputs.add(name="x", datatype="FP64", shape=[1] * 100)), "dimensions"),
        (changed(lambda m: m.inputs[3].contents.bytes_contents.__setitem__(0, b"\xff")), "not UTF-8"),
    ],
)
def test_what_is_no_request_is_told(stub: Any, message: Any, text: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        stub("ModelInfer", message)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert text in refused.value.details()


def test_shared_memory_and_images_over_grpc(stub: Any) -> None:
    asked = pb.ModelInferRequest(model_name="numbers")
    one = asked.inputs.add(name="input", datatype="FP64", shape=[1, 30])
    one.parameters["shared_memory_region"].string_param = "region"
    with pytest.raises(grpc.RpcError) as refused:
        stub("ModelInfer", asked)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "does not have shared memory" in refused.value.details()
    asked = pb.ModelInferRequest(model_name="numbers", raw_input_contents=[bytes(range(60))])
    asked.inputs.add(name="input", datatype="UINT8", shape=[2, 5, 6, 1])
    found = stub("ModelInfer", asked, pb.ModelInferResponse)
    asked.inputs[0].shape[:] = [2, 30]
    assert found.raw_output_contents == stub("ModelInfer", asked, pb.ModelInferResponse).raw_output_contents


def test_raw_contents_of_wrong_sizes_are_told(stub: Any) -> None:
    asked = pb.ModelInferRequest(model_name="numbers", raw_input_contents=[b"\0" * 7])
    asked.inputs.add(name="input", datatype="FP64", shape=[2**40, 30])
    for shape, text in (([2**40, 30], "needs"), ([1, 30], "needs 240 bytes; 7 came"), ([-1, 30], "shape")):
        asked.inputs[0].shape[:] = shape
        with pytest.raises(grpc.RpcError) as refused:
            stub("ModelInfer", asked)
        assert text in refused.value.details()


def test_unknown_methods_branches_and_health(stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as unknown:
        stub("ModelExplain", b"")
    assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED
    for method, extension in (
        ("TraceSetting", "trace"),
        ("LogSettings", "logging"),
        ("SystemSharedMemoryStatus", "system_shared_memory"),
        ("CudaSharedMemoryRegister", "cuda_shared_memory"),
    ):
        with pytest.raises(grpc.RpcError) as elsewhere:
            stub(method, b"")
        assert elsewhere.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert f"This server does not have '{extension}'" in elsewhere.value.details()
    assert stub("/grpc.health.v1.Health/Check", b"") == b"\x08\x01"
    assert stub("/grpc.health.v1.Health/Check", b"\x0a\x06delays") == b"\x08\x01"
    assert stub("/grpc.health.v1.Health/Check", b"\x0a\x04nope") == b"\x08\x02"
    with pytest.raises(grpc.RpcError) as branch:
        stub("ModelInfer", typed(ROWS), metadata=[("x-bascule-branch", "nobranch")])
    assert branch.value.code() is grpc.StatusCode.NOT_FOUND
    assert "nobranch" in branch.value.details()


def test_another_branch_answers(stub: Any, server: Served) -> None:
    ws = server.workspace
    if "other" not in [ref.name for ref in ws.history.branches()]:
        ws.history.create_branch("other", "main")
    on_other = [("x-bascule-branch", "other")]
    said = stub("ModelInfer", typed(ROWS), pb.ModelInferResponse, metadata=on_other)
    assert list(said.outputs[0].contents.fp64_contents) == EXPECTED.tolist()
    stub("ModelReady", pb.ModelReadyRequest(name="delays"), metadata=on_other)


@pytest.mark.slow
def test_what_is_answered_is_in_the_log_as_over_http(stub: Any, server: Served) -> None:
    traced = [("traceparent", f"00-{'a1' * 16}-{'b2' * 8}-01"), ("x-bascule-caller", "ann")]
    said = stub("ModelInfer", typed(ROWS), pb.ModelInferResponse, metadata=traced)
    ids = json.loads(said.parameters["prediction_ids"].string_param)
    rows = {row["prediction_id"]: row for row in unmoved(server.workspace, "predictions").to_pylist()}
    assert [rows[one]["score"] for one in ids] == EXPECTED.tolist()
    assert {(rows[one]["caller"], rows[one]["trace_id"]) for one in ids} == {("ann", "a1" * 16)}
    assert json.loads(rows[ids[0]]["inputs"])["carrier"] == ROWS["carrier"][0].as_py()


def test_http_on_the_port_of_grpc_is_told(server: Served) -> None:
    status, _, body = Served(server.workspace, server.plane, server.grpc_port, 0).request("/v2/health/live")
    assert status == 400
    assert b"speaks gRPC" in body
