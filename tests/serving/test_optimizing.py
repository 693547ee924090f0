"""Which engine is chosen: none that answers otherwise, none that is hardly faster; and what the original refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bascule.errors import InputError, NotFound
from bascule.serving.engines import Engine, Guard, Recipe, Stage, load_recipe, read_recipe
from bascule.serving.optimizing import (
    Asked,
    Figures,
    Found,
    Optimized,
    Parity,
    chosen,
    optimize_bundle,
    read_prices,
)
from bascule.serving.runtime import load_runtime
from bascule.training import ModelBundle, fit_linear
from bascule.training.formats import FORMATS
from bascule.training.linear import write_linear
from tests.serving.engines import models

QUICK = {"seconds": 0.05, "sizes": (1, 16), "memory": False}


def search(bundle: ModelBundle, rows: np.ndarray = models.ROWS, **told: Any) -> Optimized:
    labelled = rows, models.BINARY[: len(rows)].astype(np.float64)
    return optimize_bundle(models.packed(bundle), bundle, rows, Asked(**{**QUICK, **told}), labelled)


def found(name: str, *times: float, passed: bool = True) -> Found:
    figures = tuple(
        Figures(rows=k, p50_us=t, p99_us=t, typical_us=t, throughput=k / t, calls=1) for k, t in enumerate(times, 1)
    )
    parity = Parity(passed=passed, rows={}, differing={}, worst=0.0)
    kind: Any = "native" if name == "native" else "onnx"
    return Found(name=name, engine=Engine(name=name, kind=kind), parity=parity, figures=figures)


@pytest.mark.parametrize(
    ("offered", "stages"),
    [
        ([found("native", 9, 9, 9), found("a", 1, 5, 20)], [(1, "a"), (3, "native")]),
        ([found("native", 9, 9, 9), found("a", 1, 1, 1, passed=False)], [(1, "native")]),
        ([found("native", 10, 10, 10), found("a", 9.5, 9.5, 9.5)], [(1, "native")]),
        ([found("native", 9, 9, 9), found("a", 2, 2, 2), found("b", 1.9, 1.9, 1)], [(1, "a"), (3, "b")]),
        ([found("native", 9, 9, 9), found("a", 2, 2, 2), found("b", 1, 1.9, 1)], [(1, "b")]),
    ],
)
def test_the_fastest_right_engine_of_each_size_is_chosen(offered: list[Found], stages: list[tuple[int, str]]) -> None:
    guard = Guard(missing=True)
    recipe = chosen(offered, (1, 2, 3), guard)
    assert [(one.rows, one.engine.name) for one in recipe.stages] == stages
    assert recipe.guard == (Guard() if stages == [(1, "native")] else guard)


@pytest.mark.slow
def test_a_boosted_model_is_compiled_and_what_differs_is_shown() -> None:
    pytest.importorskip("onnx")
    bundle = models.lightgbm()
    made = search(bundle, metric="auc")
    single = made.named("onnx-float32")
    assert single is not None
    assert not single.eligible
    assert not single.figures
    assert single.parity.example.kind == "thresholds"
    assert set(single.parity.example.inputs) == set(bundle.signature.names())
    compiled = made.named("compiled")
    assert compiled is not None
    assert compiled.eligible
    assert compiled.accuracy is not None
    assert compiled.accuracy.change == 0
    assert compiled.size == len(made.artifacts[compiled.engine.artifact])  # type: ignore[union-attr]
    assert [row.rows for row in compiled.figures] == [1, 16]
    reasons = {one.name: one.reason for one in made.candidates if one.parity is None}
    assert "linear" in reasons["plain"]
    assert "no matrices" in reasons["onnx-int8"]
    assert all(one.engine.name != "onnx-float32" for one in made.fastest.stages)


@pytest.mark.slow
def test_what_the_original_refuses_goes_on_to_it() -> None:
    """scikit-learn refuses missing and infinite values; a compiled forest would answer something."""
    ensemble = pytest.importorskip("sklearn.ensemble")
    bundle = models.sklearn(ensemble.GradientBoostingClassifier(n_estimators=3, random_state=0))
    made = search(bundle, names=("compiled",))
    assert made.fastest.guard.missing
    assert made.fastest.guard.most == pytest.approx(3.4e38, rel=0.01)
    assert made.refused["missing"] > 0
    runtime = load_recipe(made.fastest, bundle, made.artifacts.__getitem__)
    row = models.ROWS[0].tolist()
    assert list(runtime.predict_one(row)) == list(load_runtime(bundle).predict_one(row))
    for bad in (np.nan, np.inf, -np.inf, 1e39):
        with pytest.raises(ValueError, match="contains"), np.errstate(over="ignore"):
            runtime.predict_one([*row[:3], bad])
        rows = models.ROWS[:5].copy()
        rows[3, 1] = bad
        with pytest.raises(ValueError, match="contains"), np.errstate(over="ignore"):
            runtime.predict(rows)


@pytest.mark.slow
def test_the_jumps_of_a_black_box_are_found_by_halving() -> None:
    """A pipeline whose trees lie behind a step that is not compiled has no thresholds to read."""
    ensemble = pytest.importorskip("sklearn.ensemble")
    pytest.importorskip("skl2onnx")
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PowerTransformer, StandardScaler

    forest = ensemble.RandomForestClassifier(8, max_depth=4, random_state=0)
    made = search(models.sklearn(make_pipeline(StandardScaler(), forest)), names=("compiled", "onnx-float32"))
    assert made.named("compiled").eligible  # type: ignore[union-attr]
    single = made.named("onnx-float32")
    assert single is not None
    assert single.parity.differing["thresholds"] > 0
    assert single.parity.differing.get("real rows", 0) < 5  # which random rows would hardly have shown
    other = search(models.sklearn(make_pipeline(PowerTransformer(), forest)), names=("compiled",))
    assert "PowerTransformer" in other.named("compiled").reason  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_network_is_quantised_and_found_to_answer_otherwise() -> None:
    bundle = models.network()
    made = search(bundle, names=("onnx-int8",))
    small = made.named("onnx-int8")
    assert small is not None
    assert not small.eligible
    assert small.parity.differing["real rows"] > 10
    wide = search(bundle, names=("onnx-int8",), tolerance=1.0)
    assert "real rows" not in wide.named("onnx-int8").parity.differing  # type: ignore[union-attr]


def test_a_linear_model_answers_one_row_in_plain_python() -> None:
    linear = fit_linear(models.HOLES, models.BINARY.astype(np.float64), models.signature())
    bundle = ModelBundle("linear", write_linear(linear), models.signature())
    made = search(bundle, names=("plain", "onnx"))
    assert made.named("plain").eligible  # type: ignore[union-attr]
    assert "nothing here makes ONNX" in made.named("onnx").reason  # type: ignore[union-attr]


def test_a_plain_function_is_measured_and_nothing_else_applies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A format that a plugin brings, such as a function, has no other way than its own."""
    monkeypatch.setitem(FORMATS, "function", "tests.serving.engines.models:load_function")
    made = search(ModelBundle("function", b"", models.signature()))
    assert [one.name for one in made.candidates if one.parity is not None] == ["native"]
    assert all(one.reason for one in made.candidates if one.parity is None)
    assert made.fastest.names() == "native"
    assert made.named("native").figures[0].p50_us > 0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"names": ("onx",)}, "onx"),
        ({"sizes": ()}, "Batch sizes"),
        ({"sizes": (0,)}, "Batch sizes"),
        ({"tolerance": -1.0}, "tolerance"),
        ({"tolerance": float("nan")}, "tolerance"),
        ({"seconds": 0.0}, "seconds"),
        ({"seconds": float("inf")}, "seconds"),
    ],
)
def test_what_makes_no_sense_is_refused(told: dict[str, Any], words: str) -> None:
    with pytest.raises((InputError, NotFound), match=words):
        Asked(**told).checked()


