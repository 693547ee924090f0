"""The prediction log as rows: everything that was logged, under its names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bascule.catalog import now
from bascule.history import Workspace
from bascule.serving import IdSource, PredictionLog, Query, Rows, ScoringFailed, record, score
from bascule.serving.dataplane import DataPlane
from bascule.serving.deployment import ServedDeployment
from bascule.serving.ids import logged as ids_logged
from bascule.serving.log import JournalLimits, predictions, read_segment
from bascule.serving.log.segment import segment_paths
from tests.serving.conftest import NUMBERS, bundle_bytes, put_deployment, put_versions

ROW: dict[str, list[Any]] = {"distance": [1000.5], "hour": [12], "night": [None], "carrier": ["UA"]}


def deployment_of(ws: Workspace, name: str = "delays") -> ServedDeployment:
    return DataPlane(ws).open("main").deployments[name]


def logged(folder: Path) -> list[dict[str, Any]]:
    payloads = [payload for path in segment_paths(folder / "predictions") for payload in read_segment(path).payloads]
    found: list[dict[str, Any]] = predictions.to_arrow(payloads).to_pylist()
    return found


def log_one(ws: Workspace, deployment: ServedDeployment, query: Query) -> dict[str, Any]:
    log = PredictionLog(ws.log_folder)
    answer = score(deployment, query)
    record(answer, IdSource(), log)
    log.journal.close()
    found = logged(ws.log_folder)
    assert [row["prediction_id"] for row in found] == list(answer.ids)
    return found[0]


def test_a_row_by_columns(served: Workspace) -> None:
    before = now()
    row = log_one(served, deployment_of(served), Query(Rows(1, ROW), caller="tower", trace_id="ab" * 16))
    assert before <= row["at"].timestamp() * 1e6 <= now()
    assert row["event_time"] == row["at"]
    assert json.loads(row["inputs"]) == {"distance": 1000.5, "hour": 12, "night": None, "carrier": "UA"}
    assert json.loads(row["features"]) == {"distance": 1000.5, "hour": 12, "night": None, "carrier": "UA"}
    assert json.loads(row["output"]) == {"probability": row["score"], "label": "1" if row["score"] >= 0.5 else "0"}
    expected = {
        "branch": "main", "deployment": "delays", "revision": 1, "model": "delays", "version": 1, "arm": "stable",
        "probability": 1.0, "caller": "tower", "trace_id": "ab" * 16, "shadow": None,
        "commit_id": served.history.resolve("main").id,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected


@pytest.mark.slow
def test_a_large_matrix_is_logged_as_a_small_one(served: Workspace) -> None:
    put_versions(served, {1: bundle_bytes(fields=NUMBERS)}, model="numbers")
    put_deployment(served, {1: 100}, name="numbers", model="numbers")
    deployment, log, ids = deployment_of(served, "numbers"), PredictionLog(served.log_folder), IdSource()
    matrix = np.random.default_rng(0).normal(size=(4_000, deployment.first.width))
    sizes = (2, 4_000, 1, 4_000)
    answers = [score(deployment, Query(Rows(size, None, matrix[:size].copy()))) for size in sizes]
    for answer in answers:
        record(answer, ids, log)
    for answer in answers:
        answer.query.rows.matrix = None  # the log holds what it still needs
    log.journal.commit()
    found = logged(served.log_folder)
    assert [row["prediction_id"] for row in found] == [one for answer in answers for one in answer.ids]
    wanted = [
        dict(zip(deployment.first.encoder.names, row, strict=True)) for size in sizes for row in matrix[:size].tolist()
    ]
    assert [json.loads(row["inputs"]) for row in found] == wanted
    assert [row["score"] for row in found] == [output for answer in answers for output in answer.outputs or ()]
    (path,) = segment_paths(served.log_folder / "predictions")
    kinds = [predictions.is_context(payload) for payload in read_segment(path).payloads]
    assert kinds == [True, False, False, False, False]
    log.journal.close()


def test_many_rows_and_all_tasks(served: Workspace) -> None:
    for task in ("multiclass", "regression"):
        put_versions(served, {1: bundle_bytes(task)}, model=task)
        put_deployment(served, {1: 100}, name=task, model=task)
    log, ids = PredictionLog(served.log_folder), IdSource()
    answers = {}
    for name in ("delays", "multiclass", "regression"):
        query = Query(Rows(3, {column: values * 3 for column, values in ROW.items()}))
        answers[name] = score(deployment_of(served, name), query)
        record(answers[name], ids, log)
    log.journal.close()
    found = logged(served.log_folder)
    assert len({row["prediction_id"] for row in found}) == 9
    for row in found:
        outputs = answers[row["deployment"]].outputs
        assert outputs is not None
        output = json.loads(row["output"])
        if row["deployment"] == "regression":
            assert output == {"value": outputs[0]}
            assert row["score"] == outputs[0]
        elif row["deployment"] == "multiclass":
            assert output["probability"] == outputs[0]
            assert row["score"] == max(outputs[0])
            assert output["label"] in ("early", "late", "on time")


def test_whole_rows_of_numbers(served: Workspace) -> None:
    put_versions(served, {1: bundle_bytes(fields=NUMBERS)}, model="numbers")
    put_deployment(served, {1: 100}, name="numbers", model="numbers")
    matrix = np.random.default_rng(0).normal(size=(2, 30))
    matrix[0, 3] = np.nan
    row = log_one(served, deployment_of(served, "numbers"), Query(Rows(2, None, matrix)))
    values = json.loads(row["features"])
    assert list(values) == [f"x{n}" for n in range(30)]
    assert values["x3"] is None
    assert values["x4"] == matrix[0, 4]
    assert row["inputs"] == row["features"]


def test_both_arms_score_during_a_rollout_and_both_are_logged(served: Workspace) -> None:
    put_deployment(served, {1: 50, 2: 50}, canary=(1, 2), shadow=True)
    deployment = deployment_of(served)
    log, ids = PredictionLog(served.log_folder), IdSource()
    for number in range(60):
        record(score(deployment, Query(Rows(1, ROW), unit=f"u{number}")), ids, log)
    record(score(deployment, Query(Rows(1, ROW), version=1)), ids, log)
    log.journal.close()
    *found, pinned = logged(served.log_folder)
    scores = {1: set[float](), 2: set[float]()}
    for row in found:
        other = json.loads(row["shadow"])
        assert row["probability"] == 0.5
        assert (row["arm"], row["version"], other["version"]) in {("stable", 1, 2), ("canary", 2, 1)}
        scores[row["version"]].add(row["score"])
        scores[other["version"]].add(other["score"])
    assert {row["arm"] for row in found} == {"stable", "canary"}
    assert len(scores[1]) == len(scores[2]) == 1
    assert scores[1] != scores[2]
    assert (pinned["arm"], pinned["probability"], pinned["shadow"]) == ("pinned", None, None)


def test_the_same_unit_gets_the_same_arm(served: Workspace) -> None:
    put_deployment(served, {1: 50, 2: 50}, canary=(1, 2))
    deployment = deployment_of(served)
    for unit in ("a", "b", "c", "d"):
        assert len({score(deployment, Query(Rows(1, ROW), unit=unit)).arm.version for _ in range(10)}) == 1
    assert len({score(deployment, Query(Rows(1, ROW))).arm.version for _ in range(60)}) == 2


def test_what_was_assigned_to_an_arm_is_logged(served: Workspace) -> None:
    put_deployment(served, {1: 50, 2: 50}, canary=(1, 2))
    deployment = deployment_of(served)
    log, ids = PredictionLog(served.log_folder), IdSource()
    for unit in ("a", "b", "a", None, None):
        record(score(deployment, Query(Rows(1, ROW), unit=unit)), ids, log)
    record(score(deployment, Query(Rows(1, ROW), version=1)), ids, log)
    put_deployment(served, {1: 100})
    record(score(deployment_of(served), Query(Rows(1, ROW), unit="a")), ids, log)
    log.journal.close()
    a, b, again, *rest = [row["unit"] for row in logged(served.log_folder)]
    assert a == again == deployment.split.place("a") != b == deployment.split.place("b")
    first, second, pinned, alone = rest
    assert len({a, b, first, second}) == 4  # what names no unit is one by itself
    assert (pinned, alone) == (None, None)


def test_a_model_that_fails_is_logged_and_told(served: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = deployment_of(served)
    monkeypatch.setattr(deployment.first, "runtime", None)
    log = PredictionLog(served.log_folder)
    answer = score(deployment, Query(Rows(1, ROW)))
    with pytest.raises(ScoringFailed, match="Version 1 of model 'delays' failed"):
        record(answer, IdSource(), log)
    log.journal.close()
    (row,) = logged(served.log_folder)
    assert row["score"] is None
    assert "AttributeError" in json.loads(row["output"])["error"]
    assert json.loads(row["inputs"])["carrier"] == "UA"


def test_every_segment_can_be_read_by_itself(served: Workspace) -> None:
    deployment = deployment_of(served)
    log, ids = PredictionLog(served.log_folder, JournalLimits(segment_bytes=1_000)), IdSource()
    for _ in range(30):
        record(score(deployment, Query(Rows(1, ROW))), ids, log)
        log.journal.commit()
    log.journal.close()
    paths = segment_paths(served.log_folder / "predictions")
    assert len(paths) > 3
    assert sum(predictions.to_arrow(read_segment(path).payloads).num_rows for path in paths) == 30


def test_an_empty_segment_has_the_columns() -> None:
    assert predictions.to_arrow([]).schema == predictions.SCHEMA


@pytest.mark.parametrize("width", [1, 30, 40, 9_000])
@pytest.mark.parametrize("arm", [("stable", 1.0), ("canary", 0.25), ("pinned", None)])
def test_a_row_that_is_encoded_at_once_reads_as_its_fields_do(width: int, arm: tuple[str, float | None]) -> None:
    context = predictions.Context(70_000, "main", "c", "d", 1, "m", 1, ("x",) * width, "binary", ("0", "1"))
    row, made = np.arange(width, dtype="<f8").tobytes(), IdSource().next(now())
    for at, latency, output in ((now(), 12, 0.25), (0, 2**32 - 1, 1e300)):
        fields = (
            context.number,
            [made],
            at,
            None,
            *arm,
            None,
            None,
            latency,
            row,
            None,
            [output],
            None,
            None,
            None,
            None,
        )
        encoded = predictions.row_record(context, *arm, width)(made.encode(), at, latency, row, output)
        assert not predictions.is_context(encoded)
        assert predictions._decode(encoded) == predictions._decode(predictions._encode((1, *fields)))
        assert predictions._decode(encoded) == predictions.Served(*fields)


def test_records_of_an_earlier_release_read_as_those_of_this_one(served: Workspace) -> None:
    """They had each id as a text, and each output as a float of msgpack."""
    context = predictions.Context(1, "main", "c", "d", 1, "m", 1, ("x",), "binary", ("0", "1"))
    ids, outputs = IdSource().many(now(), 3), [0.25, 0.5, 1.0]
    told = context.number, now(), None, "stable", 1.0, None, None, 7, np.arange(3, dtype="<f8").tobytes(), None
    rest = None, None, None, None
    old = predictions._encode((1, told[0], list(ids), *told[1:], outputs, *rest))
    new = predictions._encode((1, told[0], ids_logged(ids), *told[1:], np.array(outputs).tobytes(), *rest))
    tables = [predictions.to_arrow([predictions._encode(context), record]) for record in (old, new)]
    assert len(new) < len(old)
    assert tables[0] == tables[1]
    assert tables[0]["prediction_id"].to_pylist() == list(ids)
    assert tables[0]["score"].to_pylist() == outputs
