"""Requests that are scored together are told what each would be told alone."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bascule.errors import EnvironmentProblem, InputError
from bascule.serving import awaiting


@pytest.mark.parametrize("kind", [InputError, EnvironmentProblem])
def test_a_model_that_refuses_is_told_as_that(kind: Any) -> None:
    def predict(matrix: np.ndarray) -> np.ndarray:
        if (matrix < 0).any():
            raise kind("No negative ones.")
        return matrix[:, 0]

    async def asked() -> list[Any]:
        loop = asyncio.get_running_loop()
        jobs = [
            SimpleNamespace(matrix=np.array([[value]]), rows=1, put_ns=0, future=loop.create_future())
            for value in (1.0, -1.0)
        ]
        awaiting._together(SimpleNamespace(predict=predict), jobs)  # type: ignore[arg-type]
        return await asyncio.gather(*(job.future for job in jobs), return_exceptions=True)

    good, refused = asyncio.run(asked())
    assert good == [1.0]
    assert isinstance(refused, kind)
    assert str(refused).startswith("No negative ones.")