def test_a_price_list(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text('hourly = 0.36\ncores = 4\ncurrency = "EUR"\nutilisation = 0.5\n')
    prices = read_prices(path)
    # 1,000 rows a second on one core of four, half of the time: 1,000 s are 0.2778 h, of which a quarter, twice.
    assert prices.of_million(1_000.0, 1) == pytest.approx(1e6 / 1_000 / 3600 * 0.36 / 4 / 0.5)
    assert prices.of_million(1_000.0, 4) == pytest.approx(4 * prices.of_million(1_000.0, 1))
    for text, words in (
        ("hourly = 0", "above zero"),
        ("hourli = 1", "hourli"),
        ("hourly = 'a'", "hourly"),
        ("=", "prices.toml"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            read_prices(path)
    with pytest.raises(NotFound, match="price list"):
        read_prices(tmp_path / "none.toml")


@pytest.mark.parametrize("stages", [[], [(2, "native")], [(1, "native"), (1, "native")], [(4, "a"), (1, "b")]])
def test_a_recipe_begins_at_one_row(stages: list[tuple[int, str]]) -> None:
    held = [{"rows": rows, "engine": {"name": name, "kind": "native"}} for rows, name in stages]
    with pytest.raises(InputError):
        read_recipe({"stages": held})


def test_a_recipe_goes_by_the_number_of_rows() -> None:
    bundle = models.lightgbm()
    made = search(bundle, names=("compiled",))
    engine = made.named("compiled").engine  # type: ignore[union-attr]
    assert engine is not None
    native = Engine(name="native", kind="native")
    recipe = Recipe(stages=(Stage(rows=1, engine=engine), Stage(rows=100, engine=native)))
    assert recipe.names() == "compiled to 99 rows, native from 100 rows"
    runtime: Any = load_recipe(recipe, bundle, made.artifacts.__getitem__)
    plain = load_runtime(bundle)
    assert "native" not in vars(runtime)
    assert runtime.predict(models.ROWS[:99]).tolist() == plain.predict(models.ROWS[:99]).tolist()
    assert "native" not in vars(runtime)  # the version's own library is loaded when it is needed
    assert runtime.predict(models.ROWS[:100]).tolist() == plain.predict(models.ROWS[:100]).tolist()
    assert "native" in vars(runtime)
    assert runtime.predict(models.ROWS[:0]).shape == (0,)
    assert runtime.contributions is not None
