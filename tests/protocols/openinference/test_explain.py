"""Answers that say why: each input's share of a score, from the model itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bascule.delivery import planned
from bascule.history import Workspace
from bascule.serving import unmoved
from bascule.serving.log import move_segments
from bascule.serving.shapley import Explainer
from bascule.serving.workers import WorkerRuntime
from bascule.serving.workers.child import StepFailed
from bascule.training import Field, Output, Signature, TrainedModel, encode, fit_linear, pack_model, unpack_model
from bascule.training.background import background_of
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
    def silent(self: Any, matrix: np.ndarray, background: Any) -> np.ndarray:
        raise RuntimeError("Check failed: !this->IsMultiTarget()\nStack trace")

    monkeypatch.setattr(Explainer, "tell", silent)
    said = explained.ask("/v2/models/delays/predict?explain=shap", {"instances": RECORDS}, 400)["error"]
    assert "'delays' did not tell what each input adds to a score: RuntimeError: Check failed" in said
    assert "Stack trace" not in said
    assert len(explained.ask("/v2/models/sampled/predict", {"instances": RECORDS})["predictions"]) == 4


def skops_bytes(kind: str, background: bool) -> bytes:
    """A model of scikit-learn of the flights' numbers; `trees`, or `bayes`, which tells nothing itself."""
    skops = pytest.importorskip("skops.io")
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.naive_bayes import GaussianNB

    signature = Signature(inputs=COLUMNS, output=Output(task="binary", classes=CLASSES["binary"]))
    matrix = np.nan_to_num(encode(signature, flights(300)), nan=-1.0)
    label = (matrix[:, 1] > np.median(matrix[:, 1])).astype(int)
    made = RandomForestClassifier(9, random_state=0) if kind == "trees" else GaussianNB()
    model = skops.dumps(made.fit(matrix, label))
    rows = background_of(matrix) if background else None
    return pack_model(TrainedModel(format="skops", artifact=model, signature=signature, background=rows))


def words_bytes() -> bytes:
    """A pipeline over a column of texts and a number, which keeps nothing about its data."""
    skops, pandas = pytest.importorskip("skops.io"), pytest.importorskip("pandas")
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    inputs = (Field(name="review", type="varchar"), Field(name="age", type="double"))
    frame = pandas.DataFrame({"review": REVIEWS, "age": np.arange(len(REVIEWS)) * 1.0})
    columns = ColumnTransformer([("text", TfidfVectorizer(), "review"), ("rest", "passthrough", ["age"])])
    made = make_pipeline(columns, LogisticRegression()).fit(frame, np.arange(len(REVIEWS)) % 2)
    signature = Signature(inputs=inputs, output=Output(task="binary", classes=CLASSES["binary"]))
    return pack_model(TrainedModel(format="skops", artifact=skops.dumps(made), signature=signature))


