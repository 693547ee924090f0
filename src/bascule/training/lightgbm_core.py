"""LightGBM without what it takes along: `import lightgbm` reads all of scikit-learn and pandas, for nobody here.

Training and reading a booster need its core alone. It runs without both where they are not installed; here it is let
believe so, in a copy of the package under a name of its own. Whoever imports `lightgbm` itself gets it whole.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from contextlib import suppress
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from bascule.training.threads import calm_threads

NAME = "bascule_lightgbm"
WHOLE = "lightgbm"
LEFT_OUT = frozenset(("dask", "matplotlib", "pandas", "sklearn"))
_LOCK = threading.Lock()


def lightgbm_core() -> Any:
    """Return the module `lightgbm`, or its like without the classes for scikit-learn, which takes a sixth of the time.

    It is the whole one where that, or scikit-learn, has been imported before. Both stand on one library in C.

    Raises:
        ImportError: LightGBM, or what it needs, is not installed.
    """
    calm_threads()
    with _LOCK:
        if WHOLE in sys.modules:
            return import_module(WHOLE)
        if NAME in sys.modules:
            return sys.modules[NAME]
        return import_module(WHOLE) if "sklearn" in sys.modules else _read()


def _read() -> ModuleType:
    found = importlib.util.find_spec(WHOLE)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"No module named {WHOLE!r}", name=WHOLE)
    spec = importlib.util.spec_from_file_location(
        NAME, found.origin, submodule_search_locations=found.submodule_search_locations
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    absent = _Absent()
    sys.meta_path.insert(0, absent)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
            del sys.modules[name]
        raise
    finally:
        with suppress(ValueError):
            sys.meta_path.remove(absent)
    return module


class _Absent:
    """Finds none of what is left out, for the thread that made it alone: others may import it at the same time."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name in LEFT_OUT and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None
