"""Gradient-boosted trees: LightGBM, its parameters searched by Optuna.

The search learns from a draw of the training rows with small trees and judges each trial on a draw of the validation
rows; hopeless trials are stopped at the median. The final fit learns from all rows, more slowly, with as many rounds as
the validation rows want. Everything is seeded and counted in trials and rounds, never in seconds: equal data gives an
equal model, byte by byte, on the same version of LightGBM.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bascule.errors import InputError, MissingExtra, NotFound
from bascule.training.threads import THREADS, calm_threads
from bascule.training.trainer import (
    MetricPoint,
    Progress,
    Step,
    TrainedModel,
    TrainerSettings,
    TrainingData,
    Trial,
)

SEARCH_ROUNDS = 300
SEARCH_RATE = 0.1
SEARCH_PATIENCE = 20
FINAL_ROUNDS = 1_500
FINAL_RATE = 0.05
FINAL_PATIENCE = 40
PRUNE_EVERY = 10
START_TRIALS = 4
MANY_ROWS = 10_000  # below, threads wait for each other longer than they work

OBJECTIVES = {
    "binary": ("binary",),
    "multiclass": ("multiclass", "multiclassova"),
    "regression": ("regression", "regression_l1", "huber", "poisson", "gamma", "tweedie", "quantile", "mape"),
}
METRICS = {"binary": ("binary_logloss", "log_loss"), "multiclass": ("multi_logloss", "log_loss")}
REGRESSION_METRIC = ("rmse", "rmse")

# What the search may vary, with LightGBM's own defaults, which are always the first trial.
DEFAULTS: dict[str, float | int] = {
    "num_leaves": 31,
    "min_data_in_leaf": 20,
    "feature_fraction": 1.0,
    "bagging_fraction": 1.0,
    "lambda_l2": 0.001,
    "cat_smooth": 10.0,
}
OTHER_PARAMS = (
    "objective",
    "learning_rate",
    "num_iterations",
    "max_depth",
    "max_bin",
    "lambda_l1",
    "min_gain_to_split",
    "min_sum_hessian_in_leaf",
    "scale_pos_weight",
    "is_unbalance",
    "path_smooth",
    "extra_trees",
    "linear_tree",
    "alpha",
    "tweedie_variance_power",
    "max_cat_to_onehot",
    "cat_l2",
)


@dataclass(frozen=True)
class _Sample:
    """The matrices of one fit."""

    train: np.ndarray
    train_label: np.ndarray
    validation: np.ndarray
    validation_label: np.ndarray


@dataclass(frozen=True)
class _Fit:
    """What is the same in every fit of one call: the library, the fixed parameters, the metric and the categories."""

    lightgbm: Any
    fixed: dict[str, Any]
    metric: str
    shown: str
    categorical: list[int]


def train(data: TrainingData, settings: TrainerSettings, progress: Progress) -> TrainedModel:
    """Search and fit gradient-boosted trees.

    Works from ten rows up; with few rows leaves and bins shrink along. Parameters in `settings.params` are fixed and
    not searched; those that exist are LightGBM's names in `DEFAULTS` and `OTHER_PARAMS`.

    Raises:
        NotFound: a parameter has no such name.
        InputError: an objective does not fit the task, or LightGBM refuses the parameters.
        MissingExtra: LightGBM or Optuna is not installed.
    """
    lightgbm, optuna = _libraries()
    sample = _Sample(data.matrix(data.train), data.train.label, data.matrix(data.validation), data.validation.label)
    fit = _prepare(lightgbm, data, settings)
    try:
        with _quiet(optuna):
            best, trials = _search(optuna, fit, _draw(sample, settings), settings, progress)
        text, params, history = _fit_final(fit, sample, best, settings, progress)
    except lightgbm.basic.LightGBMError as error:
        raise InputError(f"LightGBM refuses: {error}.", hint="Look at [model] params.") from error
    curve = [MetricPoint(key=f"trial.{fit.shown}", step=t.number, value=t.value) for t in trials if t.value is not None]
    return TrainedModel(
        format="lightgbm",
        artifact=text.encode(),
        signature=data.signature,
        params=params,
        metrics_history=(*curve, *history),
        trials=tuple(trials),
        libraries={"lightgbm": lightgbm.__version__, "optuna": optuna.__version__},
    )


def _libraries() -> tuple[Any, Any]:
    calm_threads()
    try:
        import lightgbm
        import optuna
    except ImportError:
        raise MissingExtra("Training", "train") from None
    return lightgbm, optuna


def _prepare(lightgbm: Any, data: TrainingData, settings: TrainerSettings) -> _Fit:
    output = data.signature.output
    known = [*DEFAULTS, *OTHER_PARAMS]
    for name in settings.params:
        if name not in known:
            raise NotFound("LightGBM parameter in [model] params", name, known)
    objective = settings.params.get("objective", OBJECTIVES[output.task][0])
    if objective not in OBJECTIVES[output.task]:
        raise InputError(
            f"The objective {objective!r} does not fit a {output.task} label.",
            hint=f"Use one of: {', '.join(OBJECTIVES[output.task])}.",
        )
    metric, shown = METRICS.get(output.task, REGRESSION_METRIC)
    rows = len(data.train.label)
    fixed = {
        "objective": objective,
        "metric": metric,
        "verbosity": -1,
        "num_threads": THREADS if rows >= MANY_ROWS else 1,
        "deterministic": True,
        "force_row_wise": True,
        "feature_pre_filter": False,
        "seed": settings.seed,
        "max_bin": 255,
        "min_data_in_bin": 3 if rows >= 1_000 else 1,
        "bagging_freq": 1,
        **settings.params,
    }
    if output.task == "multiclass":
        fixed["num_class"] = len(output.classes)
    return _Fit(lightgbm, fixed, metric, shown, data.signature.categorical())


def _draw(sample: _Sample, settings: TrainerSettings) -> _Sample:
    random = np.random.default_rng(settings.seed)

    def some(rows: int, most: int) -> np.ndarray | slice:
        return slice(None) if rows <= most else np.sort(random.choice(rows, most, replace=False))

    learn = some(len(sample.train), settings.search_rows)
    judge = some(len(sample.validation), max(settings.search_rows // 2, 1))
    return _Sample(
        sample.train[learn], sample.train_label[learn], sample.validation[judge], sample.validation_label[judge]
    )


def _suggest(trial: Any, fixed: dict[str, Any], rows: int) -> dict[str, float | int]:
    most_leaves, most_in_leaf = min(95, max(4, rows // 5)), max(3, min(400, rows // 10))
    # A leaf of two among thousands of rows can only be noise, which validation rows of a few days don't punish.
    least_in_leaf = max(2, min(20, rows // 1_000))
    space: dict[str, Callable[[], float | int]] = {
        "num_leaves": lambda: trial.suggest_int("num_leaves", 4, most_leaves, log=True),
        "min_data_in_leaf": lambda: trial.suggest_int("min_data_in_leaf", least_in_leaf, most_in_leaf, log=True),
        "feature_fraction": lambda: trial.suggest_float("feature_fraction", 0.4, 1.0),
        "bagging_fraction": lambda: trial.suggest_float("bagging_fraction", 0.5, 1.0),
        "lambda_l2": lambda: trial.suggest_float("lambda_l2", 0.001, 50.0, log=True),
        "cat_smooth": lambda: trial.suggest_float("cat_smooth", 1.0, 200.0, log=True),
    }
    return {name: suggest() for name, suggest in space.items() if name not in fixed}


def _first_trial(fixed: dict[str, Any], rows: int) -> dict[str, float | int]:
    first = {name: value for name, value in DEFAULTS.items() if name not in fixed}
    if "num_leaves" in first:
        first["num_leaves"] = min(31, max(4, rows // 5))
    if "min_data_in_leaf" in first:
        first["min_data_in_leaf"] = max(2, min(20, rows // 10))
    return first


def _search(
    optuna: Any, fit: _Fit, sample: _Sample, settings: TrainerSettings, progress: Progress
) -> tuple[dict[str, float | int], list[Trial]]:
    first = _first_trial(fit.fixed, len(sample.train))
    if settings.trials == 0:
        return first, []
    study = optuna.create_study(
        direction="minimize",
        sampler=optuna.samplers.TPESampler(seed=settings.seed, n_startup_trials=START_TRIALS),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=START_TRIALS, n_warmup_steps=2 * PRUNE_EVERY),
    )
    study.enqueue_trial(first)

    def report(study: Any, trial: Any) -> None:
        progress(Step("search", trial.number + 1, settings.trials, {fit.shown: study.best_value}))

    progress(Step("search", 0, settings.trials))
    study.optimize(_objective(optuna, fit, sample), n_trials=settings.trials, callbacks=[report])
    trials = [
        Trial(
            number=one.number,
            params=one.params,
            value=one.value if one.state.name == "COMPLETE" else None,
            rounds=one.user_attrs.get("rounds", one.last_step or 0),
        )
        for one in study.trials
    ]
    return study.best_params, trials


def _objective(optuna: Any, fit: _Fit, sample: _Sample) -> Callable[[Any], float]:
    learn, judge = _datasets(fit, sample)

    def objective(trial: Any) -> float:
        suggested = _suggest(trial, fit.fixed, len(sample.train))
        params: dict[str, Any] = {"learning_rate": SEARCH_RATE, **fit.fixed, **suggested}
        booster = fit.lightgbm.train(
            _without_rounds(params),
            learn,
            num_boost_round=min(SEARCH_ROUNDS, int(params.get("num_iterations", SEARCH_ROUNDS))),
            valid_sets=[judge],
            valid_names=["validation"],
            callbacks=[
                fit.lightgbm.early_stopping(SEARCH_PATIENCE, verbose=False),
                _pruning(optuna, trial, fit.metric),
            ],
        )
        trial.set_user_attr("rounds", booster.best_iteration or booster.current_iteration())
        return float(booster.best_score["validation"][fit.metric])

    return objective


def _fit_final(
    fit: _Fit, sample: _Sample, best: dict[str, float | int], settings: TrainerSettings, progress: Progress
) -> tuple[str, dict[str, Any], list[MetricPoint]]:
    params: dict[str, Any] = {"learning_rate": FINAL_RATE, **fit.fixed, **best}
    most = int(params.get("num_iterations", FINAL_ROUNDS))
    curve: list[float] = []
    learn, judge = _datasets(fit, sample)
    booster = fit.lightgbm.train(
        _without_rounds(params),
        learn,
        num_boost_round=most,
        valid_sets=[judge],
        valid_names=["validation"],
        callbacks=[
            fit.lightgbm.early_stopping(FINAL_PATIENCE, verbose=False),
            _watching(curve, fit, most, progress),
        ],
    )
    rounds = booster.best_iteration or booster.current_iteration()
    if settings.refit:
        both = replace(
            sample,
            train=np.vstack([sample.train, sample.validation]),
            train_label=np.concatenate([sample.train_label, sample.validation_label]),
        )
        booster = fit.lightgbm.train(_without_rounds(params), _datasets(fit, both)[0], num_boost_round=rounds)
    progress(Step("fit", most, most, {fit.shown: min(curve)}))
    history = [MetricPoint(key=f"validation.{fit.shown}", step=step + 1, value=one) for step, one in enumerate(curve)]
    return booster.model_to_string(num_iteration=rounds), {**params, "num_iterations": rounds}, history


def _datasets(fit: _Fit, sample: _Sample) -> tuple[Any, Any]:
    """Bin the rows once; the trials share the bins."""
    own = {name: fit.fixed[name] for name in ("verbosity", "num_threads", "deterministic", "force_row_wise", "seed")}
    own |= {name: fit.fixed[name] for name in ("feature_pre_filter", "max_bin", "min_data_in_bin")}
    own |= {name: fit.fixed[name] for name in ("linear_tree",) if name in fit.fixed}
    learn = fit.lightgbm.Dataset(
        sample.train, sample.train_label, params=own, categorical_feature=fit.categorical, free_raw_data=False
    ).construct()
    judge = fit.lightgbm.Dataset(
        sample.validation, sample.validation_label, reference=learn, params=own, free_raw_data=False
    ).construct()
    return learn, judge


def _without_rounds(params: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name != "num_iterations"}


def _pruning(optuna: Any, trial: Any, metric: str) -> Callable[[Any], None]:
    def after_round(state: Any) -> None:
        if (state.iteration + 1) % PRUNE_EVERY == 0:
            trial.report(state.evaluation_result_list[0][2], state.iteration + 1)
            if trial.should_prune():
                raise optuna.TrialPruned(metric)

    return after_round


def _watching(curve: list[float], fit: _Fit, most: int, progress: Progress) -> Callable[[Any], None]:
    def after_round(state: Any) -> None:
        curve.append(float(state.evaluation_result_list[0][2]))
        if len(curve) % 25 == 0:
            progress(Step("fit", len(curve), most, {fit.shown: min(curve)}))

    return after_round


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
