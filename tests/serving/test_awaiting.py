"""Requests that are scored together are told what each would be told alone."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bascule.errors import EnvironmentProblem, InputError
from bascule.serving import awaiting
from bascule.serving.model import LoadedModel
from bascule.serving.rows import Rows
from bascule.serving.service import Service
from tests.serving.conftest import bundle


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


class Empty:
    """Refuses to be asked about no rows, as scikit-learn does."""

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        if not len(matrix):
            raise ValueError("Found array with 0 sample(s)")
        return matrix[:, 0]


@pytest.mark.parametrize(("task", "shape"), [("binary", (0,)), ("multiclass", (0, 3))])
def test_no_rows_are_answered_by_none_whatever_the_model_makes_of_them(task: str, shape: tuple[int, ...]) -> None:
    model = LoadedModel("m", 1, bundle(task), Empty())  # type: ignore[arg-type]
    nothing = np.empty((0, model.width))
    model.numeric = True

    async def asked() -> list[Any]:
        loop = asyncio.get_running_loop()
        jobs = [
            SimpleNamespace(matrix=np.ones((rows, model.width)), rows=rows, put_ns=0, future=loop.create_future())
            for rows in (0, 2)
        ]
        awaiting._together(model, jobs[:1])  # type: ignore[arg-type]
        if task == "binary":
            awaiting._together(model, jobs)  # type: ignore[arg-type]
        return [job.future.result() for job in jobs if job.future.done()]

    assert [found.tolist() for found in asyncio.run(asked())] == ([[], [1.0, 1.0]] if task == "binary" else [[]])
    assert model.predict(nothing).shape == shape
    assert model.score(Rows(0, None, nothing), 0) == ([], None, None)


class Counting:
    """Notes how many rows it is asked about at once."""

    lane = None

    def __init__(self) -> None:
        self.asked: list[int] = []

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        self.asked.append(len(matrix))
        return matrix[:, 0]


def test_as_many_rows_are_scored_together_as_the_deployment_says() -> None:
    model = Counting()

    async def answered() -> None:
        waiting, deployment = awaiting.Awaiting(), SimpleNamespace(service=Service(batch=4))
        jobs = [
            SimpleNamespace(matrix=np.ones((rows, 1)), rows=rows, put_ns=0, future=asyncio.Future())
            for rows in (1, 2, 1, 1, 9, 3, 1)
        ]
        for job in jobs:
            waiting._put(SimpleNamespace(model=model, deployment=deployment), job)  # type: ignore[arg-type]
        await asyncio.gather(*(job.future for job in jobs))

    asyncio.run(answered())
    assert model.asked == [4, 1, 9, 4]
