"""A matrix of doubles is scored and logged from the body that it came in; a model that writes to it has its own."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from bascule.history import Workspace
from bascule.protocols.openinference.inputs import read_request
from bascule.serving import IdSource, PredictionLog, Query, record, score
from tests.serving.conftest import NUMBERS, bundle_bytes, put_deployment, put_versions
from tests.serving.test_predictions import deployment_of, logged


class Writes:
    """A runtime that takes its matrix for its own."""

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        found = matrix.sum(axis=1)
        matrix[:] = -1.0
        return found


def body_of(matrix: np.ndarray, padding: int) -> tuple[bytes, bytes]:
    tensor = {
        "name": "rows",
        "shape": list(matrix.shape),
        "datatype": "FP64",
        "parameters": {"binary_data_size": matrix.nbytes},
    }
    header = json.dumps({"inputs": [tensor]}).encode() + b" " * padding
    return header + matrix.tobytes(), str(len(header)).encode()


@pytest.mark.parametrize("padding", range(8))  # whatever the address is that doubles begin at
@pytest.mark.parametrize("writes", [False, True])
def test_a_body_is_read_and_never_written(served: Workspace, padding: int, writes: bool) -> None:
    put_versions(served, {1: bundle_bytes(fields=NUMBERS)}, model="numbers")
    put_deployment(served, {1: 100}, name="numbers", model="numbers")
    deployment, log = deployment_of(served, "numbers"), PredictionLog(served.log_folder)
    model: Any = deployment.first
    matrix = np.random.default_rng(0).normal(size=(700, model.width))
    wanted = matrix.sum(axis=1) if writes else model.runtime.predict(matrix.copy())
    if writes:
        model.runtime = Writes()
    body, length = body_of(matrix, padding)
    before = bytes(bytearray(body))
    _, rows = read_request(body, length, model)
    assert rows.matrix is not None
    assert np.shares_memory(rows.matrix, np.frombuffer(body, np.uint8))
    answer = score(deployment, Query(rows))
    record(answer, IdSource(), log)
    log.journal.close()
    assert body == before
    assert answer.outputs == wanted.tolist()
    names = model.encoder.names
    assert [json.loads(row["inputs"]) for row in logged(served.log_folder)] == [
        dict(zip(names, row, strict=True)) for row in matrix.tolist()
    ]
