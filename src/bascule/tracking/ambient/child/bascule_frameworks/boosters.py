"""Boosters of gradient boosting, in the formats of their own makers, which are text and run no code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bascule_frameworks.models import keep
from bascule_frameworks.telling import curve

MOST_CURVES = 50


def keep_booster(model: Any) -> dict[str, Any] | None:
    """Keep a booster, or the one in an estimator; None when it is none that is known."""
    for framework, form, write in _writers(model):
        return keep(framework, form, write, safe=True)
    return None


def note_curves(told: Mapping[str, Mapping[str, Iterable[Any]]] | None) -> None:
    """Note the metrics of each iteration, by the name of the data that they were measured on."""
    number = 0
    for data, curves in (told or {}).items():
        for metric, values in curves.items():
            number += 1
            if number <= MOST_CURVES:
                curve(f"{data}.{metric}", values)


def _writers(model: Any) -> Iterable[tuple[str, str, Callable[[str], Any]]]:
    module = type(model).__module__.partition(".")[0]
    if module == "lightgbm":
        booster = getattr(model, "booster_", model)
        if hasattr(booster, "save_model"):
            yield "lightgbm", "lightgbm.txt", booster.save_model
    elif module == "xgboost":
        booster = model.get_booster() if hasattr(model, "get_booster") else model
        if hasattr(booster, "save_raw"):
            yield "xgboost", "xgboost.json", lambda path: _write(path, booster.save_raw("json"))
    elif module == "catboost" and hasattr(model, "save_model"):
        yield "catboost", "cbm", lambda path: model.save_model(path, format="cbm")


def _write(path: str, data: Any) -> None:
    with open(path, "wb") as out:
        out.write(data)
