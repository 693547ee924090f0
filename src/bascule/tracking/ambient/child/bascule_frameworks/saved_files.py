"""Files that libraries open below Python, where no audit hook sees them: by the calls that name them."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import bascule_files
from bascule_watch import unwatched

from bascule_frameworks.tables import before_writing
from bascule_frameworks.wrapping import Call, replaced, tried, wrap


def wrap_torch_files(module: ModuleType) -> None:
    """Look at `torch.save` and at TorchScript; `torch.load` opens its file by Python."""
    _writes("torch", module, "save", 1, "f")
    scripted = getattr(getattr(module.jit, "_script", None), "RecursiveScriptModule", None)
    if scripted is not None:
        _writes("torch", scripted, "save", 1, "f")
    _reads("torch", module.jit, "load", 0, "f")


def wrap_safetensors(module: ModuleType) -> None:
    """Look at `save_file` and `load_file` for one kind of tensors."""
    _writes("safetensors", module, "save_file", 1, "filename")
    _reads("safetensors", module, "load_file", 0, "filename")


def wrap_safe_open(module: ModuleType) -> None:
    """Look at `safe_open`, a class that nobody can inherit from: a class stands before it that is as good as it."""
    original = module.safe_open

    class Before(type):
        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            opened = original(*args, **kwargs)
            tried("safetensors", _told, args[0] if args else kwargs.get("filename"), "r")
            return opened

        def __instancecheck__(cls, one: object) -> bool:
            return isinstance(one, original)

        def __subclasscheck__(cls, one: type) -> bool:
            return one is cls or issubclass(one, original)

        def __getattr__(cls, name: str) -> Any:
            return getattr(original, name)

    before = Before("safe_open", (), {"__doc__": original.__doc__, "__module__": original.__module__})
    module.safe_open = before  # type: ignore[attr-defined]
    replaced(original, before)


def wrap_xgboost(module: ModuleType) -> None:
    """Look at boosters that are saved and loaded."""
    _writes("xgboost", module.Booster, "save_model", 1, "fname")
    _reads("xgboost", module.Booster, "load_model", 1, "fname")


def wrap_lightgbm(module: ModuleType) -> None:
    """Look at data and boosters that are read from files; LightGBM opens what it saves by Python, too."""
    _reads("lightgbm", module.Dataset, "__init__", 1, "data")
    _reads("lightgbm", module.Booster, "__init__", 3, "model_file")


def wrap_catboost(module: ModuleType) -> None:
    """Look at pools that are read from files, and at models that are saved and loaded."""
    _reads("catboost", module.Pool, "__init__", 1, "data")
    _writes("catboost", module.CatBoost, "save_model", 1, "fname")
    _reads("catboost", module.CatBoost, "load_model", 1, "fname")


def wrap_h5py(module: ModuleType) -> None:
    """Look at HDF5 files, before they are opened: what is written on must be known as it was."""
    wrap("h5py", module.File, "__init__", lambda call: None, always=True, before=_opens_hdf5)


def _opens_hdf5(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    named = args[1] if len(args) > 1 else kwargs.get("name")
    mode = str(args[2] if len(args) > 2 else kwargs.get("mode") or "r")
    if isinstance(named, str | bytes | os.PathLike):
        flags = {"r": os.O_RDONLY, "r+": os.O_RDWR, "a": os.O_RDWR}.get(mode, os.O_WRONLY | os.O_TRUNC)
        with unwatched():
            bascule_files.opened(named, None, flags)
    return args, kwargs


def _writes(framework: str, owner: Any, name: str, place: int, keyword: str) -> None:
    _looks(framework, owner, name, partial(_note, mode="w", place=place, keyword=keyword), before_writing)


def _reads(framework: str, owner: Any, name: str, place: int, keyword: str) -> None:
    _looks(framework, owner, name, partial(_note, mode="r", place=place, keyword=keyword))


def _looks(framework: str, owner: Any, name: str, after: Callable[[Call], None], before: Any = None) -> None:
    # Also inside a fit: a checkpoint is the script's file.
    wrap(framework, owner, name, after, always=True, before=before)


def _note(call: Call, *, mode: str, place: int, keyword: str) -> None:
    _told(call.get(place, keyword), mode)


def _told(path: object, mode: str) -> None:
    if isinstance(path, str | os.PathLike) and bascule_files.found_as(os.fspath(path)) is not None:
        bascule_files.noted(os.fspath(path), mode)
