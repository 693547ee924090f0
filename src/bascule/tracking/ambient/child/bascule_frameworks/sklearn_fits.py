"""scikit-learn: what its estimators, pipelines and searches fit, and cross-validation."""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from collections.abc import Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any

from bascule_frameworks import models, skops_files
from bascule_frameworks.boosters import keep_booster
from bascule_frameworks.describing import columns_of, rows_of, width_of
from bascule_frameworks.telling import allowed, curve, number, params, plainly, point, warn
from bascule_frameworks.wrapping import Call, below, inside, tried, wrap, wrapped

FRAMEWORK = "sklearn"
FITS = ("fit", "fit_transform", "fit_predict", "partial_fit")
MOST_CHILDREN = 200
# So many models of a process, whose pickle has at most so many bytes, are written by skops unasked.
MOST_SKOPS, LARGEST_SKOPS = 5, 8 << 20
VALIDATIONS = ("cross_val_score", "cross_validate", "cross_val_predict", "learning_curve", "validation_curve")

_written = {"skops": 0}
_beyond = {"skops": False}


def wrap_base(module: ModuleType) -> None:
    """Look at every class of estimators that is defined from now on, whoever defines it."""
    base = module.BaseEstimator
    original = base.__dict__.get("__init_subclass__")

    def init_subclass(cls: type, **kwargs: Any) -> None:
        if original is None:
            super(base, cls).__init_subclass__(**kwargs)  # type: ignore[misc]
        else:
            original.__func__(cls, **kwargs)
        try:
            _watch(cls)
        except Exception as error:
            warn(FRAMEWORK, f"{cls.__name__} is not captured", error)

    base.__init_subclass__ = classmethod(init_subclass)
    for cls in below(base):  # those that were there before anybody watched
        _watch(cls)


def _watch(cls: type) -> None:
    for name in FITS:
        own = cls.__dict__.get(name)
        if isinstance(own, types.FunctionType):
            after = after_part if name == "partial_fit" else after_fit
            wrap(FRAMEWORK, cls, name, after, part=class_name)
        elif isinstance(getattr(own, "fn", None), types.FunctionType):  # only there if a part of it can do it
            key = f"{cls.__module__}.{cls.__qualname__}.{name}"
            own.fn = wrapped(FRAMEWORK, key, own.fn, after_fit, part=class_name)  # type: ignore[union-attr]


def wrap_selection(module: ModuleType) -> None:
    """Look at cross-validation; what is fitted inside is a part of it."""
    for name in VALIDATIONS:
        wrap(FRAMEWORK, module, name, _VALIDATED.get(name, _nothing))
    for name in ("permutation_test_score",):
        wrap(FRAMEWORK, module, name, _nothing)


def wrap_parallel(module: ModuleType) -> None:
    """Let what scikit-learn itself has done by other threads and processes be a part of what asked for it."""
    holder = module._FuncWrapper
    original = holder.__call__

    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        with inside():
            return original(self, *args, **kwargs)

    holder.__call__ = __call__


def class_name(args: tuple[Any, ...]) -> str:
    """Return the class of a method's object."""
    return type(args[0]).__name__


def after_fit(call: Call) -> None:
    """Note what was fitted."""
    estimator, data, target = call.args[0], call.get(1, "X"), call.get(2, "y")
    if not hasattr(estimator, "get_params"):
        return
    name, rows, width = type(estimator).__name__, rows_of(data), width_of(data) if data is not None else 0
    if models.is_kept(name, estimator, partial(note_estimator, name=name, rows=rows, width=width)):
        note_estimator(estimator, name=name, rows=rows, width=width, data=data, target=target, parts=call.parts)


def after_part(call: Call) -> None:
    """Have a model that learns bit by bit noted at the end, once."""
    estimator = call.args[0]
    if hasattr(estimator, "get_params"):
        name, width = type(estimator).__name__, width_of(call.get(1, "X"))
        models.keep_last(name, estimator, partial(note_estimator, name=name, rows=None, width=width))


def note_estimator(
    estimator: Any,
    *,
    name: str,
    rows: int | None,
    width: int,
    data: Any = None,
    target: Any = None,
    parts: Sequence[str] = (),
) -> None:
    """Note a fitted estimator: parameters, what it learned from, importance, candidates, and the model itself."""
    told = dict(estimator.get_params(deep=True))
    params({**told, "fit_rows": rows, "fit_columns": width}, f"{name}.")
    values = {}
    for attribute in ("best_score_", "n_iter_", "inertia_", "explained_variance_ratio_sum_"):
        value = getattr(estimator, attribute, None)
        if value is not None and getattr(value, "ndim", 0) == 0:
            values[attribute.rstrip("_")] = value
            point(f"{name}.{attribute.rstrip('_')}", value)
    best = getattr(estimator, "best_params_", None)
    if isinstance(best, Mapping):
        params(best, f"{name}.best.")
    final = getattr(estimator, "best_estimator_", estimator)
    models.note_fit(
        FRAMEWORK,
        name,
        params=told,
        data=data,
        target=target,
        importance=tried(FRAMEWORK, _importance, final, data),
        values=values,
        parts=_steps(final) or parts,
        children=tried(FRAMEWORK, _candidates, estimator) or (),
        model=keep_model(final),
        cls=type(estimator),
    )


