"""CatBoost: `fit` of its models, and `train`, which calls it."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any

from bascule_frameworks import models
from bascule_frameworks.boosters import keep_booster, note_curves
from bascule_frameworks.describing import rows_of, width_of
from bascule_frameworks.saved_files import wrap_catboost
from bascule_frameworks.telling import params, point
from bascule_frameworks.wrapping import Call, tried, wrap

FRAMEWORK = "catboost"


def wrap_core(module: ModuleType) -> None:
    """Look at `fit` of all its classes, and at its files."""
    for name in ("CatBoost", "CatBoostClassifier", "CatBoostRegressor", "CatBoostRanker"):
        cls = getattr(module, name, None)
        if cls is not None and "fit" in cls.__dict__:
            wrap(FRAMEWORK, cls, "fit", _fitted, part=lambda args: type(args[0]).__name__)
    tried(FRAMEWORK, wrap_catboost, module)


def _fitted(call: Call) -> None:
    model, data, target = call.args[0], call.get(1, "X"), call.get(2, "y")
    name = type(model).__name__
    if type(data).__name__ == "Pool":
        rows, width = data.num_row(), data.num_col()
        data = target = None
    else:
        rows, width = rows_of(data), width_of(data) if data is not None else 0
    note = partial(_note, name=name, rows=rows, width=width)
    if models.is_kept(name, model, note):
        note_curves(model.get_evals_result())
        note(model, data=data, target=target)


def _note(model: Any, *, name: str, rows: int | None, width: int, data: Any = None, target: Any = None) -> None:
    told = model.get_all_params() if hasattr(model, "get_all_params") else model.get_params()
    params({**told, "fit_rows": rows, "fit_columns": width}, f"{name}.")
    values = {"tree_count": model.tree_count_}
    for part, scores in (model.get_best_score() or {}).items():
        for metric, value in scores.items():
            values[f"{part}.{metric}_best"] = value
            point(f"{part}.{metric}_best", value)
    models.note_fit(
        FRAMEWORK,
        name,
        params=told,
        data=data,
        target=target,
        importance=_importance(model),
        values=values,
        model=keep_booster(model),
        cls=type(model),
    )


def _importance(model: Any) -> dict[str, float]:
    found = model.feature_importances_
    return {str(name): float(value) for name, value in zip(model.feature_names_, found, strict=False)}
