"""What the prediction log does not keep, and what goes on without it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bascule.delivery import planned
from bascule.history import Workspace
from bascule.lake.masking import key_of
from bascule.project.shipping import deployment_of
from bascule.serving import DataPlane, PredictionLog, Query, Rows, record, rows_of_records, score, unmoved
from bascule.serving.ids import IdSource
from bascule.serving.log.redaction import Redaction, canonical
from bascule.serving.model import LoadedModel
from bascule.serving.scoring import ScoringFailed
from tests.serving.conftest import NUMBERS, bundle, bundle_bytes, flights, put_deployment, put_versions

ROWS = flights(3, seed=4).to_pylist()


def asked(tmp_path: Path, log: Mapping[str, Any], rows: Rows, **model: Any) -> list[dict[str, Any]]:
    """Ask a deployment with these rules and return what is in its log."""
    ws = Workspace.create(tmp_path / "project")
    put_versions(ws, {1: bundle_bytes(**model)})
    put_deployment(ws, {1: 100})
    value = ws.history.read("main", "deployments/delays")
    assert value is not None
    ws.history.commit("main", {"deployments/delays": planned(value, "delays", "delays", log=log)}, message="Rules")
    plane = DataPlane(ws)
    answer = score(plane.open("main").deployment("delays"), Query(rows))
    written = PredictionLog(ws.log_folder)
    record(answer, IdSource(), written)
    written.journal.close()
    found = unmoved(ws, "predictions").to_pylist()
    assert [row["score"] for row in found] == answer.outputs
    ws.close()
    return found


def test_fields_are_left_out_or_hashed(tmp_path: Path) -> None:
    log = {"fields": {"distance": "drop", "carrier": "hash"}}
    found = asked(tmp_path, log, rows_of_records([*ROWS, ROWS[0]]))
    assert [row["score"] for row in found[:3]] == bundle().predict(flights(3, seed=4)).tolist()
    text = "".join(row["inputs"] + row["features"] for row in found)
    assert "distance" not in text
    assert not any(json.dumps(row["carrier"]) in text for row in ROWS)
    first = json.loads(found[0]["features"])
    assert set(first) == {"hour", "night", "carrier"}
    assert (first["hour"], len(first["carrier"])) == (ROWS[0]["hour"], 32)
    assert json.loads(found[3]["inputs"])["carrier"] == first["carrier"]


def test_whole_rows_of_numbers(tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).normal(size=(2, 30))
    found = asked(tmp_path, {"fields": {"x3": "drop"}}, Rows(2, None, matrix), fields=NUMBERS)
    kept = json.loads(found[1]["inputs"])
    assert "x3" not in kept
    assert kept["x4"] == matrix[1, 4]


def test_beyond_the_sample_only_the_answer_is_kept(tmp_path: Path) -> None:
    found = asked(tmp_path, {"sample": 0.0}, rows_of_records(ROWS))
    assert [(row["inputs"], row["features"]) for row in found] == [("{}", "{}")] * 3
    assert all(row["prediction_id"] and row["output"] for row in found)


def test_of_a_failure_the_words_are_not_kept_where_fields_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("no such card: 4111")

    monkeypatch.setattr(LoadedModel, "score", fails)
    ws = Workspace.create(tmp_path / "project")
    put_versions(ws, {1: bundle_bytes()})
    put_deployment(ws, {1: 100})
    value = ws.history.read("main", "deployments/delays")
    assert value is not None
    told = []
    for log in ({"fields": {"distance": "drop"}}, {"sample": 1.0}):
        ws.history.commit("main", {"deployments/delays": planned(value, "delays", "delays", log=log)}, message="Rules")
        written = PredictionLog(ws.log_folder)
        answer = score(DataPlane(ws).open("main").deployment("delays"), Query(rows_of_records(ROWS[:1])))
        with pytest.raises(ScoringFailed, match="4111"):  # who asked is told
            record(answer, IdSource(), written)
        written.journal.close()
        told.append({row["output"] for row in unmoved(ws, "predictions").to_pylist()} - set().union(*told))
    ws.close()
    assert [len(one) for one in told] == [1, 1]
    assert "ValueError (its words are not kept" in (kept := told[0].pop())
    assert "4111" not in kept
    assert "no such card: 4111" in told[1].pop()


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("the step 'after' failed: KeyError: '4111'", "the step 'after' failed: KeyError ("),
        ("the step 'route' chose '4111'; there are: a", "It failed ("),
        ("ValueError", "ValueError ("),
    ],
)
def test_the_kind_of_a_failure(words: str, kind: str) -> None:
    kept = Redaction({"a": "hash"}, 1.0, b"").failure(words)
    assert kept.startswith(kind)
    assert "4111" not in kept


def test_how_a_worker_was_lost_is_kept_for_it_is_no_words_of_the_model() -> None:
    rules = Redaction({"card": "drop"}, 1.0, b"")
    lost = "its worker ended with code 3; another one takes its place"
    assert rules.failure(lost) == lost
    assert "3" not in rules.failure("RuntimeError: its worker ended with code 3")


def test_a_sample_is_a_share() -> None:
    rules = Redaction({}, 0.25, b"")
    kept = sum(bool(rules.applied({"a": [1]}, None, ["a"], {})[0]) for _ in range(4_000))
    assert 800 < kept < 1_200


def test_joined_features_and_missing_values() -> None:
    rules = Redaction({"key": "hash", "a": "drop", "b": "hash"}, 1.0, b"secret")
    inputs, features = rules.applied({"key": ["x", None]}, [[1.5, 2, 3], [None, float("nan"), 4]], ["a", "b", "c"], {})
    assert isinstance(inputs, dict)
    assert inputs["key"][0] != "x"
    assert inputs["key"][1] is None
    assert features is not None
    assert [row[0] for row in features] == [None, None]
    assert [row[2] for row in features] == [3, 4]
    assert (len(features[0][1]), features[1][1]) == (32, None)
    assert rules.applied({"key": ["x"]}, None, [], {})[0] == {"key": [inputs["key"][0]]}
    assert Redaction({"key": "hash"}, 1.0, b"other").applied({"key": ["x"]}, None, [], {})[0] != {
        "key": [inputs["key"][0]]
    }


@pytest.mark.parametrize(
    ("kind", "values", "text"),
    [
        ("bigint", (7, 7.0, "7", "7.0", "7e0"), "7"),
        ("INTEGER", (-7, -7.0, "-7"), "-7"),
        ("bigint", (2**53 + 1, str(2**53 + 1)), str(2**53 + 1)),
        ("bigint", (7.5, "7.5"), "7.5"),
        ("double", (7, 7.0, "7", "7.0"), "7.0"),
        ("double", (0.0, -0.0, 0), "0.0"),
        ("double", (1e16, "1e16"), "1e+16"),
        ("double", (float("inf"),), "inf"),
        ("boolean", (True, 1, 1.0, "true", "True"), "true"),
        ("boolean", (False, 0, 0.0, "false"), "false"),
        ("bigint", (True, 1, 1.0), "1"),
        ("varchar", ("7", 7, 7.0), "7"),
        ("varchar", ("7.0",), "7.0"),
        ("varchar", ("0012",), "0012"),
        ("bigint", ("0012",), "0012"),
        ("varchar", ("True",), "True"),
        ("", ("7.0",), "7.0"),
        ("DATE", ("2026-01-01",), "2026-01-01"),
    ],
)
def test_equal_values_of_a_column_have_one_form(kind: str, values: tuple[Any, ...], text: str) -> None:
    assert {canonical(value, kind) for value in values} == {text}


@pytest.mark.parametrize(
    ("kind", "arrow", "sent"), [("bigint", "int64", 7.0), ("double", "float64", 7), ("boolean", "bool", 1)]
)
def test_the_hash_of_a_number_is_the_one_of_masks(
    local_workspace: Workspace, kind: str, arrow: str, sent: float
) -> None:
    import duckdb
    import pyarrow as pa

    from bascule.lake.masking import hashed

    key = key_of(local_workspace)
    held = pa.table({"a": pa.array([sent]).cast(arrow)})  # noqa: F841
    shown = duckdb.sql("select a::varchar as a from held").to_arrow_table()["a"].combine_chunks()
    assert Redaction({"a": "hash"}, 1.0, key).kept("a", sent, kind) == hashed(shown, key).to_pylist()[0]


@pytest.mark.parametrize("how", ["drop", "hash"])
def test_what_a_field_adds_tells_its_value_and_is_not_kept_either(how: str) -> None:
    rules = Redaction({"mass": how}, 1.0, b"secret")
    told = {"base": 1.0, "contributions": {"mass": -0.04, "year": 0.5}}
    assert rules.explained([told]) == [{"base": 1.0, "contributions": {"year": 0.5}, "left_out": 1}]
    several = rules.explained([{"method": "shap", "classes": {"a": told, "b": told}}])
    assert several is not None
    assert "mass" not in str(several)
    assert Redaction({}, 0.5, b"").explained([told]) == [told]


def test_the_hash_is_the_one_of_masks(local_workspace: Workspace) -> None:
    import pyarrow as pa

    from bascule.lake.masking import hashed

    key = key_of(local_workspace)
    inputs, _ = Redaction({"a": "hash"}, 1.0, key).applied({"a": ["Oslo"]}, None, [], {})
    assert isinstance(inputs, dict)
    assert inputs["a"] == hashed(pa.array(["Oslo"]), key).to_pylist()


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("", None),
        (
            'log.fields = { carrier = "hash" }\nlog.sample = 0.5',
            {"fields": {"carrier": "hash"}, "sample": 0.5, "explain": 0.0},
        ),
    ],
)
def test_the_project_file_says_it(tmp_path: Path, written: str, kept: Any) -> None:
    from bascule.project import parse_project

    text = '[project]\nname = "p"\n[training]\nlabel = "late"\npopulation = "select 1"\n[model]\nname = "delays"\n'
    file = parse_project(f'{text}[deployment]\nname = "delays"\n{written}\n', tmp_path / "bascule.toml")
    assert deployment_of(None, file).get("log") == kept
