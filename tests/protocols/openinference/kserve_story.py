"""What KServe's own client asks, by REST and gRPC. It runs in an environment of its own: `ADDRESS GRPC_ADDRESS`."""

import asyncio
import json
import sys

http_address, grpc_address = sys.argv[1:3]
sys.argv = sys.argv[:1]  # importing kserve reads the arguments

import numpy as np  # noqa: E402
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig  # noqa: E402


def inputs(binary: bool) -> list[InferInput]:
    found = []
    for name, datatype, values in (
        ("distance", "FP64", [500.0, 2000.0]),
        ("hour", "INT64", [1, 20]),
        ("night", "BOOL", [True, False]),
        ("carrier", "BYTES", ["AA", "UA"]),
    ):
        one = InferInput(name=name, shape=[2], datatype=datatype, data=None if binary else values)
        if binary:
            one.set_data_from_numpy(np.array(values, dtype=object if datatype == "BYTES" else None), binary_data=True)
        found.append(one)
    return found


def probabilities(response) -> list[float]:
    return next(one for one in response.outputs if one.name == "probability").as_numpy().tolist()


async def main() -> None:
    said = {}
    rest = InferenceRESTClient(RESTConfig(protocol="v2", timeout=20))
    said["live"] = await rest.is_server_live(http_address)
    said["ready"] = await rest.is_server_ready(http_address)
    said["model"] = await rest.is_model_ready(http_address, "delays")
    said["no model"] = await rest.is_model_ready(http_address, "nope")
    for name, binary in (("rest", False), ("rest binary", True)):
        asked = InferRequest(model_name="delays", infer_inputs=inputs(binary), request_id="r1")
        said[name] = probabilities(await rest.infer(http_address, asked, model_name="delays"))
    try:
        await rest.infer(http_address, InferRequest(model_name="x", infer_inputs=inputs(False)), model_name="x")
    except Exception as error:
        said["rest error"] = str(error)
    await rest.close()
    first = InferenceRESTClient(RESTConfig(timeout=20))  # what is not told otherwise speaks KServe's first protocol
    rows = {"instances": [[500.0, 1, True, "AA"], [2000.0, 20, False, "UA"]]}
    said["first live"] = await first.is_server_live(http_address)
    said["first model"] = await first.is_model_ready(http_address, "delays")
    found = await first.infer(http_address, rows, model_name="delays")
    said["first"] = [one["probability"] for one in found["predictions"]]
    told = await first.explain(http_address, "delays", rows)
    said["first explained"] = all("explanation" in one for one in told["predictions"])
    await first.close()
    async with InferenceGRPCClient(grpc_address) as grpc:
        said["grpc live"] = await grpc.is_server_live()
        said["grpc ready"] = await grpc.is_server_ready()
        said["grpc model"] = await grpc.is_model_ready("delays")
        for name, binary in (("grpc", False), ("grpc raw", True)):
            asked = InferRequest(model_name="delays", infer_inputs=inputs(binary), request_id="r1")
            said[name] = probabilities(await grpc.infer(asked))
        try:
            await grpc.infer(InferRequest(model_name="x", infer_inputs=inputs(False)))
        except Exception as error:
            said["grpc error"] = str(error)
    print(json.dumps(said))


asyncio.run(main())
