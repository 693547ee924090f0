"""Request expressions: one text, evaluated by DuckDB for training and by a Python closure when serving.

The language is a documented subset of DuckDB's scalar SQL (docs/features.md lists it). It is total: where SQL would
raise, or give NaN or an infinity, the answer is NULL, in both forms. What is outside is refused when the expression is
defined, with the list of what is inside.
"""

from __future__ import annotations

from collections.abc import Mapping

from bascule.features.expressions.expression import Expression, Input

__all__ = ["Expression", "Input", "compile_expression", "references"]


def compile_expression(text: str, inputs: Mapping[str, Input], where: str) -> Expression:
    """Compile one scalar expression; see `compile.compile_expression`. The SQL parser is loaded for the first one."""
    from bascule.features.expressions import compile

    return compile.compile_expression(text, inputs, where)


def references(text: str, where: str) -> tuple[str, ...]:
    """The names an expression reads, as written; see `compile.references`."""
    from bascule.features.expressions import compile

    return compile.references(text, where)
