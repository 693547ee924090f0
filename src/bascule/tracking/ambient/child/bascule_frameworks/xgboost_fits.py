"""XGBoost: its own `train` and `cv`, and its scikit-learn classes."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any

from bascule_frameworks import models
from bascule_frameworks.boosters import keep_booster, note_curves
from bascule_frameworks.sklearn_fits import after_fit, class_name
from bascule_frameworks.telling import curve, params, point
from bascule_frameworks.wrapping import Call, wrap

FRAMEWORK = "xgboost"


def wrap_training(module: ModuleType) -> None:
    """Look at `xgboost.train` and `xgboost.cv`."""
    wrap(FRAMEWORK, module, "train", _trained, part=lambda args: "xgboost.train")
    wrap(FRAMEWORK, module, "cv", _validated)


def wrap_sklearn(module: ModuleType) -> None:
    """Look at the estimators: each iteration is noted beside what every estimator is noted with."""
    for cls in list(vars(module).values()):
        if isinstance(cls, type) and cls.__module__ == module.__name__ and "fit" in cls.__dict__:
            if getattr(cls.fit, "__bascule__", False):  # as any estimator's
                cls.fit = cls.fit.__wrapped__
            wrap(FRAMEWORK, cls, "fit", _fitted, part=class_name)


def _fitted(call: Call) -> None:
    note_curves(getattr(call.args[0], "evals_result_", None))
    after_fit(call)


def _trained(call: Call) -> None:
    booster, given = call.result, dict(call.get(0, "params") or {})
    if models.is_kept("xgboost.train", booster, partial(_note, given=given)):
        note_curves(call.get(6, "evals_result"))
        _note(booster, given=given)


def _note(booster: Any, *, given: dict[str, Any]) -> None:
    told = {**given, "num_boosted_rounds": booster.num_boosted_rounds()}
    params(told, "xgboost.")
    values = {}
    for name in ("best_score", "best_iteration"):
        found = getattr(booster, name, None) if booster.attr(name) is not None else None
        if found is not None:
            values[name] = found
            point(f"xgboost.{name}", found)
    models.note_fit(
        FRAMEWORK,
        "xgboost.train",
        params=told,
        importance={name: float(value) for name, value in booster.get_score(importance_type="gain").items()},
        values=values,
        model=keep_booster(booster),
        cls=type(booster),
    )


def _validated(call: Call) -> None:
    result = call.result
    for key in getattr(result, "columns", result):
        curve(f"xgboost.cv.{key}", list(result[key]))
    params(call.get(0, "params") or {}, "xgboost.")
