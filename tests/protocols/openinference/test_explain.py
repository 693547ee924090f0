"""Answers that say why: each input's share of a score, from the model itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bascule.delivery import planned
from bascule.errors import InputError
from bascule.history import Workspace
from bascule.serving import LoadedModel, load_model, unmoved
from bascule.serving.explaining import check_method
from bascule.training import Output, Signature, TrainedModel, encode, fit_linear, pack_model, unpack_model
from bascule.training.linear import write_linear
from tests.protocols.openinference.conftest import Served, serving
from tests.protocols.openinference.test_grpc import pb, stub, typed  # noqa: F401
from tests.serving.conftest import CLASSES, COLUMNS, bundle, bundle_bytes, flights, put_deployment, put_versions

ROWS = flights(4, seed=4)
RECORDS = ROWS.to_pylist()
NAMES = ["distance", "hour", "night", "carrier"]


def raw(shares: np.ndarray) -> np.ndarray:
    return np.log(shares / (1 - shares))


def linear_bytes(task: str) -> bytes:
    signature = Signature(inputs=COLUMNS, output=Output(task=task, classes=CLASSES[task]))  # type: ignore[arg-type]
    matrix = encode(signature, flights(500))
    label = np.nan_to_num(matrix[:, 0]) / 100 + matrix[:, 1]
    if task != "regression":
        label = np.digitize(label, np.quantile(label, [0.5] if task == "binary" else [0.3, 0.6])).astype(float)
    model = fit_linear(matrix, label, signature)
    return pack_model(TrainedModel(format="linear", artifact=write_linear(model), signature=signature, baseline=model))


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    ws = Workspace.create(tmp_path_factory.mktemp("explained"))
    for name, data in (
        ("delays", bundle_bytes()), ("three", bundle_bytes("multiclass")), ("line", linear_bytes("binary")),
        ("lines", linear_bytes("multiclass")), ("amount", linear_bytes("regression")), ("sampled", bundle_bytes()),
    ):  # fmt: skip
        put_versions(ws, {1: data}, model=name)
        put_deployment(ws, {1: 100}, name=name, model=name)
    value = ws.history.read("main", "deployments/sampled")
    rules = planned(value, "sampled", "sampled", log={"explain": 1.0, "fields": {"hour": "drop"}})
    ws.history.commit("main", {"deployments/sampled": rules}, message="Rules")
    with serving(ws) as found:
        yield found
    ws.close()


def told(server: Served, name: str, **body: Any) -> list[Any]:
    found = server.ask(f"/v2/models/{name}/predict?explain=shap", {"instances": RECORDS, **body})
    return [one["explanation"] for one in found["predictions"]]


def total(one: Any) -> float:
    return float(one["base"] + sum(one["contributions"].values()))


@pytest.mark.slow
def test_of_trees(explained: Served) -> None:
    found = told(explained, "delays")
    model = unpack_model(bundle_bytes())
    import lightgbm

    booster = lightgbm.Booster(model_str=model.model.decode())
    expected = booster.predict(encode(model.signature, ROWS), pred_contrib=True)
    for one, row in zip(found, expected, strict=True):
        assert (one["method"], one["scale"], list(one["contributions"])) == ("shap", "log-odds", NAMES)
        assert [*one["contributions"].values(), one["base"]] == pytest.approx(list(row))
    assert [total(one) for one in found] == pytest.approx(raw(bundle().predict(ROWS)))


def test_of_classes_and_of_linear_models(explained: Served) -> None:
    shares = bundle("multiclass").predict(ROWS)
    for one, row in zip(told(explained, "three"), shares, strict=True):
        assert list(one["classes"]) == ["early", "late", "on time"]
        powers = np.exp([total(part) for part in one["classes"].values()])
        assert powers / powers.sum() == pytest.approx(row)
    expected = unpack_model(linear_bytes("binary")).predict(ROWS)
    assert [total(one) for one in told(explained, "line")] == pytest.approx(raw(expected))
    values = unpack_model(linear_bytes("regression")).predict(ROWS)
    amounts = told(explained, "amount")
    assert amounts[0]["scale"] == "value"
    assert [total(one) for one in amounts] == pytest.approx(values)
    for one, row in zip(told(explained, "lines"), unpack_model(linear_bytes("multiclass")).predict(ROWS), strict=True):
        powers = np.exp([total(part) for part in one["classes"].values()])
        assert powers / powers.sum() == pytest.approx(row)


def test_in_every_form(
    explained: Served,
) -> None:
    inputs = [
        {"name": name, "datatype": kind, "shape": [4], "data": ROWS[name].to_pylist()}
        for name, kind in zip(NAMES, ("FP64", "INT64", "BOOL", "BYTES"), strict=True)
    ]
    expected = told(explained, "delays")
    for path, parameters in (("?explain=shap", {}), ("", {"parameters": {"explain": "shap"}})):
        found = explained.ask(f"/v2/models/delays/infer{path}", {"inputs": inputs, **parameters})
        assert json.loads(found["parameters"]["explanations"]) == expected
    assert "explanations" not in explained.ask("/v2/models/delays/infer", {"inputs": inputs})["parameters"]
    _, _, csv = explained.request("/v2/models/delays/predict?explain=shap", {"instances": RECORDS}, accept="text/csv")
    assert csv.splitlines()[0].endswith(b",explanation")
    assert b'""base"":' in csv
    one = explained.ask("/v2/models/delays/invocations?explain=shap", {"instances": RECORDS[:1]})
    assert one["predictions"][0]["explanation"] == expected[0]


def test_over_grpc(stub: Any) -> None:  # noqa: F811
    asked = typed(ROWS)
    asked.parameters["explain"].string_param = "shap"
    said = stub("ModelInfer", asked, pb.ModelInferResponse)
    assert [total(one) for one in json.loads(said.parameters["explanations"].string_param)] == pytest.approx(
        raw(bundle().predict(ROWS))
    )


def test_what_cannot_be_told(explained: Served) -> None:
    unknown = explained.ask("/v2/models/delays/predict?explain=lime", {"instances": RECORDS}, 400)
    assert "no explanation named 'lime'" in unknown["error"]
    # Nobody asked, so what is too many to be told is answered.
    many = explained.ask("/v2/models/delays/predict?explain=shap", {"instances": RECORDS * 300}, 400)
    assert "1,000 are explained" in many["error"]
    loaded: LoadedModel = load_model("delays", 1, bundle(), lambda _: None)
    loaded.runtime = type("Silent", (), {})()
    with pytest.raises(InputError, match="does not tell what each input adds"):
        check_method("shap", loaded)


def test_what_is_told_is_in_the_log_and_so_is_a_sample(explained: Served, tmp_path: Path) -> None:
    asked = explained.ask("/v2/models/delays/predict?explain=shap", {"instances": RECORDS[:1]})["predictions"][0]
    plain = explained.ask("/v2/models/delays/predict", {"instances": RECORDS[:1]})["predictions"][0]
    sampled = explained.ask("/v2/models/sampled/predict", {"instances": RECORDS[:1]})["predictions"][0]
    assert "explanation" not in sampled
    rows = {
        row["prediction_id"]: json.loads(row["output"])
        for row in unmoved(explained.workspace, "predictions").to_pylist()
    }
    assert rows[asked["prediction_id"]]["explanation"] == asked["explanation"]
    assert "explanation" not in rows[plain["prediction_id"]]
    kept = rows[sampled["prediction_id"]]["explanation"]
    assert list(kept["contributions"]) == ["distance", "night", "carrier"]
    # Nobody asked, so what is too many to be told is answered.
    many = explained.ask("/v2/models/sampled/predict", {"instances": RECORDS * 300})
    assert len(many["predictions"]) == 1200


def test_a_library_that_does_not_tell_of_this_model_is_named_and_spoils_no_answer(
    explained: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(self: Any, matrix: np.ndarray) -> np.ndarray:
        raise RuntimeError("Check failed: !this->IsMultiTarget()\nStack trace")

    monkeypatch.setattr(LoadedModel, "contributions", silent)
    said = explained.ask("/v2/models/delays/predict?explain=shap", {"instances": RECORDS}, 400)["error"]
    assert "'delays' did not tell what each input adds to a score: RuntimeError: Check failed" in said
    assert "Stack trace" not in said
    assert len(explained.ask("/v2/models/sampled/predict", {"instances": RECORDS})["predictions"]) == 4
