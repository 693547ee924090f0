"""What the Python files of a Feast repository declare, by their text: nothing of them is run."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from bascule.errors import InputError

SETTINGS = "feature_store.yaml"
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda a, b: str(Path(a) / b) if isinstance(a, str) else operator.truediv(a, b),
    ast.FloorDiv: operator.floordiv,
}


class Unknown(Exception):
    """A value that only running the file would tell. Says what it is."""


@dataclass(frozen=True, eq=False)
class Made:
    """A call such as `Entity(name="driver")`: what it calls, with its arguments.

    Attributes:
        unknown: arguments that cannot be told without running the file, by name, as they are written.
        function: the function below it, when it is a decorator.
    """

    kind: str
    args: tuple[Any, ...]
    named: dict[str, Any]
    where: str
    unknown: dict[str, str] = field(default_factory=dict)
    function: ast.FunctionDef | None = None

    def get(self, *names: str, default: Any = None) -> Any:
        """The first of some arguments that is given."""
        return next((self.named[name] for name in names if self.named.get(name) is not None), default)

    @property
    def name(self) -> str:
        """Its name: the argument, the first one, or the function's."""
        given = self.get("name", default=self.args[0] if self.args and isinstance(self.args[0], str) else None)
        return str(given if given is not None else self.function.name if self.function else "")


@dataclass(frozen=True)
class Symbol:
    """A name that is no variable of the files: `Float32`, `ValueType.INT64`, `pd`."""

    name: str


@dataclass(frozen=True)
class Repository:
    """A Feast repository.

    Attributes:
        settings: of feature_store.yaml.
        made: everything that the files declare at their top level, in the order of files and lines.
    """

    folder: Path
    settings: dict[str, Any]
    made: tuple[Made, ...]


