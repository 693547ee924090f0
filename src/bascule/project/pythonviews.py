"""Feature views that are written in Python: read from the text of `features/*.py`, and run when their SQL is needed."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from bascule.errors import ProjectFileError
from bascule.project import convert
from bascule.project.sections import FeatureView

FOLDER = "features"
DECORATOR = "feature_view"
_UNNAMED = re.compile(r"unnamed_relation_[0-9a-f]+")  # what DuckDB calls relations, anew each time
PLACE = re.compile(r"(?P<file>.+\.py):(?P<function>[A-Za-z_]\w*)")


def declared(folder: Path) -> dict[str, tuple[FeatureView, Path, int]]:
    """Return the views that the Python files in a project's `features` folder declare, by name, with file and line.

    Nothing is run.

    Raises:
        ProjectFileError: a file is no Python, or a declaration says something that a view cannot have.
    """
    found: dict[str, tuple[FeatureView, Path, int]] = {}
    for file in sorted((folder / FOLDER).glob("*.py")):
        for function, call in _declarations(file):
            name, view = _view(file, function, call)
            if name in found:
                raise ProjectFileError(
                    f"the feature view {name!r} is declared twice; first in {found[name][1].name}.",
                    file=file,
                    line=function.lineno,
                    hint="Rename one of them.",
                )
            found[name] = (view, file, function.lineno)
    return found


def _declarations(file: Path) -> Iterator[tuple[ast.FunctionDef, ast.expr]]:
    try:
        text = file.read_text("utf-8")
        tree = ast.parse(text) if DECORATOR in text else ast.Module([], [])
    except (SyntaxError, ValueError, OSError) as error:
        line = error.lineno if isinstance(error, SyntaxError) else None
        raise ProjectFileError(
            f"cannot be read as Python: {error}.", file=file, line=line, hint="Correct it."
        ) from None
    for node in tree.body:
        for decorator in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            if (called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")) == DECORATOR:
                assert isinstance(node, ast.FunctionDef)
                yield node, decorator


def _view(file: Path, function: ast.FunctionDef, call: ast.expr) -> tuple[str, FeatureView]:
    given: dict[str, Any] = {}
    keywords = call.keywords if isinstance(call, ast.Call) else []
    for keyword in keywords:
        try:
            given[str(keyword.arg)] = ast.literal_eval(keyword.value)
        except ValueError:
            raise ProjectFileError(
                f"{keyword.arg} is not written out: settings are read without running the file.",
                file=file,
                line=keyword.value.lineno,
                hint="Write a text, a number or a list of them.",
            ) from None
    name = given.pop("name", None) or function.name
    about = (ast.get_docstring(function) or "").split("\n\n")[0].replace("\n", " ")
    given = {"description": about, **{key: value for key, value in given.items() if value is not None}}
    given["sql"] = f"{FOLDER}/{file.name}:{function.name}"
    given = {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}
    try:
        return str(name), convert.section(given, FeatureView, (FOLDER, name))
    except convert.Refused as refused:
        key = ".".join(map(str, refused.path))
        raise ProjectFileError(refused.message, file=file, line=function.lineno, key=key, hint=refused.hint) from None


def python_sql(file: Path, function: str) -> str:
    """Run a function of a file and return the SQL that it gives.

    Raises:
        ProjectFileError: there is no such function, it fails, or it gives something else than SQL.
    """
    try:
        return _run(file, function, file.stat().st_mtime_ns)
    except OSError:
        raise ProjectFileError("is not there.", file=file, hint="Write it, or correct the name.") from None


@lru_cache(maxsize=256)
def _run(file: Path, function: str, changed: int) -> str:
    spec = importlib.util.spec_from_file_location(f"bascule_features_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        found = sql_of(getattr(module, function)())
    except Exception as error:
        hint = "Run the file with Python to see where; the function is called without arguments."
        message = f"{function} failed: {type(error).__name__}: {error}."
        raise ProjectFileError(message, file=file, line=_line(error, file), hint=hint) from error
    if not isinstance(found, str) or not found.strip():
        hint = 'Return SQL. Rows that Python makes come in as a table: [source.NAME] path = "python://module:function".'
        raise ProjectFileError(f"{function} gives a {type(found).__name__}, not SQL.", file=file, hint=hint)
    return found


def sql_of(given: Any) -> Any:
    """Return the SQL of what a function gave, the same text each time; what is none of these is returned as it is.

    A text; an expression with `.sql(dialect=…)`, as sqlglot's; a DuckDB relation, of which only the query counts, not
    the rows of the tables that it was built on; an Ibis expression.
    """
    if isinstance(given, str):
        return given
    if callable(query := getattr(given, "sql_query", None)):
        names: dict[str, str] = {}
        return _UNNAMED.sub(lambda one: names.setdefault(one[0], f"relation_{len(names)}"), query())
    if type(given).__module__.startswith("ibis."):
        import ibis  # type: ignore[import-not-found,unused-ignore]

        return str(ibis.to_sql(given, dialect="duckdb"))
    return given.sql(dialect="duckdb") if callable(getattr(given, "sql", None)) else given


def _line(error: BaseException, file: Path) -> int | None:
    trace, line = error.__traceback__, None
    while trace is not None:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == str(file) else line
        trace = trace.tb_next
    return line
