"""What stands around a model: a first and a last step, a router and a combiner of several models, all plain functions.

The functions run in a worker. Their source and the versions of the models that they use are kept with the version.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np

from bascule.errors import InputError, NotFound
from bascule.serving.encoding import Encoder
from bascule.serving.engines import ReadBlob, load_recipe, read_recipe
from bascule.serving.runtime import Runtime, load_runtime, outputs_of, warm
from bascule.serving.shapley import Explainer
from bascule.serving.workers.child import StepFailed
from bascule.serving.workers.program import Program
from bascule.training import ModelBundle, unpack_model

STEPS = ("before", "after", "route", "combine")
ROUNDED = 1e-6  # by how much sums of shares go beyond 0 and 1
Records = list[dict[str, Any]]


class Member(msgspec.Struct, frozen=True):
    """Another model that a graph uses, at one version."""

    model: str
    version: int
    artifact: str


class Graph(msgspec.Struct, frozen=True, omit_defaults=True):
    """The steps around a model. Each is `module:function`; "" is none.

    Attributes:
        before: `before(rows) -> rows`, from what a request brings to what the model reads; rows are dicts.
        after: `after(rows, outputs) -> outputs`: floats, or a list of one a class for each row; a classifier's are
            probabilities.
        route: `route(rows) -> names`: which model answers each row, by its own name or a member's.
        combine: `combine(rows, outputs) -> outputs`, of a dict with the outputs of the model and each member.
        members: name to the other models.
        takes: column to DuckDB type (`blob` is bytes), when requests bring other columns than the model reads.
        code: the digest of the modules' sources in the store.
    """

    before: str = ""
    after: str = ""
    route: str = ""
    combine: str = ""
    members: dict[str, Member] = {}
    takes: dict[str, str] = {}
    code: str = ""

    def __bool__(self) -> bool:
        return bool(self.before or self.after or self.route or self.combine)


def read_graph(value: Mapping[str, Any] | None) -> Graph:
    """Return a graph as the registry holds it; an empty one for None."""
    return msgspec.convert(dict(value or {}), Graph)


def sources(names: Sequence[str], folder: Path) -> dict[str, bytes]:
    """Return the source of the modules that functions are in, and of the modules of that folder that these import.

    Args:
        names: `module:function`.
        folder: the project's.

    Raises:
        InputError: a module is not a file of the project, cannot be read, or has no such function.
    """
    found: dict[str, bytes] = {}
    for name in names:
        module, _, function = name.partition(":")
        path = _file_of(module, folder)
        if path is None:
            raise InputError(
                f"The step {name!r} names no module of the project: there is no {module.replace('.', '/')}.py.",
                hint="Put it beside bascule.toml; its source is kept with each version.",
            )
        tree = _collect(path, folder, found)
        known = [one.name for one in tree.body if isinstance(one, ast.FunctionDef)]
        assigned = [
            t.id for one in tree.body if isinstance(one, ast.Assign) for t in one.targets if isinstance(t, ast.Name)
        ]
        imported = [a.asname or a.name for one in tree.body if isinstance(one, ast.ImportFrom) for a in one.names]
        if function not in (*known, *assigned, *imported):
            raise NotFound(f"function in {path.name}", function, known)
    return found


def _file_of(module: str, folder: Path) -> Path | None:
    stem = folder / module.replace(".", "/")
    for path in (stem.with_suffix(".py"), stem / "__init__.py"):
        if path.is_file():
            return path
    return None


def _collect(path: Path, folder: Path, found: dict[str, bytes]) -> ast.Module:
    """Read a module and those that it imports from the folder."""
    try:
        source = path.read_bytes()
        tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"The module {path.name} cannot be read: {error}.") from None
    key = path.relative_to(folder).as_posix()
    if key in found:
        return tree
    found[key] = source
    for one in ast.walk(tree):
        names: list[str] = []
        if isinstance(one, ast.Import):
            names = [alias.name for alias in one.names]
        elif isinstance(one, ast.ImportFrom):
            package = ".".join(path.relative_to(folder).parts[:-1][: None if one.level < 2 else 1 - one.level])
            base = ".".join(part for part in (package if one.level else "", one.module or "") if part)
            names = [base, *(f"{base}.{alias.name}".strip(".") for alias in one.names)]
        for name in names:
            parts = name.split(".")
            for upper in range(1, len(parts) + 1):
                near = _file_of(".".join(parts[:upper]), folder)
                if near is not None:
                    _collect(near, folder, found)
    return tree


class _Sources(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports modules from sources that lie in memory, before any of the same name on the disk."""

    def __init__(self, code: Mapping[str, bytes]) -> None:
        self._code = code

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        stem = name.replace(".", "/")
        for key in (f"{stem}/__init__.py", f"{stem}.py"):
            if key in self._code:
                return importlib.util.spec_from_loader(name, self, origin=key, is_package=key.endswith("__init__.py"))
        if any(key.startswith(f"{stem}/") for key in self._code):  # a folder without an __init__.py
            return importlib.util.spec_from_loader(name, self, origin="", is_package=True)
        return None

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        origin = module.__spec__.origin or ""
        if origin:
            module.__file__ = origin
            exec(compile(self._code[origin], origin, "exec"), module.__dict__)


