"""Request expressions: one text, evaluated by DuckDB for training and by a Python closure when serving.

The language is a documented subset of DuckDB's scalar SQL (docs/features.md lists it). It is total: where SQL would
raise, or give NaN or an infinity, the answer is NULL, in both forms. What is outside is refused when the expression is
defined, with the list of what is inside.
"""

from bascule.features.expressions.compile import Expression, Input, compile_expression, references

__all__ = ["Expression", "Input", "compile_expression", "references"]
