"""What is computed from requests, also where no examples tell the types of what requests bring.

A project that trains no model has no population, and a model's may lack what only a service reads. Expressions are
strictly typed, so their columns can be told from them: of each column the first of a few types with which every
expression that reads it fits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

from bascule.errors import InputError
from bascule.features.binding import expression_inputs
from bascule.features.columns import same_name
from bascule.features.definitions import SEPARATOR, Entity, FeatureSet, FeatureView, RequestView, entity_of
from bascule.features.expressions import compile_expression, references

#: In the order in which they are tried: a whole number fits where any number does.
TRIED = ("DOUBLE", "BIGINT", "VARCHAR", "TIMESTAMP", "BOOLEAN")


def request_set(
    name: str,
    request: RequestView,
    views: Sequence[FeatureView],
    entities: Sequence[Entity],
    columns: Mapping[str, str],
    prediction_time: str,
) -> FeatureSet:
    """Return the expressions with the columns that they read, bound to types.

    Args:
        views: bound; those that the expressions read.
        columns: what examples tell of what requests bring: columns and their DuckDB types.
        prediction_time: what the expressions call the moment that is asked for.

    Raises:
        InputError: an expression does not fit, whatever requests bring.
    """
    keys = {key: view.types[key] for view in views for key in entity_of(view, tuple(entities)).keys}
    texts = {f"[features.{request.name}] expressions.{one}": text for one, text in request.expressions.items()}
    known = {**keys, **columns}
    fitting = _fitting(list(texts.items()), known, views)
    if fitting is None:  # say what is wrong, with numbers for what is not known
        for where, text in texts.items():
            known |= dict.fromkeys(_free(where, text, known), TRIED[0])
            compile_expression(text, expression_inputs(known, views), where)
        raise InputError(f"[features.{request.name}] expressions take one column in several types.", hint="CAST it.")
    inputs = expression_inputs(fitting, views)
    compiled = [compile_expression(text, inputs, where) for where, text in texts.items()]
    read = {name for one in compiled for name in one.names}
    outputs = [f"{request.name}{SEPARATOR}{one}" for one in request.expressions]
    return FeatureSet(
        name=name,
        entities=(),
        views=(),
        request=request,
        columns={column: kind for column, kind in fitting.items() if column in read},
        features=tuple(outputs),
        types=dict(zip(outputs, (one.type for one in compiled), strict=True)),
        prediction_time=prediction_time,
    )


def _fitting(
    texts: Sequence[tuple[str, str]], columns: Mapping[str, str], views: Sequence[FeatureView]
) -> dict[str, str] | None:
    if not texts:
        return dict(columns)
    where, text = texts[0]
    free = _free(where, text, columns)
    for types in product(TRIED, repeat=len(free)):
        tried = {**columns, **dict(zip(free, types, strict=True))}
        try:
            compile_expression(text, expression_inputs(tried, views), where)
        except InputError:
            continue
        if (found := _fitting(texts[1:], tried, views)) is not None:
            return found
    return None


def _free(where: str, text: str, columns: Mapping[str, str]) -> list[str]:
    return [one for one in references(text, where) if "." not in one and same_name(one, columns) is None]
