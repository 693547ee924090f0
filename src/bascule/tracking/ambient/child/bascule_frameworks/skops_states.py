"""Models of scikit-learn's own classes in skops' format, without skops: its import takes longer than a script's fits.

What is written is, byte for byte, what skops says of the same model, with numbers in their order where it has addresses
in memory (`skops_files.settle`). Whatever is not known here raises `Unknown`, and is left to skops itself.
"""

from __future__ import annotations

import importlib.util
import io
import os
import re
import sys
import zipfile
from collections.abc import Callable, Iterable
from json import dumps as _json
from typing import Any

SCHEMA = "schema.json"
# Of skops' format; a version of skops that writes another one is asked itself.
PROTOCOL = 2
TREE = "sklearn.tree._tree.Tree"
# Where scikit-learn has classes that skops does not list as estimators.
NOT_LISTED = frozenset(("tests", "externals", "setup", "conftest", "experimental", "estimator_checks"))


class Unknown(Exception):
    """This is left to skops itself."""


def write(model: Any, path: str, harmless: frozenset[str]) -> list[str]:
    """Write a model to a file, and return the types in it that whoever reads it must trust.

    Args:
        harmless: types that hold nothing but data, of which alone such may be.

    Raises:
        Unknown: it holds what is not known here, or another version of skops is installed.
    """
    version = _version()
    states = _States(harmless)
    schema = f'{states.of(model)[:-1]}, "protocol": {PROTOCOL}, "_skops_version": {_json(version)}}}'
    files = {**states.files, SCHEMA: schema.encode()}
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as out:
        for name in sorted(files):
            out.writestr(zipfile.ZipInfo(name), files[name])
    with open(path, "wb") as whole:
        whole.write(data.getbuffer())
    return sorted(states.asked)


def _version() -> str:
    """Return the version of the skops that is installed, by its files."""
    spec = importlib.util.find_spec("skops")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        try:
            with open(os.path.join(place, "io", "_protocol.py"), encoding="utf-8") as source:
                protocol = re.search(r"^PROTOCOL = (\d+)$", source.read(), re.MULTILINE)
            found = [re.fullmatch(r"skops-(.+)\.dist-info", name) for name in os.listdir(os.path.dirname(place))]
        except OSError:
            continue
        versions = [one[1] for one in found if one is not None]
        if len(versions) == 1 and protocol is not None and int(protocol[1]) == PROTOCOL:
            return versions[0]
    raise Unknown("this version of skops")


