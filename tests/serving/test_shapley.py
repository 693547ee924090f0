"""What inputs add to an answer, held against the sum over all subsets that defines it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule.errors import EnvironmentProblem, InputError
from bascule.serving.engines.forest import Forest, Growing, Leaf, Split, Unfit
from bascule.serving.engines.sklearn_trees import forest_of_estimator
from bascule.serving.runtime import load_runtime
from bascule.serving.shapley import Explainer
from bascule.serving.shapley.sampling import MOST_INPUTS, SampledShap
from bascule.serving.shapley.trees import TreeShap
from bascule.training import Field, Output, Signature, TrainedModel, pack_model, unpack_model
from bascule.training.background import background_of

Game = Callable[[frozenset[int]], np.ndarray]
rng = np.random.default_rng(7)
X = rng.normal(size=(150, 5))
X[rng.random(X.shape) < 0.1] = np.nan
FULL = np.nan_to_num(X)
LABELS = {
    "regression": FULL[:, 0] * FULL[:, 1] + np.sin(FULL[:, 2]) + FULL[:, 3],
    "binary": (FULL[:, 0] * FULL[:, 1] + FULL[:, 2] > 0).astype(int),
    "multiclass": np.digitize(FULL[:, 0] + FULL[:, 1] * FULL[:, 2], [-0.5, 0.5]),
}


def shapley(game: Game, players: int) -> np.ndarray:
    """Return the Shapley values [players, outputs] by their definition."""
    found = np.zeros((players, len(game(frozenset()))))
    for one in range(players):
        others = [k for k in range(players) if k != one]
        for size in range(players):
            weight = factorial(size) * factorial(players - size - 1) / factorial(players)
            for chosen in combinations(others, size):
                known = frozenset(chosen)
                found[one] += weight * (game(known | {one}) - game(known))
    return found


def path_game(root: Split | Leaf, row: np.ndarray, made_of: list[int]) -> Game:
    """What a tree says when some inputs are known: the others go both ways, as the training rows went.

    Args:
        row: what the tree asks for; each is made of an input.
    """

    def told(node: Split | Leaf, known: frozenset[int]) -> np.ndarray:
        if isinstance(node, Leaf):
            return np.array(node.values)
        if made_of[node.feature] in known:
            value = row[node.feature]
            if node.codes is None:
                high = node.missing_high if np.isnan(value) else value > node.threshold
            else:
                high = node.missing_high if np.isnan(value) else not (value > -1 and int(value) in node.codes)
            return told(node.high if high else node.low, known)
        share = node.low.cover / node.cover if node.cover > 0 else 0.5
        return share * told(node.low, known) + (1 - share) * told(node.high, known)

    return lambda known: told(root, known)


@st.composite
def trees(draw: Any, inputs: int, width: int, depth: int = 4) -> Split | Leaf:
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        values = draw(st.lists(st.integers(-5, 5), min_size=width, max_size=width))
        return Leaf(tuple(map(float, values)), float(draw(st.integers(0, 4))))
    low, high = draw(trees(inputs, width, depth - 1)), draw(trees(inputs, width, depth - 1))
    codes = draw(st.none() | st.none() | st.lists(st.integers(0, 40), max_size=3).map(tuple))
    threshold = float(draw(st.integers(-2, 2)))
    return Split(
        draw(st.integers(0, inputs - 1)), low, high, threshold, codes, draw(st.booleans()), low.cover + high.cover
    )


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_trees_against_all_subsets(data: st.DataObject) -> None:
    """Ties on thresholds, NaN, sets of categories, inputs that are asked for twice, nodes that no row came to, leaves
    alone, several outputs."""
    asked, width = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3))
    inputs = data.draw(st.integers(1, 6))
    made_of = data.draw(st.lists(st.integers(0, inputs - 1), min_size=asked, max_size=asked))
    grown = [data.draw(trees(asked, width)) for _ in range(data.draw(st.integers(1, 3)))]
    growing = Growing(inputs=asked, base=[0.5] * width, width=width)
    for one in grown:
        growing.add(one)
    numbers = st.sampled_from([-2.0, -1.5, -1.0, 0.0, 0.5, 1.0, 2.0, 31.0, 33.0, np.nan])
    row = np.array(data.draw(st.lists(numbers, min_size=asked, max_size=asked)))
    forest = growing.grown(divide=2.0)
    for each, count, shap in (
        (list(range(asked)), asked, TreeShap(forest, "regression")),
        (made_of, inputs, TreeShap(forest, "regression", np.array(made_of), inputs)),
    ):
        found = shap(row[np.newaxis])[0]
        games = [path_game(one, row, each) for one in grown]
        expected = sum(shapley(game, count) for game in games) / 2
        base = (0.5 + sum(game(frozenset()) for game in games)) / 2
        assert pytest.approx(expected, abs=1e-9) == found[:, :-1].T
        assert found[:, -1] == pytest.approx(base, abs=1e-9)


ESTIMATORS = [
    ("RandomForestClassifier", {"n_estimators": 9}, "binary", "probability"),
    ("RandomForestClassifier", {"n_estimators": 9}, "multiclass", "probability"),
    ("ExtraTreesRegressor", {"n_estimators": 9}, "regression", "value"),
    ("GradientBoostingClassifier", {"n_estimators": 9}, "binary", "log-odds"),
    ("GradientBoostingClassifier", {"n_estimators": 9, "loss": "exponential"}, "binary", "log-odds"),
    ("HistGradientBoostingClassifier", {"max_iter": 9}, "multiclass", "log-odds"),
    ("HistGradientBoostingRegressor", {"max_iter": 9, "loss": "poisson"}, "regression", "log of the value"),
    ("BaggingClassifier", {"n_estimators": 5, "max_features": 0.6}, "multiclass", "probability"),
    ("BaggingRegressor", {"n_estimators": 5, "max_features": 3}, "regression", "value"),
    ("DecisionTreeRegressor", {}, "regression", "value"),
    ("DecisionTreeRegressor", {"max_depth": 1, "min_samples_leaf": 100}, "regression", "value"),
]


def answer(scores: np.ndarray, scale: str) -> np.ndarray:
    if scale == "log-odds":
        if scores.shape[1] == 1:
            return 1 / (1 + np.exp(-scores[:, 0]))
        return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    scores = np.exp(scores) if scale == "log of the value" else scores
    return scores if scores.shape[1] > 1 else scores[:, 0]


@pytest.mark.parametrize(("kind", "params", "task", "scale"), ESTIMATORS)
def test_estimators_of_trees_sum_up_to_what_they_say(kind: str, params: Any, task: str, scale: str) -> None:
    import sklearn.ensemble
    import sklearn.tree

    made = getattr(sklearn.ensemble, kind, None) or getattr(sklearn.tree, kind)
    label = np.abs(LABELS[task]) if params.get("loss") == "poisson" else LABELS[task]
    fitted = made(random_state=0, **params).fit(X if "Hist" in kind else FULL, label)
    rows = X if "Hist" in kind else FULL
    shap = TreeShap(forest_of_estimator(fitted), task)
    found = shap(rows)
    said = fitted.predict(rows) if task == "regression" else fitted.predict_proba(rows)
    assert shap.scale == scale
    assert answer(found.sum(axis=2), scale) == pytest.approx(said[:, 1] if task == "binary" else said, abs=1e-9)
    assert np.ptp(found[:, :, -1], axis=0) == pytest.approx(0)


def test_a_forest_of_a_file_does_not_know_how_many_rows_came() -> None:
    growing = Growing(inputs=1, base=[0.0])
    growing.add(Leaf((1.0,)))
    forest: Forest = growing.grown()
    assert TreeShap(forest, "regression")(np.zeros((2, 1))).tolist() == [[[0.0, 1.0]]] * 2
    with pytest.raises(Unfit, match="how many rows"):
        TreeShap(Forest(**{**forest.__dict__, "covers": np.empty(0)}), "regression")


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(1, 8), st.integers(1, 3))
def test_sampling_sums_up_always_and_is_exact_for_what_adds_up(seed: int, inputs: int, outputs: int) -> None:
    draw = np.random.default_rng(seed)
    weights, rows = draw.normal(size=(inputs, outputs)), draw.normal(size=(3, inputs))
    background = background_of(draw.normal(size=(200, inputs)))

    def adds(matrix: np.ndarray) -> np.ndarray:
        return np.sin(matrix) @ weights

    def crosses(matrix: np.ndarray) -> np.ndarray:
        return adds(matrix) * matrix[:, :1] + np.where(matrix[:, -1:] > 0, 1.0, 0.0)

    found = SampledShap(adds, background)(rows)
    exact = (np.sin(rows)[:, :, np.newaxis] - np.sin(background).mean(axis=0)[:, np.newaxis]) * weights
    assert found[:, :, :-1] == pytest.approx(exact.transpose(0, 2, 1), abs=1e-9)
    crossed = SampledShap(crosses, background)
    assert crossed(rows).sum(axis=2) == pytest.approx(crosses(rows), abs=1e-9)
    assert crossed(rows[1:2])[0] == pytest.approx(crossed(rows)[1], abs=1e-12)  # whatever comes beside it


def test_sampling_against_all_subsets() -> None:
    """It is near with interactions, exact with two inputs; what no background row differs in adds nothing."""
    background = background_of(X)
    background[:, 4] = 3.0
    row = np.array([0.4, -1.2, np.nan, 2.0, 3.0])

    def model(rows: np.ndarray) -> np.ndarray:
        rows = np.nan_to_num(rows, nan=-1.0)
        return rows[:, 0] * rows[:, 1] + np.where(rows[:, 2] > 0, rows[:, 3], -1.0) + rows[:, 4]

    def game(known: frozenset[int]) -> np.ndarray:
        mixed = background.copy()
        mixed[:, sorted(known)] = row[sorted(known)]
        return np.array([model(mixed).mean()])

    expected = shapley(game, 5)[:, 0]
    found = SampledShap(model, background)(row[np.newaxis])[0, 0]
    assert found[4] == 0.0
    assert found[-1] == pytest.approx(game(frozenset())[0])
    assert found[:-1] == pytest.approx(expected, abs=0.1)
    assert np.abs(expected).max() > 0.6
    two = SampledShap(lambda rows: model(np.column_stack([rows, np.ones((len(rows), 3))])), background[:, :2])
    of_two = shapley(
        lambda known: np.array(
            [np.nan_to_num(_mixed(background[:, :2], row[:2], known), nan=-1.0).prod(axis=1).mean()]
        ),
        2,
    )
    assert two(row[np.newaxis, :2])[0, 0, :-1] == pytest.approx(of_two[:, 0])


def _mixed(background: np.ndarray, row: np.ndarray, known: frozenset[int]) -> np.ndarray:
    mixed = background.copy()
    mixed[:, sorted(known)] = row[sorted(known)]
    return mixed


def test_what_sampling_costs_is_bounded() -> None:
    asked: list[int] = []

    def model(rows: np.ndarray) -> np.ndarray:
        asked.append(len(rows))
        return np.sin(rows.sum(axis=1))

    for inputs in (1, 2, 30, 400, MOST_INPUTS):
        draw = np.random.default_rng(0)
        background = background_of(draw.normal(size=(99, inputs)))
        shap = SampledShap(model, background)
        shap(draw.normal(size=(1, inputs)))
        asked.clear()
        row = draw.normal(size=(1, inputs))
        assert shap(row).sum() == pytest.approx(np.sin(row.sum()))
        assert sum(asked) == shap.evaluations <= max(4_097, 2 * inputs)
    with pytest.raises(InputError, match="2,001 inputs"):
        SampledShap(model, np.zeros((8, MOST_INPUTS + 1)))
    with pytest.raises(InputError, match="no finite number"):
        SampledShap(lambda rows: np.full(len(rows), np.nan), np.zeros((8, 2)))(np.ones((1, 2)))


def test_a_model_that_adds_its_inputs_up_is_told_exactly_for_as_many_rows_as_it_has_inputs() -> None:
    asked: list[int] = []

    def model(rows: np.ndarray) -> np.ndarray:
        asked.append(len(rows))
        both = np.column_stack([np.nan_to_num(rows[:, 0], nan=9.0) ** 2 + np.sin(rows[:, 1]), rows[:, 2] - rows[:, 1]])
        odd = (np.abs(rows[:, 0]) > 8) & (np.abs(rows[:, 1]) > 8)  # nothing of the background is there
        return np.asarray(both + np.where(odd, rows[:, 2] * 10, 0.0)[:, np.newaxis])

    draw = np.random.default_rng(3)
    background = draw.normal(size=(64, 3))
    background[::9, 0] = np.nan
    rows = draw.normal(size=(50, 3))
    rows[0, 0], rows[1, :2] = np.nan, 20.0
    shap = SampledShap(model, background)
    assert shap.additive
    asked.clear()
    found = shap(rows)
    assert sum(asked[:2]) == 50 * shap.evaluations == 50 * 4
    assert sum(asked[2:]) > 1  # one row alone is beyond what adds up, and is found out the long way
    first = np.nan_to_num(background[:, 0], nan=9.0) ** 2
    plain = np.arange(50) != 1
    expected = np.nan_to_num(rows[:, 0], nan=9.0) ** 2 - first.mean()
    assert found[plain, 0, 0] == pytest.approx(expected[plain])
    assert found[:, 1, 2][plain] == pytest.approx((rows[:, 2] - background[:, 2].mean())[plain])
    assert found.sum(axis=2) == pytest.approx(model(rows))
    long = SampledShap(model, background)
    long._alone = None
    assert found == pytest.approx(long(rows))
    assert not SampledShap(lambda rows: model(rows).prod(axis=1), background).additive
    assert not SampledShap(model, background, held=[1]).additive
    assert not SampledShap(model, background[:1]).additive


def test_a_background_has_no_row_of_the_data() -> None:
    rows = np.column_stack([np.arange(1000.0), np.arange(1000.0), np.repeat([0.0, 1.0, np.nan, 2.0], 250)])
    found = background_of(rows)
    assert found.shape == (64, 3)
    assert (found[:, 0] == found[:, 1]).mean() < 0.2
    assert [(found[:, 2] == code).sum() for code in (0.0, 1.0, 2.0)] == [16, 16, 16]
    assert np.isnan(found[:, 2]).sum() == 16
    assert np.array_equal(found, background_of(rows[::-1]), equal_nan=True)
    assert {0.0, 999.0}.isdisjoint(found[:, 0].tolist())  # neither the smallest nor the largest
    assert background_of(rows[:1]).tolist() == [rows[0].tolist()] * 64


def bundled(estimator: Any, task: str, inputs: tuple[Field, ...], background: np.ndarray | None) -> Explainer:
    from skops import io as skops

    classes = tuple(str(one) for one in getattr(estimator, "classes_", ()))
    signature = Signature(inputs=inputs, output=Output(task=task, classes=classes))  # type: ignore[arg-type]
    model = TrainedModel(format="skops", artifact=skops.dumps(estimator), signature=signature, background=background)
    bundle = unpack_model(pack_model(model))
    return Explainer("it", bundle, load_runtime(bundle))


@pytest.mark.slow
def test_a_pipeline_is_explained_by_its_own_inputs() -> None:
    """Texts and what is missing too; in log-odds where it adds those up."""
    pd = pytest.importorskip("pandas")
    from sklearn.compose import ColumnTransformer
    from sklearn.decomposition import PCA
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    frame = pd.DataFrame({"size": FULL[:, 0], "kind": np.where(FULL[:, 1] > 0, "a", "b"), "age": FULL[:, 2]})
    frame["kind"] = frame["kind"].astype(object)
    columns = ColumnTransformer(
        [("n", SimpleImputer(), ["size", "age"]), ("c", OneHotEncoder(handle_unknown="ignore"), ["kind"])]
    )
    fields = (
        Field(name="size", type="double"),
        Field(name="kind", type="varchar", categories=("a", "b")),
        Field(name="age", type="double"),
    )
    rows = np.array([[1.0, 0.0, 0.5], [np.nan, 1.0, np.nan], [0.3, np.nan, -1.0]])
    background = background_of(np.column_stack([FULL[:, 0], (FULL[:, 1] <= 0).astype(float), FULL[:, 2]]))
    linear = make_pipeline(columns, LogisticRegression()).fit(frame, LABELS["binary"])
    told = bundled(linear, "binary", fields, background).tell(rows)
    assert (told.method, told.scale, told.samples, told.values.shape) == ("sampled shap", "log-odds", 128, (3, 1, 4))
    weights = linear[-1].coef_[0]
    filled = np.where(np.isnan(rows[:, 0]), frame["size"].mean(), rows[:, 0])
    assert told.values[:, 0, 0] == pytest.approx(weights[0] * (filled - background[:, 0].mean()))
    forest = make_pipeline(columns, RandomForestClassifier(9, random_state=0)).fit(frame, LABELS["binary"])
    given_rows = pd.DataFrame({"size": rows[:, 0], "kind": ["a", "b", None], "age": rows[:, 2]})
    told = bundled(forest, "binary", fields, None).tell(rows)
    assert (told.method, told.scale, told.values.shape) == ("shap", "probability", (3, 1, 4))
    assert told.values.sum(axis=2)[:, 0] == pytest.approx(forest.predict_proba(given_rows)[:, 1])
    # Of columns that are made of several inputs the trees cannot tell: the model is asked.
    mixing = make_pipeline(columns, PCA(2), RandomForestClassifier(9, random_state=0)).fit(frame, LABELS["binary"])
    told = bundled(mixing, "binary", fields, background).tell(rows)
    assert (told.method, told.scale) == ("sampled shap", "probability")
    assert told.values.sum(axis=2)[:, 0] == pytest.approx(mixing.predict_proba(given_rows)[:, 1])
    bare = bundled(mixing, "binary", fields, None)
    for _ in range(2):
        with pytest.raises(InputError, match="keeps nothing about its data") as refused:
            bare.tell(rows)
    assert "input_example" in refused.value.hint


def test_steps_of_single_columns_before_trees_are_no_obstacle() -> None:
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fields = tuple(Field(name=f"x{k}", type="double") for k in range(5))
    fitted = make_pipeline(SimpleImputer(), StandardScaler(), RandomForestRegressor(9, random_state=0))
    fitted.fit(X, LABELS["regression"])
    told = bundled(fitted, "regression", fields, None).tell(X[:9])
    assert (told.method, told.samples) == ("shap", 0)
    assert told.values.sum(axis=2)[:, 0] == pytest.approx(fitted.predict(X[:9]))


def test_without_a_compiler_trees_are_asked_or_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.tree import DecisionTreeRegressor

    def missing() -> Any:
        raise EnvironmentProblem("There is no C compiler here.", hint="Install one.")

    monkeypatch.setattr("bascule.serving.shapley.trees.shap_library", missing)
    fields = tuple(Field(name=f"x{k}", type="double") for k in range(5))
    fitted = DecisionTreeRegressor(max_depth=3).fit(FULL, LABELS["regression"])
    told = bundled(fitted, "regression", fields, background_of(FULL)).tell(FULL[:2])
    assert (told.method, told.scale) == ("sampled shap", "value")
    assert told.values.sum(axis=2)[:, 0] == pytest.approx(fitted.predict(FULL[:2]))
    with pytest.raises(EnvironmentProblem, match="no C compiler"):
        bundled(fitted, "regression", fields, None).tell(FULL[:2])


@pytest.mark.slow
@pytest.mark.parametrize("unknown", ["ignore", "error"])
def test_numbers_that_are_encoded_as_categories_and_cut_into_bins(unknown: str) -> None:
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder

    rows = np.column_stack([np.digitize(FULL[:, 0], [-1.0, 0.0, 1.0]), FULL[:, 1] * 50 + 200, FULL[:, 2]])
    columns = ColumnTransformer(
        [
            ("one", OneHotEncoder(handle_unknown=unknown), [0]),
            ("bins", KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf"), [1]),
        ],
        remainder="passthrough",
    )
    fitted = make_pipeline(columns, HistGradientBoostingRegressor(max_iter=9, min_samples_leaf=5))
    fitted.fit(rows, rows[:, 0] + np.digitize(rows[:, 1], [180.0, 220.0]) + rows[:, 2])
    fields = tuple(Field(name=name, type="double") for name in ("class", "height", "rest"))
    told = bundled(fitted, "regression", fields, None).tell(rows[:9])
    assert (told.method, told.values.shape) == ("shap", (9, 1, 4))
    assert told.values.sum(axis=2)[:, 0] == pytest.approx(fitted.predict(rows[:9]))
    assert (np.abs(told.values[:, 0, :3]).max(axis=0) > 0).all()


def test_a_network_of_scikit_learn_and_its_classes() -> None:
    from sklearn.neural_network import MLPClassifier

    fields = tuple(Field(name=f"x{k}", type="double") for k in range(5))
    fitted = MLPClassifier((8,), max_iter=900, tol=0.05, random_state=0, solver="lbfgs").fit(FULL, LABELS["multiclass"])
    explainer = bundled(fitted, "multiclass", fields, background_of(FULL))
    told = explainer.tell(FULL[:4])
    assert explainer.possible
    assert (told.scale, told.values.shape) == ("log-odds", (4, 3, 6))
    assert answer(told.values.sum(axis=2), "log-odds") == pytest.approx(fitted.predict_proba(FULL[:4]))
    assert not bundled(fitted, "multiclass", fields, None).possible
