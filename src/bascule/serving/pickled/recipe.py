"""How a model is found among its files: one pickled object that predicts, or MLflow's Python function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal

import msgspec

from bascule.errors import InputError

SUFFIXES = (".pkl", ".pickle", ".joblib", ".skops", ".pt", ".pt2", ".pth")
# The flavors whose file is one object with `predict`, and where each says which file that is.
_OBJECTS = {"sklearn": "pickled_model", "lightgbm": "data", "pytorch": "model_data"}
# Where that is a folder: the files that may be in it, one of them.
_WITHIN = {"pytorch": ("model.pth", "model.pt2")}
# Where the files of a model came from, and what its own code is given: no loader reads by these.
_OWN_AFFAIR = ("uri", "model_config", "prompts")


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What the process does.

    Attributes:
        how: `object` reads one file; `function` lets MLflow load the folder.
        path: that file; empty for a function.
        code: a folder of sources that the model brings along; empty for none.
        columns: (name, MLflow's type) of the inputs that it says it reads; None when it does not say.
        width, dtype: of the matrix that it says it reads; 0 and empty when it does not say.
    """

    how: Literal["object", "function"]
    path: str = ""
    code: str = ""
    columns: tuple[tuple[str, str], ...] | None = None
    width: int = 0
    dtype: str = ""


def recipe_of(
    about: Mapping[str, Any] | None,
    files: Sequence[str],
    columns: tuple[tuple[str, str], ...] | None,
    matrix: tuple[int, str] = (0, ""),
) -> Recipe:
    """Return how a model is loaded.

    Args:
        about: what its MLmodel file says; None when there is none.
        files: the paths of its files.
        matrix: `width` and `dtype` of what it reads.

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
    _refuse_strays(flavors)
    function = flavors.get("python_function")
    code = function.get("code") if isinstance(function, dict) else ""
    code = code if isinstance(code, str) and _beside(code) else ""
    for name, key in _OBJECTS.items():
        flavor = flavors.get(name)
        path = flavor.get(key) if isinstance(flavor, dict) else None
        paths = [f"{path}/{one}" for one in _WITHIN[name]] if path and name in _WITHIN else [path]
        for one in paths:
            if isinstance(one, str) and one in files:
                return Recipe(how="object", path=one, code=code, columns=columns)
    if isinstance(function, dict):
        return Recipe(how="function", code=code, columns=columns, width=matrix[0], dtype=matrix[1])
    raise InputError(
        "The MLmodel file names no flavor that Python can load.", hint="Log the model with its python_function flavor."
    )


def _refuse_strays(told: Any, where: str = "flavors") -> None:
    """Refuse a model whose loader would read files that are not its own: nobody consented to their bytes.

    Raises:
        InputError: a value leads out of the model's folder.
    """
    for key, value in told.items() if isinstance(told, dict) else enumerate(told):
        place = f"{where}.{key}"
        if isinstance(value, dict | list) and key not in _OWN_AFFAIR:
            _refuse_strays(value, place)
        elif isinstance(value, str) and key not in _OWN_AFFAIR and not _beside(value):
            raise InputError(
                f"The MLmodel file names {value!r} ({place}), which is not among the model's files: what is there when "
                "it is loaded is not what is consented to.",
                hint="Log the model again, with all that it reads inside of its own folder.",
            )


def _beside(path: str) -> bool:
    plain = path.removeprefix("file:").replace("\\", "/")
    drive = plain[1:2] == ":" and plain[:1].isalpha()
    return not drive and not plain.startswith(("/", "~")) and ".." not in PurePosixPath(plain).parts