def keep_model(estimator: Any) -> dict[str, Any] | None:
    """Keep a model: boosters in their own format, others by skops where it is there and can hold them, else by pickle.

    Unless skops is asked for, only the first few models are written by it, and none that is large: it takes ten times
    as long as pickle. It is never imported for a model that is not.
    """
    if not models.wanted():
        return None
    own = keep_booster(estimator)
    if own is not None:
        return own
    asked = os.environ.get(models.MODELS, "").lower()
    pickled = models.keep_pickle(FRAMEWORK, estimator)
    if asked == "pickle" or _beyond["skops"]:
        return pickled
    if asked != "skops":
        if pickled is None or os.stat(pickled["path"]).st_size > LARGEST_SKOPS or _written["skops"] >= MOST_SKOPS:
            return pickled
        _written["skops"] += 1
    safe = _by_skops(estimator, told=asked == "skops")
    if safe is not None and pickled is not None:
        os.unlink(pickled["path"])
    return safe or pickled


def _by_skops(estimator: Any, *, told: bool) -> dict[str, Any] | None:
    if "skops" not in sys.modules and importlib.util.find_spec("skops") is None:
        _beyond["skops"] = True
        if told:
            warn("skops", "scikit-learn's models are kept by pickle: skops is not installed")
        return None
    trusted: list[str] = []
    kept = models.keep(
        "skops", "skops", lambda path: trusted.extend(skops_files.write(estimator, path)), safe=True, told=told
    )
    return None if kept is None else {**kept, "trusted": trusted}


def _steps(estimator: Any) -> list[str]:
    named = (getattr(estimator, one, None) for one in ("steps", "transformer_list", "transformers", "estimators"))
    steps = next((one for one in named if isinstance(one, list)), [])
    pairs = [step for step in steps if isinstance(step, tuple) and len(step) > 1]
    return [f"{step[0]}={step[1] if isinstance(step[1], str) else type(step[1]).__name__}" for step in pairs]


def _importance(estimator: Any, data: Any) -> dict[str, float]:
    names = [name for name, _ in columns_of(data)] if data is not None else []
    steps = getattr(estimator, "steps", None)
    if isinstance(steps, list) and steps:
        final = steps[-1][1]
        try:
            names = [str(name) for name in estimator[:-1].get_feature_names_out()] if len(steps) > 1 else names
        except Exception:  # a step that cannot say what it makes
            names = []
    else:
        final = estimator
    found = _of_forest(final)
    if found is None:
        found = getattr(final, "feature_importances_", None)
    if found is None:
        found = getattr(final, "coef_", None)
        if found is None or not hasattr(found, "shape"):
            return {}
        if hasattr(found, "toarray"):
            found = found.toarray()
        found = abs(found).mean(axis=0) if len(found.shape) > 1 and found.shape[0] > 1 else found.ravel()
    numbers = [float(value) for value in found]
    if len(names) != len(numbers):
        own = getattr(final, "feature_names_in_", None)
        names = [str(name) for name in own] if own is not None else [f"x{place}" for place in range(len(numbers))]
    return dict(zip(names, numbers, strict=False))


def _of_forest(final: Any) -> Any:
    """Return a forest's importances as it says them itself, without a job for each tree; None for what is no forest."""
    if type(final).__module__ != "sklearn.ensemble._forest":
        return None
    try:
        grown = [one.tree_ for one in final.estimators_]
        each = [tree.compute_feature_importances() for tree in grown if tree.node_count > 1]
        total = sys.modules["numpy"].mean(each, axis=0) if each else None
        return None if total is None else total / total.sum()
    except (AttributeError, TypeError):  # another version's forest: it is asked
        return None


def _candidates(search: Any) -> list[dict[str, Any]]:
    """Return the candidates of a search, the best first, each with its parameters and scores."""
    results = getattr(search, "cv_results_", None)
    if not isinstance(results, Mapping) or "params" not in results:
        return []
    every = results["params"]
    ranked = next((results[key] for key in results if key.startswith("rank_test_")), range(len(every)))
    order = sorted(range(len(every)), key=lambda place: (int(ranked[place]), place))
    if len(every) > MOST_CHILDREN:
        allowed(f"candidates of {type(search).__name__} ({len(every)})", 0)
    scores = [key for key in results if key != "params" and not key.startswith("param_")]
    return [
        {
            "place": place,
            "params": plainly(every[place]),
            "scores": {key: number(results[key][place]) for key in scores},
        }
        for place in order[:MOST_CHILDREN]
    ]


def _nothing(call: Call) -> None:
    return


def _scored(call: Call) -> None:
    estimator, scoring = call.get(0, "estimator"), call.kwargs.get("scoring")
    name = type(estimator).__name__
    _folds(f"{name}.cv_{scoring if isinstance(scoring, str) else 'score'}", call.result)
    params(estimator.get_params(), f"{name}.")


def _validated(call: Call) -> None:
    estimator = call.get(0, "estimator")
    name = type(estimator).__name__
    for key, values in call.result.items():
        if getattr(values, "dtype", None) is not None and values.dtype.kind in "fiu":
            _folds(f"{name}.cv_{key}", values)
    params(estimator.get_params(), f"{name}.")


def _folds(key: str, values: Any) -> None:
    if allowed("cross-validations", models.MOST_FITS * 10):
        curve(key, values)
        point(f"{key}_mean", values.mean())
        point(f"{key}_std", values.std())


def _learned(call: Call) -> None:
    name = type(call.get(0, "estimator")).__name__
    sizes, learned, tested = call.result[:3]
    for size, one, other in zip(sizes, learned, tested, strict=False):
        point(f"{name}.learning_curve_train", one.mean(), int(size))
        point(f"{name}.learning_curve_test", other.mean(), int(size))


_VALIDATED = {"cross_val_score": _scored, "cross_validate": _validated, "learning_curve": _learned}
