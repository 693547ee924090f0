"""The functions of on-demand feature views as SQL expressions, where they are plain arithmetic."""

from __future__ import annotations

import ast
from collections.abc import Callable

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Mod: "%",
}
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Eq: "=",
    ast.NotEq: "<>",
}
_CASTS = {
    **dict.fromkeys(("float", "float64", "Float64"), "DOUBLE"),
    **dict.fromkeys(("float32", "Float32"), "FLOAT"),
    **dict.fromkeys(("int", "int64", "Int64"), "BIGINT"),
    **dict.fromkeys(("int32", "Int32"), "INTEGER"),
    **dict.fromkeys(("str", "string"), "VARCHAR"),
    **dict.fromkeys(("bool", "boolean"), "BOOLEAN"),
}
#: From an input's name to how an expression names it; None for one that there is not.
Inputs = Callable[[str], str | None]


class NotPlain(Exception):
    """A part of a function that is no plain arithmetic over its inputs. Says which, as it is written."""


def expressions(function: ast.FunctionDef, inputs: Inputs) -> dict[str, str]:
    """Return each output of a function as SQL.

    Understood are `df["x"] = …` and `return {"x": …}` over `inputs["y"]`, arithmetic, comparisons, fillna and astype.

    Raises:
        NotPlain: anything else.
    """
    given = {argument.arg for argument in function.args.args}
    found: dict[str, str] = {}
    variables: dict[str, str] = {}

    def sql(node: ast.expr) -> str:
        return _sql(node, given, inputs, found, variables)

    for statement in function.body:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
            if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
                found[str(target.slice.value)] = sql(statement.value)
            elif isinstance(target, ast.Name) and isinstance(statement.value, ast.Dict):
                found |= _dictionary(statement.value, sql)
            elif isinstance(target, ast.Name) and not _makes_frame(statement.value):
                variables[target.id] = sql(statement.value)
        elif isinstance(statement, ast.Return) and isinstance(statement.value, ast.Dict):
            found |= _dictionary(statement.value, sql)
        elif not isinstance(statement, ast.Return | ast.Pass) and not _is_text(statement):
            raise NotPlain(ast.unparse(statement).splitlines()[0])
    return found


def _dictionary(node: ast.Dict, sql: Callable[[ast.expr], str]) -> dict[str, str]:
    pairs = zip(node.keys, node.values, strict=True)
    return {str(key.value): sql(value) for key, value in pairs if isinstance(key, ast.Constant)}


def _sql(node: ast.expr, given: set[str], inputs: Inputs, found: dict[str, str], variables: dict[str, str]) -> str:
    def again(part: ast.expr) -> str:
        return _sql(part, given, inputs, found, variables)

    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and isinstance(node.slice, ast.Constant):
        name = str(node.slice.value)
        source = inputs(name) if node.value.id in given else found.get(name)
        if source is None:
            raise NotPlain(ast.unparse(node))
        return source
    if isinstance(node, ast.Name) and node.id in variables:
        return variables[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str | bool):
        return _constant(node.value)
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return f"({again(node.left)} {_BINARY[type(node.op)]} {again(node.right)})"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return f"(-{again(node.operand)})"
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARE:
        return f"({again(node.left)} {_COMPARE[type(node.ops[0])]} {again(node.comparators[0])})"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and len(node.args) == 1:
        if node.func.attr == "fillna":
            return f"coalesce({again(node.func.value)}, {again(node.args[0])})"
        kind = _CASTS.get(ast.unparse(node.args[0]).strip("'\"").rpartition(".")[2])
        if node.func.attr == "astype" and kind:
            return f"CAST({again(node.func.value)} AS {kind})"
    raise NotPlain(ast.unparse(node))


def _constant(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, int | float) else "'" + str(value).replace("'", "''") + "'"


def _makes_frame(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).endswith("DataFrame")


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
