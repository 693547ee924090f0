"""How a model is found among its files: one pickled object that predicts, or MLflow's Python function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal

import msgspec

from bascule.errors import InputError

SUFFIXES = (".pkl", ".pickle", ".joblib", ".skops", ".pt", ".pth")
# The flavors whose file is one object with `predict`, and where each says which file that is.
_OBJECTS = {"sklearn": "pickled_model", "lightgbm": "data", "pytorch": "model_data"}
# Where that is a folder: the file in it.
_WITHIN = {"pytorch": "model.pth"}


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What the process does.

    Attributes:
        how: `object` reads one file; `function` lets MLflow load the folder.
        path: that file; empty for a function.
        code: a folder of sources that the model brings along; empty for none.
        columns: (name, MLflow's type) of the inputs that it says it reads; None when it does not say.
    """

    how: Literal["object", "function"]
    path: str = ""
    code: str = ""
    columns: tuple[tuple[str, str], ...] | None = None


def recipe_of(
    about: Mapping[str, Any] | None, files: Sequence[str], columns: tuple[tuple[str, str], ...] | None
) -> Recipe:
    """Return how a model is loaded.

    Args:
        about: what its MLmodel file says; None when there is none.
        files: the paths of its files.

    Raises:
        InputError: nothing says which of the files is the model.
    """
    if about is None:
        pickles = [one for one in files if one.endswith(SUFFIXES)]
        if len(pickles) != 1:
            found = f"{len(pickles)} pickles" if pickles else "no pickle"
            raise InputError(
                f"There is no MLmodel file with this version, and {found} (*{', *'.join(SUFFIXES)}).",
                hint="Register a folder with one pickle, or the folder of a model that MLflow logged.",
            )
        return Recipe(how="object", path=pickles[0])
    flavors = about.get("flavors")
    flavors = flavors if isinstance(flavors, dict) else {}
    function = flavors.get("python_function")
    code = function.get("code") if isinstance(function, dict) else ""
    code = code if isinstance(code, str) and _beside(code) else ""
    for name, key in _OBJECTS.items():
        flavor = flavors.get(name)
        path = flavor.get(key) if isinstance(flavor, dict) else None
        path = f"{path}/{_WITHIN[name]}" if path and name in _WITHIN else path
        if isinstance(path, str) and path in files:
            return Recipe(how="object", path=path, code=code, columns=columns)
    if isinstance(function, dict):
        return Recipe(how="function", code=code, columns=columns)
    raise InputError(
        "The MLmodel file names no flavor that Python can load.", hint="Log the model with its python_function flavor."
    )


def _beside(path: str) -> bool:
    return not PurePosixPath(path).is_absolute() and ".." not in PurePosixPath(path).parts
