"""LightGBM: its own `train` and `cv`, and its scikit-learn classes."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from bascule_frameworks import models
from bascule_frameworks.boosters import keep_booster, note_curves
from bascule_frameworks.sklearn_fits import after_fit, class_name
from bascule_frameworks.telling import curve, params, point, warn
from bascule_frameworks.wrapping import Arguments, Call, takes, wrap

FRAMEWORK = "lightgbm"


def wrap_engine(module: ModuleType) -> None:
    """Look at `lightgbm.train` and `lightgbm.cv`."""
    takes_callbacks = takes(module.train, "callbacks")
    before = _with_callback if takes_callbacks and takes(module.train, "valid_sets") else None
    wrap(FRAMEWORK, module, "train", _trained, part=lambda args: "lightgbm.train", before=before)
    wrap(FRAMEWORK, module, "cv", _validated)


def wrap_sklearn(module: ModuleType) -> None:
    """Look at the estimators: each iteration is noted beside what every estimator is noted with."""
    for name in ("LGBMModel", "LGBMClassifier", "LGBMRegressor", "LGBMRanker"):
        cls = getattr(module, name, None)
        if cls is not None and "fit" in cls.__dict__:
            if getattr(cls.fit, "__bascule__", False):  # as any estimator's
                cls.fit = cls.fit.__wrapped__
            wrap(FRAMEWORK, cls, "fit", _fitted, part=class_name)


def _fitted(call: Call) -> None:
    note_curves(getattr(call.args[0], "evals_result_", None))
    after_fit(call)


def _trained(call: Call) -> None:
    booster = call.result
    if models.is_kept("lightgbm.train", booster, _note):
        _note(booster)


def _note(booster: Any) -> None:
    told = {**booster.params, "num_trees": booster.num_trees()}
    params(told, "lightgbm.")
    for data, scores in (booster.best_score or {}).items():
        for metric, value in scores.items():
            point(f"{data}.{metric}_best", value, booster.best_iteration)
    gains = booster.feature_importance("gain")
    names = booster.feature_name()
    models.note_fit(
        FRAMEWORK,
        "lightgbm.train",
        params=told,
        importance=dict(zip(names, map(float, gains), strict=False)),
        values={"best_iteration": booster.best_iteration},
        model=keep_booster(booster),
        cls=type(booster),
    )


def _with_callback(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """Have each iteration's metrics told as it ends, if any data are given to measure on."""
    if kwargs.get("valid_sets") or len(args) > 3:
        kwargs["callbacks"] = [*(kwargs.get("callbacks") or ()), _iterated]
    return args, kwargs


def _iterated(env: Any) -> None:
    try:
        for data, metric, value, *_ in env.evaluation_result_list or ():
            point(f"{data}.{metric}", value, env.iteration)
    except Exception as error:
        warn(FRAMEWORK, "iterations are not captured", error)


# Before early stopping, which ends a training by an exception.
_iterated.order = 20  # type: ignore[attr-defined]


def _validated(call: Call) -> None:
    for key, values in call.result.items():
        if isinstance(values, list):
            curve(f"lightgbm.cv.{key}", values)
    params(call.get(0, "params") or {}, "lightgbm.")
