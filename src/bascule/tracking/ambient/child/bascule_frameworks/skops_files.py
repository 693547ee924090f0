"""Models in the format of skops: written where it is installed and can hold them, as the same bytes each time."""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import threading
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

from bascule_frameworks import skops_states
from bascule_frameworks.skops_states import SCHEMA

# Importing skops imports all of scikit-learn, which looks for these by the way: up to seconds, and used for nothing.
NOT_FOR_US = ("torch", "cupy", "dask", "jax", "pytest")
# What scikit-learn has for tests alone is less without one of those: whoever asks for it gets it anew.
LESS_WITHOUT = "sklearn.utils._testing"
_IDS = re.compile(r'("__id__": )(\d+)|("file": ")(\d+)(?=\.)')


# Data, which skops leaves to its caller; `bascule.training.foreign` and `bascule.tracking.mlmodel` have the same.
HARMLESS = frozenset(
    (
        "functools.partial",
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
        "sklearn.utils.validation.check_array",
    )
)


def write(model: Any, path: str) -> list[str]:
    """Write a model to a file, and return the types in it that whoever reads it must trust: all of them are data.

    Raises:
        TypeError: it holds what is not known as data, such as a function of the script's, or what skops would lose.
        Exception: skops cannot hold it.
    """
    try:
        return skops_states.write(model, path, HARMLESS)
    except (skops_states.Unknown, AttributeError, TypeError, ValueError, RecursionError):  # skops itself may know it
        return _write_by_skops(model, path)


def _write_by_skops(model: Any, path: str) -> list[str]:
    skops = _imported()
    raw = f"{path}.raw"
    try:
        _dump(skops, model, raw)
        with zipfile.ZipFile(raw) as written:
            if why := lost(written.read(SCHEMA).decode()):
                raise TypeError(why)
        found = sorted(map(str, skops.get_untrusted_types(file=raw)))
        if not HARMLESS.issuperset(found):
            raise TypeError(f"it holds {', '.join(sorted(set(found) - HARMLESS)[:3])}")
        settle(raw, path)
        return found
    finally:
        if os.path.exists(raw):
            os.unlink(raw)


def _dump(skops: Any, model: Any, path: str) -> None:
    """Write as `skops.dump` does, but the schema in one line: indenting it takes as long as all the rest."""
    try:
        inner = skops._persist
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as out:
            context = inner.SaveContext(zip_file=out)
            state = inner.get_state(model, context)
            context.clear_memo()
            told = {**state, "protocol": context.protocol, "_skops_version": inner.skops.__version__}
            out.writestr(SCHEMA, json.dumps(told))
    except (AttributeError, TypeError):  # another version of skops, or a model that it cannot hold
        skops.dump(model, path)


def settle(source: str, target: str) -> None:
    """Write a skops file again, with numbers in their order where skops has addresses in memory, and without times."""
    order: dict[str, str] = {}

    def number(found: re.Match[str]) -> str:
        own = found[2] or found[4]
        return (found[1] or found[3]) + order.setdefault(own, str(len(order)))

    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as after:
        schema = _IDS.sub(number, before.read(SCHEMA).decode())
        names = {}
        for name in before.namelist():
            stem, dot, ending = name.partition(".")
            names[order.get(stem, stem) + dot + ending] = name
        for name in sorted(names):
            data = schema.encode() if name == SCHEMA else before.read(names[name])
            after.writestr(zipfile.ZipInfo(name), data)


def lost(schema: str) -> str | None:
    """Return what of a model's dicts the schema of a skops file does not bring back, or None.

    It writes every key as text, so that 1 and "1" are one, and of `bool` makes True whatever the text is.
    """
    found: list[str] = []

    def look(told: dict[str, Any]) -> dict[str, Any]:
        if told.get("__loader__") == "DictNode":
            kinds, keys = [one["__class__"] for one in told["key_types"]["content"]], list(told["content"])
            if len(kinds) != len(keys):
                found.append(f"of a dict with {len(kinds)} keys it holds {len(keys)}: 1 and '1' are the same to skops")
            elif any(kind in ("bool", "bool_") and key == "false" for kind, key in zip(kinds, keys, strict=True)):
                found.append("a dict's key False comes back from skops as True")
        return told

    json.loads(schema, object_hook=look)
    return found[0] if found else None


def _imported() -> Any:
    if "skops.io" in sys.modules:
        return importlib.import_module("skops.io")  # by which another thread's import of it is waited for
    guard, before = _Guard(), LESS_WITHOUT in sys.modules
    sys.meta_path.insert(0, guard)  # type: ignore[arg-type]
    try:
        return importlib.import_module("skops.io")
    finally:
        sys.meta_path.remove(guard)  # type: ignore[arg-type]
        guard.restore()
        if not before:
            sys.modules.pop(LESS_WITHOUT, None)


class _Guard:
    """Lets an import of skops in this thread go on without large modules that it only looks for, and without a search.

    It names each of numpy's and SciPy's functions by looking for it in every module that is loaded: half of its time.
    While it is imported, its own search is asked only for what is not in a list of all of them, which is made once.
    """

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._utils: Any = None
        self._search: Any = None

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> None:
        if threading.get_ident() != self._thread:
            return
        if name in NOT_FOR_US:
            raise ImportError(f"{name} is not imported for skops' sake")
        if name == "skops.io._trusted_types" and self._utils is None:
            utils = importlib.import_module("skops.io._utils")
            search = getattr(utils, "whichmodule", None)
            if search is not None:
                self._utils, self._search = utils, search
                utils.whichmodule = _found_at_once(search)  # type: ignore[attr-defined]

    def restore(self) -> None:
        if self._utils is not None:
            self._utils.whichmodule = self._search


def _found_at_once(search: Callable[[Any, str], str]) -> Callable[[Any, str], str]:
    """Return a search for the first module that has an object by its name, which knows numpy's functions already."""
    kind = sys.modules["numpy"].ufunc
    homes: dict[tuple[str, int], str] = {}
    for home, module in sys.modules.copy().items():
        if home not in ("__main__", "__mp_main__"):
            for name, value in list(getattr(module, "__dict__", {}).items()):
                if type(value) is kind:
                    homes.setdefault((name, id(value)), home)

    def found(one: Any, name: str) -> str:
        home = homes.get((name, id(one))) if getattr(one, "__module__", None) is None else None
        return home or search(one, name)

    return found
