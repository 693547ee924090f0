"""The models that are asked, and one request for each form in which they may be."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS = [f"number_{n}" for n in range(10)] + ["carrier", "origin"]
CARRIERS = ("AA", "B6", "DL", "UA", "WN")
WIDTH = 30
KINDS = {"tensor": "tensor", "bytes": "tensor", "columns": "columns", "instances": "columns"}  # and which model it asks
GRPC_PATH = "/inference.GRPCInferenceService/ModelInfer"


def path_of(kind: str) -> str:
    """Return where a form is asked over HTTP."""
    return f"/v2/models/{KINDS[kind]}/{'predict' if kind == 'instances' else 'infer'}"


def make_workspace(place: Path) -> None:
    from bascule.history import Workspace

    ws = Workspace.create(place)
    changes: dict[str, dict[str, Any]] = {}
    for kind in ("columns", "tensor"):
        data, signature = bundle(kind)
        entry = {"version": 1, "artifact": ws.store.put(data), "format": "lightgbm", "signature": signature}
        changes[f"models/{kind}"] = {"kind": "model", "name": kind, "versions": {"1": entry}, "aliases": {}}
        changes[f"deployments/{kind}"] = {
            "kind": "deployment", "name": kind, "model": kind, "traffic": [{"version": 1, "weight": 100}],
            "strategy": "all_at_once", "revision": 1, "rollout": None, "rules": {}, "trail": [],
        }  # fmt: skip
    ws.history.commit("main", changes, message="Two models")
    ws.close()


@cache
def bundle(kind: str) -> tuple[bytes, dict[str, Any]]:
    from bascule.training.threads import calm_threads

    calm_threads()  # as a server has it, before the library is loaded
    import lightgbm

    from bascule.training import Field, Output, Signature, TrainedModel, pack_model

    if kind == "columns":
        fields = [
            Field(name=name, type="varchar", categories=CARRIERS)
            if name in COLUMNS[10:]
            else Field(name=name, type="double")
            for name in COLUMNS
        ]
    else:
        fields = [Field(name=f"x{n}", type="double") for n in range(WIDTH)]
    signature = Signature(inputs=tuple(fields), output=Output(task="binary", classes=("0", "1")))
    random = np.random.default_rng(0)
    matrix = random.normal(size=(5_000, len(fields)))
    for column in signature.categorical():
        matrix[:, column] = random.integers(0, len(CARRIERS), 5_000)
    label = matrix[:, :5].sum(axis=1) + random.normal(size=5_000) > 0
    data = lightgbm.Dataset(matrix, label, categorical_feature=signature.categorical())
    booster = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, data, 100)
    model = TrainedModel(format="lightgbm", artifact=booster.model_to_string().encode(), signature=signature)
    return pack_model(model), signature.as_dict()


def request_body(kind: str) -> tuple[bytes, str]:
    """Return a request's body, and the header lines that belong to it."""
    random = np.random.default_rng(1)
    if KINDS[kind] == "tensor":
        row = random.normal(size=WIDTH).astype(np.float32)
        tensor: dict[str, Any] = {"name": "input", "shape": [1, WIDTH], "datatype": "FP32"}
        if kind == "tensor":
            return json.dumps({"inputs": [{**tensor, "data": row.tolist()}]}).encode(), ""
        header = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": row.nbytes}}]}).encode()
        return header + row.tobytes(), f"inference-header-content-length: {len(header)}\r\n"
    values: dict[str, Any] = {name: round(float(random.normal()), 4) for name in COLUMNS[:10]}
    values |= dict.fromkeys(COLUMNS[10:], "DL")
    if kind == "instances":
        return json.dumps({"instances": [values]}).encode(), ""
    inputs = [
        {"name": name, "shape": [1], "datatype": "BYTES" if name in COLUMNS[10:] else "FP64", "data": [value]}
        for name, value in values.items()
    ]
    return json.dumps({"inputs": inputs}).encode(), ""


def grpc_body() -> bytes:
    from tritonclient.grpc import service_pb2 as pb

    row = np.random.default_rng(1).normal(size=WIDTH).astype(np.float32)
    asked = pb.ModelInferRequest(model_name="tensor", raw_input_contents=[row.tobytes()])
    asked.inputs.add(name="input", datatype="FP32", shape=[1, WIDTH])
    return bytes(asked.SerializeToString())
