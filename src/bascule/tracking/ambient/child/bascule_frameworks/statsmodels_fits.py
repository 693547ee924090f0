"""statsmodels: the results of every model's `fit`: coefficients with p-values, criteria, and the summary's text."""

from __future__ import annotations

import json
import types
import warnings
from functools import partial
from types import ModuleType
from typing import Any

from bascule_frameworks import models
from bascule_frameworks.describing import short
from bascule_frameworks.telling import number, params, point, warn
from bascule_frameworks.wrapping import Call, below, wrap

FRAMEWORK = "statsmodels"
CRITERIA = (
    "aic",
    "bic",
    "llf",
    "rsquared",
    "rsquared_adj",
    "prsquared",
    "fvalue",
    "f_pvalue",
    "nobs",
    "mse_resid",
    "deviance",
)
MOST_COEFFICIENTS = 500
FITS = ("fit", "fit_regularized")


def wrap_models(module: ModuleType) -> None:
    """Look at `fit` of every class of models, those that are defined later too."""
    for cls in [module.Model, *below(module.Model)]:
        _watch(cls)

    def init_subclass(cls: type, **kwargs: Any) -> None:
        super(module.Model, cls).__init_subclass__(**kwargs)  # type: ignore[misc]
        try:
            _watch(cls)
        except Exception as error:
            warn(FRAMEWORK, f"{cls.__name__} is not captured", error)

    module.Model.__init_subclass__ = classmethod(init_subclass)


def _watch(cls: type) -> None:
    for name in FITS:
        if isinstance(cls.__dict__.get(name), types.FunctionType):
            wrap(FRAMEWORK, cls, name, _fitted)


def _fitted(call: Call) -> None:
    result = call.result
    if result is None or not hasattr(result, "params"):
        return
    name = type(call.args[0]).__name__
    if not models.is_kept(name, result, _later):
        return
    _note(name, result)


def _later(result: Any) -> None:
    _note(type(result.model).__name__, result)


def _note(name: str, result: Any) -> None:
    with warnings.catch_warnings():  # what a summary warns of is not what the script asked for
        warnings.simplefilter("ignore")
        _told(name, result)


def _told(name: str, result: Any) -> None:
    model = result.model
    names = [str(one) for one in getattr(model, "exog_names", None) or getattr(result.params, "index", ())]
    found, chances = _numbers(result.params), _numbers(_asked(result, "pvalues"))
    names = names if len(names) == len(found) else [f"x{place}" for place in range(len(found))]
    told: dict[str, Any] = {"fit_class": type(result).__name__}
    formula = getattr(model, "formula", None)
    if isinstance(formula, str):
        told["formula"] = short(formula)
    outcome = getattr(model, "endog_names", None)
    if isinstance(outcome, str):
        told["outcome"] = outcome
    params(told, f"{name}.")
    values = {key: value for key in CRITERIA if (value := number(_asked(result, key))) is not None}
    for key, value in values.items():
        point(f"{name}.{key}", value)
    for key, value, chance in zip(names, found, chances or [None] * len(found), strict=False):
        point(f"{name}.coef.{key}", value)
        if chance is not None:
            point(f"{name}.p.{key}", chance)
    coefficients = {"formula": told.get("formula"), "outcome": told.get("outcome"), "names": names, "params": found}
    coefficients |= {key: _numbers(_asked(result, key)) for key in ("pvalues", "bse", "tvalues")}
    models.note_fit(
        FRAMEWORK,
        name,
        params=told,
        importance=dict(zip(names, found, strict=False)),
        values=values,
        texts={"summary.txt": str(result.summary())},
        model=models.keep(FRAMEWORK, "coefficients.json", partial(_write, coefficients), safe=True),
        cls=type(model),
    )


def _write(coefficients: dict[str, Any], path: str) -> None:
    """Write what a model is made of. Its pickle would hold all rows that it learned from, so it is not kept."""
    told = {
        key: [number(one) for one in held] if isinstance(held, list) and key != "names" else held
        for key, held in coefficients.items()
    }
    with open(path, "w", encoding="utf-8") as out:
        json.dump(told, out)


def _asked(result: Any, name: str) -> Any:
    """Return what a result says; many compute it only now, and some cannot."""
    try:
        return getattr(result, name, None)
    except Exception:
        return None


def _numbers(values: Any) -> list[float]:
    try:
        return [float(value) for value in values][:MOST_COEFFICIENTS]
    except (TypeError, ValueError):
        return []