class _Model:
    """One model of a graph: what reads its rows, and what scores them."""

    def __init__(self, name: str, bundle: ModelBundle, recipe: Mapping[str, Any] | None, read: ReadBlob) -> None:
        self.encoder = Encoder(bundle.signature)
        self.signature = bundle.signature
        self.runtime: Runtime = load_recipe(read_recipe(recipe), bundle, read) if recipe else load_runtime(bundle)
        self.explainer = Explainer(name, bundle, self.runtime)


class GraphRunner:
    """A program in a worker: it answers rows.

    Raises:
        InputError: a model or a step cannot be loaded.
    """

    def __init__(self, program: Program) -> None:
        self._name = program.name
        read = program.engines.__getitem__
        self._main = _Model(program.name, unpack_model(program.bundle), program.recipe, read)
        self._members = {
            name: _Model(name, unpack_model(data), program.recipes.get(name), read)
            for name, data in program.members.items()
        }
        self._graph = read_graph(program.graph)
        if program.code:
            sys.meta_path.insert(0, _Sources(program.code))
        self._steps = {name: _load(getattr(self._graph, name)) for name in STEPS if getattr(self._graph, name)}

    @property
    def explainer(self) -> Explainer:
        """What tells what each input adds to the model's own score."""
        return self._main.explainer

    def warm(self) -> None:
        """Score a row of each model, so that the first request need not wait for what is made only once."""
        for model in (self._main, *self._members.values()):
            if not model.encoder.is_raw:  # nobody knows which texts it takes
                warm(model.runtime, len(model.encoder.names))

    def before(self, columns: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """Return rows after the first step, as columns."""
        rows = _records(columns)
        if not rows:  # a step is asked about rows; of none it might make anything
            return {name: [] for name in self._main.encoder.names}
        found = self._call("before", rows)
        if not isinstance(found, list) or len(found) != len(rows) or not all(isinstance(one, dict) for one in found):
            raise self._wrong("before", found, f"a list of {len(rows)} dicts")
        names = dict.fromkeys(name for row in found for name in row)
        return {str(name): [_plain(row.get(name)) for row in found] for name in names}

    def predict(self, matrix: np.ndarray, columns: Mapping[str, Sequence[Any]] | None) -> np.ndarray:
        """Return the outputs [rows] or [rows, classes]."""
        main = self._main
        if not len(matrix):  # no rows came: nothing that a model or a step could be asked about
            return np.empty(self._shape(0), dtype=np.float64)
        if not self._steps or set(self._steps) == {"before"}:
            return self._checked("", outputs_of(main.runtime, matrix), len(matrix))
        given = columns if columns is not None else dict(zip(main.encoder.names, matrix.T.tolist(), strict=True))
        rows = _records(given) if given else [{} for _ in matrix]
        if "route" in self._steps:
            outputs = self._routed(rows, matrix, given)
        elif "combine" in self._steps:
            each = {self._name: outputs_of(main.runtime, matrix).tolist()}
            for name, member in self._members.items():
                each[name] = outputs_of(member.runtime, member.encoder.encode(given, len(rows))).tolist()
            outputs = self._checked("combine", self._call("combine", rows, each), len(rows))
        else:
            outputs = self._checked("", outputs_of(main.runtime, matrix), len(rows))
        if "after" in self._steps:
            outputs = self._checked("after", self._call("after", rows, outputs.tolist()), len(rows))
        return outputs

    def _routed(self, rows: Records, matrix: np.ndarray, given: Mapping[str, Sequence[Any]]) -> np.ndarray:
        names = self._call("route", rows)
        known = [self._name, *self._members]
        if not isinstance(names, list | tuple) or len(names) != len(rows):
            raise self._wrong("route", names, f"a list of {len(rows)} names")
        for name in names:
            if name not in known:
                raise StepFailed(f"the step {self._graph.route!r} chose {name!r}; there are: {', '.join(known)}")
        outputs = np.empty(self._shape(len(rows)), dtype=np.float64)
        for name in dict.fromkeys(names):
            chosen = [place for place, one in enumerate(names) if one == name]
            if name == self._name:
                part = outputs_of(self._main.runtime, matrix[chosen])
            else:
                member = self._members[name]
                picked = {column: [values[place] for place in chosen] for column, values in given.items()}
                part = outputs_of(member.runtime, member.encoder.encode(picked, len(chosen)))
            outputs[chosen] = self._checked("", part, len(chosen))
        return outputs

    def _call(self, step: str, rows: Records, *more: Any) -> Any:
        try:
            return self._steps[step](rows, *more)
        except (ValueError, InputError) as error:  # how a step says that rows are not right
            name = getattr(self._graph, step)
            raise InputError(f"The step {name!r} refused the rows: {error}") from None
        except Exception as error:
            name = getattr(self._graph, step)
            raise StepFailed(f"the step {name!r} failed: {type(error).__name__}: {error}") from error

    def _shape(self, rows: int) -> tuple[int, ...]:
        output = self._main.signature.output
        return (rows, len(output.classes)) if output.task == "multiclass" else (rows,)

    def _checked(self, step: str, found: Any, rows: int) -> np.ndarray:
        """Return outputs of the right shape, or say what came instead and from where."""
        try:
            outputs = np.asarray(found, dtype=np.float64)
        except (ValueError, TypeError):
            raise self._wrong(step, found, f"{rows} rows of numbers") from None
        if outputs.shape != self._shape(rows):
            raise self._wrong(step, outputs, f"the shape {list(self._shape(rows))}")
        if step and not np.isfinite(outputs).all():
            row = int(np.argwhere(~np.isfinite(outputs))[0][0])
            said = f"{self.named(step)} answered {outputs[row]} for row {row}"
            raise StepFailed(f"{said}; asked is a finite number (a ValueError refuses rows)")
        if step and self._main.signature.output.task != "regression":
            self._check_shares(step, outputs)
        return outputs

    def _check_shares(self, step: str, outputs: np.ndarray) -> None:
        beyond = np.argwhere((outputs < -ROUNDED) | (outputs > 1 + ROUNDED))
        if len(beyond):
            place = tuple(beyond[0])
            said = f"{self.named(step)} answered {outputs[place]:g} for row {place[0]}"
            raise StepFailed(f"{said}; asked is a probability, from 0 to 1 (other numbers are a regression's)")

    def named(self, step: str) -> str:
        """Return a step by its function, as errors name it; "" is the model itself."""
        return f"the step {getattr(self._graph, step)!r}" if step else "the model"

    def _wrong(self, step: str, found: Any, wanted: str) -> StepFailed:
        came = f"the shape {list(found.shape)}" if isinstance(found, np.ndarray) else repr(found)
        return StepFailed(f"{self.named(step)} answered {came[:80]}; asked is {wanted}")


def _load(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    try:
        found = getattr(import_module(module), function)
    except Exception as error:
        raise InputError(f"The step {name!r} cannot be imported: {type(error).__name__}: {error}.") from error
    if not callable(found):
        raise InputError(f"The step {name!r} is no function.")
    loaded: Callable[..., Any] = found
    return loaded


def _records(columns: Mapping[str, Sequence[Any]]) -> Records:
    names = list(columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _plain(value: Any) -> Any:
    """Return a value as JSON and MessagePack have it: NumPy's numbers become Python's."""
    return value.item() if isinstance(value, np.generic) else value
