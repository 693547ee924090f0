"""LightGBM: its own `train` and `cv`, and its scikit-learn classes."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from bascule_frameworks import models
from bascule_frameworks.boosters import keep_booster, note_curves
from bascule_frameworks.sklearn_fits import after_fit, class_name
from bascule_frameworks.telling import curve, params, point
from bascule_frameworks.wrapping import Call, wrap

FRAMEWORK = "lightgbm"


def wrap_engine(module: ModuleType) -> None:
    """Look at `lightgbm.train` and `lightgbm.cv`."""
    wrap(FRAMEWORK, module, "train", _trained, part=lambda args: "lightgbm.train")
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
        note_curves(_recorded(call))
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


def _recorded(call: Call) -> dict[str, Any]:
    """Return what a callback of `record_evaluation` was given to write into, if the script asked for one."""
    for one in call.kwargs.get("callbacks") or ():
        found = getattr(one, "eval_result", None)
        if isinstance(found, dict):
            return found
    return {}


def _validated(call: Call) -> None:
    for key, values in call.result.items():
        if isinstance(values, list):
            curve(f"lightgbm.cv.{key}", values)
    params(call.get(0, "params") or {}, "lightgbm.")
