"""What is noted of machine-learning frameworks, found by their import: parameters, metrics, models, files.

A wrapper is put on when the script itself imports a module; nothing is imported for its sake. A wrapper calls the
original first and last: whatever it cannot understand (another version, an unusual argument) it leaves out.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import sys
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from bascule_watch import keep, note, note_file

_depth = threading.local()
_calls: dict[str, int] = {}
LARGEST_VALUE = 500


def watch_imports() -> None:
    """Wrap a framework's functions when its module has been imported."""
    sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Lets the usual finders find a module, and looks at those that are named in `WRAPPERS` after they have run."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in WRAPPERS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        loader = spec.loader
        run = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            try:
                WRAPPERS[name](module)
            except Exception as error:
                note({"kind": "warning", "text": f"{name} is not captured: {type(error).__name__}: {error}"})

        loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _wrap(owner: Any, name: str, after: Callable[[Any, tuple[Any, ...], dict[str, Any]], None]) -> None:
    """Put a wrapper on a function: it runs as it is, then `after(result, args, kwargs)` may look, and may fail."""
    original = getattr(owner, name, None)
    if original is None:
        return

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        _depth.now = getattr(_depth, "now", 0) + 1
        try:
            result = original(*args, **kwargs)
        finally:
            _depth.now -= 1
        if _depth.now == 0:  # what a framework calls inside itself is not the script's doing
            try:
                after(result, args, kwargs)
            except Exception as error:
                note({"kind": "warning", "text": f"{name}: {type(error).__name__}: {error}"})
        return result

    setattr(owner, name, wrapper)


def _params(name: str, values: dict[str, Any]) -> None:
    plain = {
        f"{name}.{key}": value if isinstance(value, str | int | float | bool | None) else repr(value)[:LARGEST_VALUE]
        for key, value in values.items()
    }
    note({"kind": "params", "values": plain})


def _metric(key: str, value: Any, step: int | None = None) -> None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return
    if step is None:
        step = _calls[key] = _calls.get(key, -1) + 1
    note({"kind": "metric", "key": key, "value": number, "step": step})


def _keep(text: str, form: str) -> None:
    """Put a model beside the journal; the parent moves it into the store."""
    path = keep(text.encode())
    if path is not None:
        note({"kind": "model", "format": form, "path": path})


def _sklearn_base(module: ModuleType) -> None:
    original = module._fit_context  # every fit of scikit-learn goes through this decorator since 1.3

    def fit_context(*args: Any, **kwargs: Any) -> Any:
        decorate = original(*args, **kwargs)

        def decorated(fit: Any) -> Any:
            holder = type("Holder", (), {"fit": staticmethod(decorate(fit))})
            if fit.__name__ in ("fit", "fit_transform", "fit_predict"):
                _wrap(holder, "fit", _after_fit)
            return holder.fit  # type: ignore[attr-defined]

        return decorated

    module._fit_context = fit_context


def _after_fit(_: Any, args: tuple[Any, ...], __: dict[str, Any]) -> None:
    estimator, data = args[0], args[1] if len(args) > 1 else None
    name = type(estimator).__name__
    _params(name, estimator.get_params(deep=True))
    if hasattr(data, "shape"):
        _params(name, {"fit_rows": data.shape[0], "fit_columns": data.shape[1] if len(data.shape) > 1 else 1})
    elif hasattr(data, "__len__"):
        _params(name, {"fit_rows": len(data)})
    for attribute in ("best_score_", "n_iter_"):
        _metric(f"{name}.{attribute.rstrip('_')}", getattr(estimator, attribute, None))
    if hasattr(estimator, "best_params_"):
        _params(f"{name}.best", estimator.best_params_)


def _sklearn_metrics(module: ModuleType) -> None:
    for name in module.__all__:
        if name.endswith(("_score", "_loss", "_error", "_deviance")):
            _wrap(module, name, lambda result, args, kwargs, name=name: _metric(name, result))  # type: ignore[misc]


def _lightgbm_engine(module: ModuleType) -> None:
    def after(booster: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        _params("lightgbm", {**booster.params, "num_trees": booster.num_trees()})
        for data, scores in (booster.best_score or {}).items():
            for metric, value in scores.items():
                _metric(f"{data}.{metric}", value, booster.best_iteration)
        _keep(booster.model_to_string(), "lightgbm.txt")

    _wrap(module, "train", after)


def _xgboost_training(module: ModuleType) -> None:
    def after(booster: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        _params("xgboost", dict(args[0] if args else kwargs.get("params", {})))
        for data, curves in (kwargs.get("evals_result") or {}).items():
            for metric, values in curves.items():
                for step, value in enumerate(values):
                    _metric(f"{data}.{metric}", value, step)
        _keep(booster.save_raw("json").decode(), "xgboost.json")

    _wrap(module, "train", after)


def _readers(*names: str) -> Callable[[ModuleType], None]:
    """Note the paths that are given to functions which open files below Python, where no audit hook sees them."""

    def wrap(module: ModuleType) -> None:
        for name in names:
            owner, _, function = name.rpartition(".")
            target = getattr(module, owner) if owner else module
            position = 1 if owner else 0  # a method's first argument is its object

            def after(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any], position: int = position) -> None:
                path = args[position] if len(args) > position else kwargs.get("source", kwargs.get("path_or_paths"))
                for one in path if isinstance(path, list | tuple) else [path]:
                    note_file(one, "r")

            _wrap(target, function, after)

    return wrap


WRAPPERS: dict[str, Callable[[ModuleType], None]] = {
    "sklearn.base": _sklearn_base,
    "sklearn.metrics": _sklearn_metrics,
    "lightgbm.engine": _lightgbm_engine,
    "xgboost.training": _xgboost_training,
    "pyarrow.parquet.core": _readers("read_table", "ParquetFile.__init__", "ParquetDataset.__init__"),
    "pyarrow.csv": _readers("read_csv", "open_csv"),
    "polars": _readers("read_csv", "scan_csv", "read_parquet", "scan_parquet", "read_ndjson", "scan_ndjson"),
}
