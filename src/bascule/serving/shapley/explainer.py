"""Which way a model's explanations are found: by its own library, exactly from its trees, or by asking it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bascule.errors import BasculeError, EnvironmentProblem, InputError
from bascule.serving.engines.forest import Unfit
from bascule.serving.engines.sklearn_trees import forest_of_estimator, is_trees
from bascule.serving.runtime import Runtime
from bascule.serving.shapley.columns import columns_of
from bascule.serving.shapley.part import Background, Told
from bascule.serving.shapley.sampling import SampledShap
from bascule.serving.shapley.trees import TreeShap
from bascule.training import ModelBundle

TREES_AT_ONCE = 32
EVALUATIONS_AT_ONCE = 8_192
CLOSE = 1e-3
LEAST = 1e-15  # a probability below this counts as this: its log-odds would be none
# What adds up log-odds and makes probabilities of the sum.
MARGINS = ("LogisticRegression", "MLPClassifier", "GradientBoostingClassifier", "HistGradientBoostingClassifier")
Tell = Callable[[np.ndarray], Told]


class Explainer:
    """What tells for one version what its inputs add to its answers. It may be used from several threads.

    What it needs is made when it is first asked.

    Args:
        name: of the model, for messages.
        runtime: what answers for the version.
    """

    def __init__(self, name: str, bundle: ModelBundle, runtime: Runtime) -> None:
        self._name, self._format, self._task = name, bundle.format, bundle.signature.output.task
        self._fields, self._background = bundle.signature.inputs, bundle.background
        self._runtime = runtime
        self._tell: Tell | None = None
        self._lent: tuple[str, Tell] | None = None
        self._refused: BasculeError | None = None
        self._lock = threading.Lock()

    @property
    def possible(self) -> bool:
        """Whether there is a way, as far as is known before anybody asked."""
        return self._background is not None or self._own is not None or is_trees(self._estimator)

    def tell(self, matrix: np.ndarray, background: Background | None = None) -> Told:
        """Return what the inputs add, for float64 [rows, inputs].

        Args:
            background: what to hold the rows against, for a model that is not `possible` without.

        Raises:
            InputError: there is no way, or the model refuses what it is asked.
            EnvironmentProblem: the way needs what is not here.
        """
        if background is not None:
            return self._with(background)(matrix)
        with self._lock:
            if self._tell is None and self._refused is None:
                try:
                    self._tell = self._way()
                except BasculeError as error:
                    self._refused = error
        if self._tell is None:
            assert self._refused is not None
            raise type(self._refused)(self._refused.message, hint=self._refused.hint)
        return self._tell(matrix)

    @property
    def _own(self) -> Callable[[np.ndarray], np.ndarray] | None:
        found: Callable[[np.ndarray], np.ndarray] | None = getattr(self._runtime, "contributions", None)
        return found

    @property
    def _predictor(self) -> Any:
        if self._format != "skops":
            return None
        return getattr(getattr(self._runtime, "native", self._runtime), "predictor", None)

    @property
    def _estimator(self) -> Any:
        return getattr(self._predictor, "estimator", None)

    def _way(self) -> Tell:
        own = self._own
        if own is not None:
            return lambda matrix: self._by_itself(own, matrix)
        missing: BasculeError | None = None
        if is_trees(self._estimator):
            try:
                trees, encoded = self._trees()
                return lambda matrix: Told(trees(encoded(matrix)), "shap", trees.scale, at_once=TREES_AT_ONCE)
            except Unfit:
                pass
            except EnvironmentProblem as error:
                missing = error
        if self._background is None:
            raise missing or no_way(f"Model {self._name!r}", self._format)
        return self._sampled(self._background)

    def _with(self, background: Background) -> Tell:
        with self._lock:
            if self._lent is None or self._lent[0] != background.version:
                self._lent = background.version, self._sampled(background.rows, background.held)
            return self._lent[1]

    def _sampled(self, background: np.ndarray, held: Sequence[int] = ()) -> Tell:
        scale = "value" if self._task == "regression" else "probability"
        if self._task != "regression" and _last(self._estimator) in MARGINS:
            scale, sampled = "log-odds", SampledShap(self._log_odds, background, held)
        else:
            sampled = SampledShap(self._runtime.predict, background, held)
            # What adds log-odds up is told of these, also where it does not say what it is, as a pickle does not.
            if self._task == "binary" and (adds := SampledShap(self._log_odds, background, held)).additive:
                scale, sampled = "log-odds", adds
        at_once = max(1, EVALUATIONS_AT_ONCE // sampled.evaluations)
        return lambda matrix: Told(sampled(matrix), "sampled shap", scale, sampled.samples, sampled.rows, at_once)

    def _trees(self) -> tuple[TreeShap, Callable[[np.ndarray], np.ndarray]]:
        """Return the model's trees, and what makes rows of the model into rows of theirs.

        Raises:
            Unfit, EnvironmentProblem: as `TreeShap`, `columns_of`.
        """
        try:
            return TreeShap(forest_of_estimator(self._estimator), self._task), lambda matrix: matrix
        except Unfit:
            columns = columns_of(self._predictor, self._fields)
        forest = forest_of_estimator(self._estimator.steps[-1][1])
        return TreeShap(forest, self._task, columns.made_of, len(self._fields)), columns.encoded

    def _log_odds(self, matrix: np.ndarray) -> np.ndarray:
        """Return what the model itself adds up: log-odds, or for each class what softmax makes its probability of."""
        said = np.clip(self._runtime.predict(matrix), LEAST, 1 - LEAST)
        return np.asarray(np.log(said) if said.ndim > 1 else np.log(said / (1 - said)))

    def _by_itself(self, own: Callable[[np.ndarray], np.ndarray], matrix: np.ndarray) -> Told:
        values = own(matrix)
        if not len(matrix):
            return Told(values, "shap", "raw score")
        said = np.asarray(self._runtime.predict(matrix[:1]), dtype=np.float64).reshape(-1)
        return Told(values, "shap", _scale(self._task, values[0].sum(axis=1), said))


def no_way(what: str, format: str, instead: str = "", lacks: str = "") -> InputError:
    """Return what is said of a model that cannot be explained.

    Args:
        what: the model, as the sentence begins.
        instead: what else to do, a sentence; nothing when empty.
        lacks: why what it was asked does not help either; nothing when empty.
    """
    return InputError(
        f"{what} cannot be explained: it is {format!r}, which does not tell what each input adds to an answer, and it "
        "keeps nothing about its data to find it out by" + (f"; {lacks}." if lacks else "."),
        hint=(
            f"{instead} Ask it without explain first: what was asked tells what its data is like. Or log it with "
            "input_example=… (some rows of its data) and register that, or train it again with bascule run."
        ).strip(),
    )


def _last(estimator: Any) -> str:
    return _last(estimator.steps[-1][1]) if hasattr(estimator, "steps") else type(estimator).__name__


def _scale(task: str, scores: np.ndarray, said: np.ndarray) -> str:
    """Return what a library's scores are, by what the model said of the same row."""
    if task == "multiclass":
        return "log-odds"
    with np.errstate(over="ignore"):
        likely = {"log-odds": 1 / (1 + np.exp(-scores))}
        if task == "regression":
            likely = {"value": scores, "log of the value": np.exp(scores)}
    return next((name for name, one in likely.items() if np.allclose(one, said, rtol=CLOSE, atol=1e-6)), "raw score")
