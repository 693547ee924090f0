"""Seeds that a script sets: of `random`, NumPy and PyTorch, noted as they are set."""

from __future__ import annotations

import functools
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import bascule_watch
from bascule_frameworks.wrapping import rebinding, replaced
from bascule_watch import note, own_modules

# Of each module the functions that take a seed, as people write them.
SEEDS = {
    "random": ("seed",),
    "numpy.random": ("seed", "default_rng"),
    "torch.random": ("manual_seed",),
}
OWN = "numpy.random.default_rng"
NAMES = {"torch.random": "torch"}
# `default_rng` in a loop is not a setting.
MOST = 100

_noted = [0]


def watch_seeds() -> None:
    """Watch the modules that are there, and those that are imported later."""
    sys.meta_path.insert(0, _Finder())  # type: ignore[arg-type]
    with rebinding(own_modules):  # also where the script has taken them by name
        for name in SEEDS:
            if name in sys.modules:
                _watch(sys.modules[name], name)


class _Finder:
    """Lets the usual finder find a module of `SEEDS`, and looks at it after it has run."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in SEEDS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            _watch(module, name)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _watch(module: ModuleType, name: str) -> None:
    for function in SEEDS[name]:
        original = getattr(module, function, None)
        if original is not None:
            noting = _noting(original, f"{NAMES.get(name, name)}.{function}")
            setattr(module, function, noting)
            replaced(original, noting)


def _noting(original: Any, name: str) -> Any:
    @functools.wraps(original)
    def seeded(*args: Any, **kwargs: Any) -> Any:
        # A library's own generator is none that the script set; `seed_everything` and its like set the global ones.
        if name == OWN and sys._getframe(1).f_code.co_filename.startswith(bascule_watch._skipped):
            return original(*args, **kwargs)
        value = args[0] if args else next(iter(kwargs.values()), None)
        if isinstance(value, int | str) and not isinstance(value, bool) and _noted[0] < MOST:
            _noted[0] += 1
            note({"kind": "seed", "name": name, "value": str(value)[:100]})
        return original(*args, **kwargs)

    return seeded
