"""Which predictions the truth about an entity is of."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from bascule.history import Workspace
from bascule.serving.log import predictions
from bascule.serving.log.entities import of_entities
from bascule.serving.log.truths import Truth


@pytest.mark.parametrize(
    ("asked", "told", "same"),
    [
        (7, "7.0", True),
        (7.5, "7.5", True),
        (1e18, "1000000000000000000", True),
        (True, "true", True),
        ("UA", "UA", True),
        (9007199254740993, "9007199254740993", True),
        (9007199254740993, "9007199254740992", False),  # as doubles they are the same
        (2**64 - 1, str(2**64 - 1), True),
        (2**64 - 1, str(2**64 - 2), False),
        ("0012", "12", False),
        ("12e0", "12", True),
        ("1e999", "2e999", False),
        ("inf", "Infinity", False),
    ],
)
def test_an_entity_is_that_of_the_request(local_workspace: Workspace, asked: Any, told: str, same: bool) -> None:
    row = dict.fromkeys(predictions.SCHEMA.names)
    row |= {"prediction_id": "pred_1", "deployment": "d", "event_time": 1, "inputs": json.dumps({"key": asked})}
    here = pa.table({name: pa.array([row[name]], predictions.SCHEMA.field(name).type) for name in row})
    found = of_entities(local_workspace, [Truth("", "d", 1.0, 2, 3, {"key": told})], lambda *_: here)
    assert found.num_rows == same
