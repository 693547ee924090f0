"""What is noted of frameworks, found by their import: tables read and written, parameters, metrics, models.

Wrappers are put on when the script itself imports a module; nothing is imported for its sake. A wrapper runs the
original as it was called, then looks at what came: whatever it cannot understand (another version, an unusual argument)
it leaves out, and says once on standard error. One module here is one framework; only the standard library is used.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

from bascule_watch import own_modules

from bascule_frameworks.telling import end, warn
from bascule_frameworks.wrapping import rebinding

__all__ = ["end", "watch_imports"]

# The module that is waited for, and `module:function` here that is called with it.
WRAPPERS: dict[str, str] = {
    "urllib.request": "addresses:wrap_urllib",
    "pandas": "pandas_tables:wrap_pandas",
    "polars": "polars_tables:wrap_polars",
    "pyarrow.parquet": "arrow_tables:wrap_parquet",
    "pyarrow.csv": "arrow_tables:wrap_csv",
    "pyarrow.json": "arrow_tables:wrap_json",
    "pyarrow.feather": "arrow_tables:wrap_feather",
    "pyarrow.dataset": "arrow_tables:wrap_dataset",
    "duckdb": "duckdb_tables:wrap_duckdb",
    "sqlalchemy.engine": "sqlalchemy_tables:wrap_engine",
    "bascule.lake.session": "bascule_tables:wrap_session",
    "bascule.lake.tables": "bascule_tables:wrap_lake",
    "sklearn.base": "sklearn_fits:wrap_base",
    "sklearn.model_selection": "sklearn_fits:wrap_selection",
    "sklearn.utils.parallel": "sklearn_fits:wrap_parallel",
    "sklearn.metrics": "sklearn_metrics:wrap_metrics",
    "safetensors": "saved_files:wrap_safe_open",
    "safetensors.torch": "saved_files:wrap_safetensors",
    "safetensors.numpy": "saved_files:wrap_safetensors",
    "h5py._hl.files": "saved_files:wrap_h5py",
    "xgboost.core": "saved_files:wrap_xgboost",
    "lightgbm.basic": "saved_files:wrap_lightgbm",
    "lightgbm.engine": "lightgbm_fits:wrap_engine",
    "lightgbm.sklearn": "lightgbm_fits:wrap_sklearn",
    "xgboost.training": "xgboost_fits:wrap_training",
    "xgboost.sklearn": "xgboost_fits:wrap_sklearn",
    "catboost.core": "catboost_fits:wrap_core",
    "torch": "torch_loops:wrap_torch",
    "lightning.pytorch.trainer.trainer": "lightning_fits:wrap_trainer",
    "pytorch_lightning.trainer.trainer": "lightning_fits:wrap_trainer",
    "keras.src.backend.torch.trainer": "keras_fits:wrap_trainer",
    "keras.src.backend.tensorflow.trainer": "keras_fits:wrap_trainer",
    "keras.src.backend.jax.trainer": "keras_fits:wrap_trainer",
    "statsmodels.base.model": "statsmodels_fits:wrap_models",
}


def watch_imports() -> None:
    """Wrap a framework's functions when its module has been imported."""
    sys.meta_path.insert(0, _Finder())
    with rebinding(own_modules):
        for name in WRAPPERS:  # what was imported before: by the interpreter's start, or above `import bascule.ambient`
            if name in sys.modules:
                _wrap(name, sys.modules[name])


class _Finder(importlib.abc.MetaPathFinder):
    """Lets the usual finders find a module, and looks at those that are named in `WRAPPERS` after they have run."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in WRAPPERS:
            return None
        spec = None
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    break
        if spec is None or spec.loader is None or not hasattr(spec.loader, "exec_module"):
            return spec
        loader = spec.loader
        run = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            if module.__name__ == name:
                _wrap(name, module)

        loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _wrap(name: str, module: ModuleType) -> None:
    """Put the wrappers of a module on; what fails is told, and the script goes on without them."""
    try:
        place, _, function = WRAPPERS[name].partition(":")
        getattr(importlib.import_module(f"{__name__}.{place}"), function)(module)
    except Exception as error:
        warn(name.partition(".")[0], f"{name} is not captured", error)