def read_repository(folder: Path) -> Repository:
    """Read a Feast repository: the folder with feature_store.yaml, or one that holds it as `feature_repo`.

    Raises:
        InputError: there is no feature_store.yaml, or a file cannot be read.
    """
    folder = next((one for one in (folder, folder / "feature_repo") if (one / SETTINGS).is_file()), folder)
    if not (folder / SETTINGS).is_file():
        raise InputError(
            f"{folder} is no Feast repository: it has no {SETTINGS}.", hint="Give the folder where feast apply is run."
        )
    try:
        settings = yaml.safe_load((folder / SETTINGS).read_text("utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{folder / SETTINGS}:{mark.line + 1}" if mark is not None else str(folder / SETTINGS)
        message = f"{where} cannot be read: {getattr(error, 'problem', None) or str(error).splitlines()[0]}."
        raise InputError(message, hint="Correct the file.") from None
    if not isinstance(settings, dict):
        raise InputError(f"{folder / SETTINGS} holds no settings.", hint="Give a Feast repository.")
    reader = _Reader(folder, settings)
    made = [one for file in sorted(folder.rglob("*.py")) if not _is_hidden(file, folder) for one in reader.read(file)]
    return Repository(folder, settings, tuple(made))


def _is_hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith((".", "__pycache__")) for part in file.relative_to(folder).parts)


class _Reader:
    """The files, each with its variables, read when first needed: one may import from another."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder, self.settings = folder, settings
        self._variables: dict[Path, dict[str, Any]] = {}
        self._made: dict[Path, list[Made]] = {}

    def read(self, file: Path) -> list[Made]:
        self.variables(file)
        return self._made[file]

    def variables(self, file: Path) -> dict[str, Any]:
        if file not in self._variables:
            self._variables[file], self._made[file] = {}, []
            try:
                tree = ast.parse(file.read_text("utf-8"))
            except (SyntaxError, ValueError) as error:
                raise InputError(f"{file} cannot be read as Python: {error}.", hint="Correct it.") from None
            for statement in tree.body:
                self._statement(file, statement)
        return self._variables[file]

    def _statement(self, file: Path, statement: ast.stmt) -> None:
        known, made = self._variables[file], self._made[file]
        if isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                found = self._imported(file, statement, alias.name)
                if found is not None:
                    known[alias.asname or alias.name] = found
        elif isinstance(statement, ast.FunctionDef):
            for decorator in statement.decorator_list:
                if isinstance(decorator, ast.Call):
                    value = self._call(file, decorator, statement)
                    if isinstance(value, Made):
                        made.append(value)
                        known[statement.name] = value
        elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.Expr) and statement.value is not None:
            try:
                value = self._value(file, statement.value)
            except Unknown:
                return
            targets = statement.targets if isinstance(statement, ast.Assign) else []
            if isinstance(statement, ast.AnnAssign):
                targets = [statement.target]
            known.update({target.id: value for target in targets if isinstance(target, ast.Name)})
            made.extend(_declarations(value))

    def _imported(self, file: Path, statement: ast.ImportFrom, name: str) -> Any:
        parts = (statement.module or "").split(".") if statement.module else []
        for base in (file.parent, self.folder, self.folder.parent):
            place = base.joinpath(*parts).with_suffix(".py") if parts else base / f"{name}.py"
            if place.is_file() and place.is_relative_to(self.folder):
                return self.variables(place).get(name)
        return None

    def _value(self, file: Path, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            known = self._variables[file]
            return known.get(node.id, str(file.resolve()) if node.id == "__file__" else Symbol(node.id))
        if isinstance(node, ast.Attribute):
            return self._folder(file, node) if node.attr == "parent" else Symbol(node.attr)
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            return [self._value(file, one) for one in node.elts]
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            return {self._value(file, key): self._value(file, one) for key, one in pairs if key is not None}
        if isinstance(node, ast.Call):
            return self._call(file, node)
        if isinstance(node, ast.Subscript):
            held, key = self._value(file, node.value), self._value(file, node.slice)
            if isinstance(held, dict) and isinstance(key, str) and key in held:
                return held[key]
            return Made("[]", (held, key), {}, _where(file, node))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -self._value(file, node.operand)
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            sides = self._value(file, node.left), self._value(file, node.right)
            try:
                return _OPERATORS[type(node.op)](*sides)
            except (TypeError, ArithmeticError):
                raise Unknown(ast.unparse(node)) from None
        if isinstance(node, ast.JoinedStr):
            parts = [one.value if isinstance(one, ast.FormattedValue) else one for one in node.values]
            return "".join(_text(self._value(file, one)) for one in parts)
        raise Unknown(ast.unparse(node))

    def _folder(self, file: Path, node: ast.Attribute) -> Any:
        """What `.parent` is: of a path its folder."""
        held = self._value(file, node.value)
        return str(Path(held).parent) if isinstance(held, str) else Symbol(node.attr)

    def _call(self, file: Path, node: ast.Call, function: ast.FunctionDef | None = None) -> Any:
        kind = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        named: dict[str, Any] = {}
        unknown: dict[str, str] = {}
        for keyword in node.keywords:
            try:
                named[str(keyword.arg)] = self._value(file, keyword.value)
            except Unknown as told:
                unknown[str(keyword.arg)] = str(told)
        args = tuple(self._value(file, one) for one in node.args)
        if kind == "timedelta" and not unknown:
            days, seconds, *_ = (*args, 0, 0)
            return timedelta(**{"days": days, "seconds": seconds, **named})
        if isinstance(node.func, ast.Attribute) and kind.startswith("with_"):
            args = (self._value(file, node.func.value), *args)
        if kind == "join" and args:
            return "/".join(map(_text, args))
        if kind == "dirname" and args:
            return str(Path(_text(args[0])).parent)
        if kind in ("safe_load", "open") and args and _name_of(args[0]) == SETTINGS:
            return self.settings if kind == "safe_load" else args[0]  # as in yaml.safe_load(open("feature_store.yaml"))
        if kind in ("Path", "abspath", "realpath") and args:
            return str(Path(*map(_text, args)))
        if kind in ("resolve", "absolute") and isinstance(node.func, ast.Attribute):
            return self._value(file, node.func.value)
        return Made(kind, args, named, _where(file, node), unknown, function)


def _name_of(path: Any) -> str:
    return Path(path).name if isinstance(path, str) else ""


def _declarations(value: Any) -> Iterator[Made]:
    if isinstance(value, Made):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _declarations(one)


def _text(value: Any) -> str:
    if not isinstance(value, str | int | float):
        raise Unknown(str(value))
    return str(value)


def _where(file: Path, node: ast.expr) -> str:
    return f"{file.name}:{node.lineno}"