REVIEWS = ["good film", "bad film", "very good 日本", "awful bad thing", "nice", "terrible"] * 4


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`mute` cannot be explained in version 2; `apart` answers from a worker."""
    ws = Workspace.create(tmp_path_factory.mktemp("others"))
    near, mute, trees = skops_bytes("bayes", True), skops_bytes("bayes", False), skops_bytes("trees", False)
    for name, versions, shares in (
        ("near", {1: near}, {1: 100}), ("trees", {1: trees}, {1: 100}), ("mute", {1: near, 2: mute}, {1: 50, 2: 50}),
        ("apart", {1: near}, {1: 100}), ("asked", {1: near}, {1: 100}), ("lent", {1: mute}, {1: 100}),
        ("lent-apart", {1: mute}, {1: 100}), ("hashed", {1: mute}, {1: 100}), ("silent", {1: mute}, {1: 100}),
        ("words", {1: words_bytes()}, {1: 100}),
    ):  # fmt: skip
        put_versions(ws, versions, model=name)
        put_deployment(ws, shares, name=name, model=name)
    for name, rules in (
        ("apart", {"service": {"workers": 1}}), ("asked", {"log": {"explain": 1.0}}),
        ("lent-apart", {"service": {"workers": 1}}), ("silent", {"log": {"fields": dict.fromkeys(NAMES, "hash")}}),
        ("hashed", {"log": {"fields": {"hour": "drop", "carrier": "hash"}, "explain": 1.0}}),
    ):  # fmt: skip
        value = ws.history.read("main", f"deployments/{name}")
        ws.history.commit("main", {f"deployments/{name}": planned(value, name, name, **rules)}, message="Rules")
    with serving(ws) as found:
        yield found
    ws.close()


WHOLE = [row for row in flights(12, seed=4).to_pylist() if None not in row.values()][:4]


def explanations(server: Served, name: str) -> list[Any]:
    found = server.ask(f"/v2/models/{name}/predict?explain=shap", {"instances": WHOLE})["predictions"]
    for one in found:
        assert total(one["explanation"]) == pytest.approx(one["probability"])
        assert list(one["explanation"]["contributions"]) == NAMES
    return [one["explanation"] for one in found]


@pytest.mark.slow
def test_any_model_is_explained_by_asking_it_and_trees_exactly(others: Served) -> None:
    trees = explanations(others, "trees")[0]
    assert (trees["method"], trees["scale"], "samples" in trees) == ("shap", "probability", False)
    near = explanations(others, "near")
    assert (near[0]["method"], near[0]["scale"], near[0]["samples"]) == ("sampled shap", "probability", 128)
    assert len({one["base"] for one in near}) == 1
    assert explanations(others, "near") == near
    # A worker explains its own model, and says the same.
    assert explanations(others, "apart") == near
    one = others.ask("/v2/models/asked/predict", {"instances": WHOLE[:1]})["predictions"][0]
    assert "explanation" not in one
    logged = {row["prediction_id"]: row["output"] for row in unmoved(others.workspace, "predictions").to_pylist()}
    assert json.loads(logged[one["prediction_id"]])["explanation"] == near[0]


@pytest.mark.slow
def test_in_a_rollout_the_version_that_answers_is_explained_or_says_that_it_cannot_be(
    others: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bascule.serving.log.asked.FEWEST", 10_000)
    path = "/v2/models/mute/predict?explain=shap"
    before = len(unmoved(others.workspace, "predictions"))
    said = {}
    for unit in map(str, range(20)):
        status, _, data = others.request(path, {"instances": WHOLE[:1], "unit": unit})
        said.setdefault(status, []).append(json.loads(data))
        again, _, _ = others.request(path, {"instances": WHOLE[:1], "unit": unit})
        assert again == status
    assert {one["model_version"] for one in said[200]} == {"1"}
    for one in said[400]:
        assert "Version 2 of model 'mute' cannot be explained" in one["error"]
        assert "Version 1 can be: /v2/models/mute/versions/1." in one["error"]
    pinned = others.ask("/v2/models/mute/versions/1/predict?explain=shap", {"instances": WHOLE[:1]})
    assert pinned["model_version"] == "1"
    # What is refused is refused before anything is scored, logged as nobody's answer, and counted for its version.
    assert len(unmoved(others.workspace, "predictions")) == before + 2 * len(said[200]) + 1
    failed = {
        version: others.ask(f"/v2/models/mute/versions/{version}/stats")["model_stats"][0]["inference_stats"]["fail"]
        for version in "12"
    }
    assert [int(failed[version]["count"]) for version in "12"] == [0, 2 * len(said[400])]


def ask_first(server: Served, name: str, count: int, seed: int = 5) -> None:
    whole = [row for row in flights(4 * count, seed=seed).to_pylist() if not {None, "ZZ"} & set(row.values())]
    rows = whole[:count]
    assert len(server.ask(f"/v2/models/{name}/predict", {"instances": rows})["predictions"]) == count


@pytest.mark.slow
def test_a_model_that_keeps_nothing_is_held_against_what_it_was_asked(
    others: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/v2/models/lent/predict?explain=shap"
    monkeypatch.setattr("bascule.serving.log.asked.PAUSE", 0.0)
    ask_first(others, "lent", 5)
    said = others.ask(path, {"instances": WHOLE}, 400)["error"]
    assert "the log has 5 rows that it answered, and 8 are needed. Ask it without explain first" in said
    ask_first(others, "lent", 20)
    found = explanations(others, "lent")
    about = found[0]["background"]
    assert (found[0]["method"], found[0]["samples"], about["rows"]) == ("sampled shap", 128, 64)
    assert (about["from"], about["of"]) == ("requests", 25)
    assert any(abs(share) > 0.01 for share in found[0]["contributions"].values())
    # For a while it is the same background, whatever is asked meanwhile; then it is made of what the log has by then.
    ask_first(others, "lent", 600, seed=6)
    assert explanations(others, "lent") == found
    model = others.plane.open("main").deployments["lent"].first
    assert model.asked is not None
    model.asked._kept.clear()
    later = explanations(others, "lent")[0]["background"]
    assert later["of"] == 512
    assert later["version"] != about["version"]
    # Also of what was moved into the table.
    move_segments(others.workspace, sealing=True)
    model.asked._kept.clear()
    assert explanations(others, "lent")[0]["background"]["of"] == 512
    assert explanations(others, "near")[0]["background"] == {"rows": 64, "from": "model"}


@pytest.mark.slow
def test_workers_are_lent_a_background(others: Served) -> None:
    ask_first(others, "lent-apart", 25)
    found = explanations(others, "lent-apart")
    assert found[0]["background"]["of"] == 25
    assert explanations(others, "lent-apart") == found


@pytest.mark.slow
def test_inputs_that_the_log_does_not_keep_are_held_and_named(others: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bascule.serving.log.asked.PAUSE", 0.0)
    ask_first(others, "silent", 25)
    none = others.ask("/v2/models/silent/predict?explain=shap", {"instances": WHOLE}, 400)["error"]
    assert "log.fields keeps none of its inputs" in none
    ask_first(others, "hashed", 25)
    found = others.ask("/v2/models/hashed/predict?explain=shap", {"instances": WHOLE})["predictions"]
    for one in found:
        told = one["explanation"]
        assert told["background"]["held"] == ["hour", "carrier"]
        assert list(told["contributions"]) == ["distance", "night"]
        assert total(told) == pytest.approx(one["probability"])
    assert len({one["explanation"]["base"] for one in found}) > 1  # the base is that of its own hour and carrier
    asked = others.ask("/v2/models/hashed/predict", {"instances": WHOLE[:1]})["predictions"][0]
    logged = {row["prediction_id"]: row["output"] for row in unmoved(others.workspace, "predictions").to_pylist()}
    assert json.loads(logged[asked["prediction_id"]])["explanation"] == found[0]["explanation"]


@pytest.mark.slow
def test_texts_that_were_asked_are_a_background_too(others: Served) -> None:
    rows = [{"review": text, "age": 3.5 * place} for place, text in enumerate(REVIEWS[:12])]
    assert len(others.ask("/v2/models/words/predict", {"instances": rows})["predictions"]) == 12
    asked = {"instances": [{"review": "bad thing 日本", "age": 4.0}, {"review": "never seen", "age": 2.0}]}
    found = others.ask("/v2/models/words/predict?explain=shap", asked)["predictions"]
    for one in found:
        told = one["explanation"]
        assert (told["scale"], told["background"]["of"]) == ("log-odds", 12)
        assert total(told) == pytest.approx(raw(one["probability"]))
        assert min(abs(share) for share in told["contributions"].values()) > 0.01
    again = others.ask("/v2/models/words/predict?explain=shap", asked)["predictions"]
    assert [one["explanation"] for one in again] == [one["explanation"] for one in found]


@pytest.mark.slow
def test_explaining_takes_no_longer_than_it_may(others: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bascule.serving.explaining.LIMIT_S", 0.0)
    error = others.ask("/v2/models/near/predict?explain=shap", {"instances": WHOLE}, 400)["error"]
    assert "1 of 4 rows were explained. Send fewer rows at once." in error
    assert total(explanations_of_one(others)) == pytest.approx(explanations_of_one(others)["score"])
    monkeypatch.setattr("bascule.serving.explaining.UNASKED_S", 0.0)
    assert len(others.ask("/v2/models/asked/predict", {"instances": WHOLE})["predictions"]) == 4


def explanations_of_one(server: Served) -> Any:
    (found,) = server.ask("/v2/models/near/predict?explain=shap", {"instances": WHOLE[:1]})["predictions"]
    return {**found["explanation"], "score": found["probability"]}


@pytest.mark.slow
def test_a_worker_that_fails_while_it_explains_is_a_failure_that_is_logged(
    others: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(self: Any, matrix: np.ndarray, background: Any) -> Any:
        raise StepFailed("its worker was lost")

    monkeypatch.setattr(WorkerRuntime, "tell", lost)
    said = others.ask("/v2/models/apart/predict?explain=shap", {"instances": WHOLE[:1]}, 500)
    assert "it was not explained: its worker was lost" in said["error"]
    kept = [json.loads(row["output"]) for row in unmoved(others.workspace, "predictions").to_pylist()]
    assert [one for one in kept if "error" in one] == [{"error": "it was not explained: its worker was lost"}]
