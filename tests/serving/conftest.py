"""Workspaces with a model behind a deployment: a LightGBM model of delays with numbers, a boolean and a category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bascule.history import Commit, Workspace
from bascule.training import (
    Field,
    ModelBundle,
    Output,
    Signature,
    TrainedModel,
    encode,
    fit_linear,
    pack_model,
    unpack_model,
)

CARRIERS = ("AA", "B6", "DL", "UA")
COLUMNS = (
    Field(name="distance", type="double"),
    Field(name="hour", type="bigint"),
    Field(name="night", type="boolean"),
    Field(name="carrier", type="varchar", categories=CARRIERS),
)
NUMBERS = tuple(Field(name=f"x{place}", type="double") for place in range(30))
CLASSES: dict[str, tuple[str, ...]] = {
    "binary": ("0", "1"),
    "multiclass": ("early", "late", "on time"),
    "regression": (),
}


def flights(count: int, seed: int = 0) -> pa.Table:
    """Rows that fit `COLUMNS`, with some values missing."""
    random = np.random.default_rng(seed)
    hours = random.integers(0, 24, count)
    return pa.table(
        {
            "distance": pa.array(random.normal(1000, 300, count).round(1), mask=random.random(count) < 0.1),
            "hour": pa.array(hours, pa.int64()),
            "night": pa.array((hours < 6).tolist(), pa.bool_()),
            "carrier": pa.array(random.choice([*CARRIERS, "ZZ"], count).tolist(), pa.string()),
        }
    )


@cache
def bundle_bytes(task: str = "binary", seed: int = 0, fields: tuple[Field, ...] = COLUMNS, rounds: int = 20) -> bytes:
    """A trained model as a file. Models of different seeds give different answers."""
    import lightgbm

    signature = Signature(inputs=fields, output=Output(task=task, classes=CLASSES[task]))  # type: ignore[arg-type]
    random = np.random.default_rng(seed)
    shape = (2_000, len(fields))
    matrix = encode(signature, flights(shape[0], seed)) if fields is COLUMNS else random.normal(size=shape)
    score = np.nan_to_num(matrix[:, 0]) / 500 + (matrix[:, 1] if len(fields) > 1 else 0) / 12
    score = score + random.normal(0, 0.5, len(score))
    score = (score - score.mean()) / score.std()
    label = {"binary": score > 0, "multiclass": np.digitize(score, [-0.5, 0.5]), "regression": score}[task]
    params: dict[str, Any] = {"objective": task, "verbose": -1, "num_threads": 1, "num_leaves": 15, "seed": seed}
    if task == "multiclass":
        params["num_class"] = 3
    data = lightgbm.Dataset(matrix, label, categorical_feature=signature.categorical())
    booster = lightgbm.train(params, data, rounds)
    trained = TrainedModel(
        format="lightgbm",
        artifact=booster.model_to_string().encode(),
        signature=signature,
        params={"seed": seed},
        metrics_history=(),
        trials=(),
        baseline=fit_linear(matrix, np.asarray(label, dtype=float), signature),
    )
    return pack_model(trained)


def bundle(task: str = "binary", seed: int = 0, fields: tuple[Field, ...] = COLUMNS) -> ModelBundle:
    """The same, read."""
    return unpack_model(bundle_bytes(task, seed, fields))


def put_versions(ws: Workspace, files: Mapping[int, bytes], model: str = "delays", branch: str = "main") -> None:
    """Register versions of a model as the registry does, without its records."""
    found = ws.history.read(branch, f"models/{model}") or {
        "kind": "model",
        "name": model,
        "versions": {},
        "aliases": {},
    }
    versions = dict(found["versions"])
    for version, data in files.items():
        versions[str(version)] = {
            "id": f"mv_{version}",
            "version": version,
            "artifact": ws.store.put(data),
            "format": "lightgbm",
            "signature": unpack_model(data).signature.as_dict(),
            "training_set": "0" * 64,
            "evaluation_id": "eval_0",
            "passed": True,
            "metrics": {},
            "created_at": 0,
            "created_by": "ann",
        }
    ws.history.commit(branch, {f"models/{model}": {**found, "versions": versions}}, message="Register")


def put_deployment(
    ws: Workspace,
    traffic: Mapping[int, int],
    *,
    name: str = "delays",
    model: str = "delays",
    branch: str = "main",
    canary: tuple[int, int] | None = None,
    shadow: bool = False,
    trail: Sequence[int] = (),
) -> Commit:
    """Deploy as the delivery room does. `canary` is (stable, canary)."""
    before = ws.history.read(branch, f"deployments/{name}")
    rollout = None
    if canary is not None:
        rollout = {"id": "canary_1", "stable": canary[0], "canary": canary[1], "steps": [10, 100], "step": 0,
                   "started_at": 0, "shadow": shadow, "guardrails": {}}  # fmt: skip
    value = {
        "kind": "deployment",
        "name": name,
        "model": model,
        "traffic": [{"version": version, "weight": weight} for version, weight in traffic.items()],
        "strategy": "canary",
        "revision": (before["revision"] if before else 0) + 1,
        "rollout": rollout,
        "rules": {},
        "trail": [{"traffic": [{"version": version, "weight": 100}], "revision": 0} for version in trail],
    }
    return ws.history.commit(branch, {f"deployments/{name}": value}, message="Deploy")


@pytest.fixture
def served(tmp_path: Path) -> Workspace:
    """A workspace with versions 1 and 2 of `delays`; version 1 has all traffic."""
    ws = Workspace.create(tmp_path / "project")
    put_versions(ws, {1: bundle_bytes(seed=0), 2: bundle_bytes(seed=1)})
    put_deployment(ws, {1: 100})
    return ws