class _States:
    """The states of what a model holds, each as JSON: objects for them would be so many for the garbage collector.

    Attributes:
        files: arrays in numpy's own format, by the names that the states have for them.
        asked: types that are harmless, and that skops does not trust unasked.
    """

    def __init__(self, harmless: frozenset[str]) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: set[str] = set()
        self._harmless = harmless
        self._numpy: Any = sys.modules["numpy"]
        self._order: dict[int, int] = {}
        self._held: list[Any] = []  # so that no two have the same address

    def of(self, value: Any) -> str:
        """Return the state of anything."""
        form = _FORMS.get(type(value))
        told = form(self, value) if form is not None else self._of_other(value)
        return f'{{{told}, "__id__": {self._number(value)}}}'

    def _number(self, value: Any) -> int:
        self._held.append(value)
        return self._order.setdefault(id(value), len(self._order))

    def _of_other(self, value: Any) -> str:
        numpy = self._numpy
        if type(value) is numpy.ndarray or isinstance(value, numpy.generic):
            return self._of_array(value)
        if isinstance(value, type):
            return self._of_type(value)
        if isinstance(value, numpy.dtype):
            self._ask("numpy.dtype")
            return f'{_node("dtype", "numpy", "DTypeNode")}, "content": {self.of(numpy.ndarray(0, dtype=value))}'
        if isinstance(value, dict):  # such as a `Bunch`
            self._ask(f"{type(value).__module__}.{type(value).__qualname__}")
            return self._of_dict(value)
        if isinstance(value, list | tuple | set | frozenset | str | bytes | bytearray | int | float):
            raise Unknown(type(value))
        if type(value) is numpy.random.RandomState:
            return f'{_named(type(value), "RandomStateNode")}, "content": {self.of(value.get_state(legacy=False))}'
        return self._of_object(value)

    def _of_array(self, value: Any) -> str:
        kind, numpy = type(value), self._numpy
        if kind is numpy.bytes_ or (kind is not numpy.ndarray and kind not in numpy.sctypeDict.values()):
            raise Unknown(kind)  # which skops does not trust
        told = _named(kind, "NdArrayNode")
        if value.dtype == object:
            if not value.ndim:
                raise Unknown("an array of no dimension that holds an object")
            return f'{told}, "content": {self._every(value.tolist())}, "type": "json", "shape": {self.of(value.shape)}'
        name = f"{self._number(value)}.npy"
        if name not in self.files:
            data = io.BytesIO()
            self._numpy.save(data, value, allow_pickle=False)
            self.files[name] = data.getvalue()
        return f'{told}, "type": "numpy", "file": "{name}"'

    def _of_type(self, value: type) -> str:
        if value not in (int, float, str, bool) and value not in self._numpy.sctypeDict.values():
            raise Unknown(value)
        return _named(value, "TypeNode")

    def _of_object(self, value: Any) -> str:
        """Return the state of an estimator, or of a harmless object, which is what pickle would take of it."""
        kind = type(value)
        name = f"{kind.__module__}.{kind.__qualname__}"
        if name == TREE:
            self._ask(name)
            _, arguments, attributes = value.__reduce__()
            told = f'{_named(kind)}, "__reduce__": {{"args": {self.of(arguments)}}}'
            return f'{told}, "content": {self.of(attributes)}, "__loader__": "TreeNode"'
        if kind.__reduce__ is not object.__reduce__ or "." in kind.__qualname__:
            raise Unknown(name)
        if not _is_listed(kind):
            self._ask(name)
        attributes = value.__getstate__() if hasattr(value, "__getstate__") else vars(value)
        return f'{_named(kind, "ObjectNode")}, "content": {self.of(attributes)}'

    def _of_dict(self, value: dict[Any, Any]) -> str:
        if any(type(key) not in (str, int) for key in value):
            raise Unknown("keys")
        if len({*map(str, value)}) != len(value):
            raise Unknown("keys that are the same text")
        held = ", ".join([f"{_json(str(key))}: {self.of(one)}" for key, one in value.items()])
        return f'{_named(type(value), "DictNode")}, "content": {{{held}}}, "key_types": {self.of([*map(type, value)])}'

    def _of_list(self, value: list[Any]) -> str:
        return f'{_LIST}, "content": {self._every(value)}'

    def _of_tuple(self, value: tuple[Any, ...]) -> str:
        return f'{_TUPLE}, "content": {self._every(value)}'

    def _every(self, values: Iterable[Any]) -> str:
        return f"[{', '.join(map(self.of, values))}]"

    def _of_slice(self, value: slice) -> str:
        held = {name: getattr(value, name) for name in ("start", "stop", "step")}
        if any(type(one) not in (int, type(None)) for one in held.values()):
            raise Unknown("a slice of more than numbers")
        return f'{_node("slice", "builtins", "SliceNode")}, "content": {_json(held)}'

    def _of_plain(self, value: Any) -> str:
        return f'{_PLAIN}, "content": {_json(_json(value))}, "is_json": true'

    def _ask(self, name: str) -> None:
        if name not in self._harmless:
            raise Unknown(name)
        self.asked.add(name)


def _node(name: str, module: str, loader: str) -> str:
    return f'"__class__": {_json(name)}, "__module__": {_json(module)}, "__loader__": "{loader}"'


def _named(kind: type, loader: str = "") -> str:
    told = f'"__class__": {_json(kind.__name__)}, "__module__": {_json(kind.__module__)}'
    return f'{told}, "__loader__": "{loader}"' if loader else told


_LIST, _TUPLE = _node("list", "builtins", "ListNode"), _node("tuple", "builtins", "TupleNode")
_PLAIN = _node("str", "builtins", "JsonNode")
_FORMS: dict[type, Callable[[_States, Any], str]] = {
    dict: _States._of_dict,
    list: _States._of_list,
    tuple: _States._of_tuple,
    slice: _States._of_slice,
    **dict.fromkeys((str, int, float, bool, type(None)), _States._of_plain),
}


def _is_listed(kind: type) -> bool:
    """Tell whether skops trusts a class: one of scikit-learn's public estimators that is not abstract."""
    base = getattr(sys.modules.get("sklearn.base"), "BaseEstimator", None)
    if base is None or not issubclass(kind, base) or kind is base or getattr(kind, "__abstractmethods__", None):
        return False
    name, home = kind.__name__, kind.__module__.partition("._")[0]
    is_public = home.startswith("sklearn.") and not name.startswith("_") and NOT_LISTED.isdisjoint(home.split("."))
    return is_public and getattr(sys.modules.get(home), name, None) is kind
