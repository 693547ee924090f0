"""Which texts a scikit-learn pipeline knows in each column, as its encoders were fitted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from bascule.errors import InputError
from bascule.training import Field

ENCODERS = ("OneHotEncoder", "OrdinalEncoder")
UNSEEN = "\x00 no such text"
HINT = "Encode texts by a OneHotEncoder or an OrdinalEncoder in a ColumnTransformer, or before the model."


def with_texts(estimator: Any, fields: tuple[Field, ...], told: Iterable[Field]) -> tuple[Field, ...]:
    """Return inputs, those of texts with the categories that the estimator's encoders know.

    Args:
        told: what the model's signature names.

    Raises:
        InputError: no encoder reads a column of texts, or one takes a missing text for another thing than an unseen
            one, which no request here can tell apart.
    """
    texts = [one.name for one in told if one.type == "varchar"]
    if not texts:
        return fields
    names = {one.name for one in fields}
    known = {name: held for name, held in _known(estimator) if name in names}
    for name in texts:
        if name not in known:
            raise InputError(
                f"The input {name[:80]!r} has the type 'string', and no encoder of the model says what texts it knows.",
                hint=HINT,
            )
    filled = tuple(
        Field(name=one.name, type=one.type, categories=known[one.name]) if one.name in texts else one for one in fields
    )
    _demand_one_way(estimator, filled)
    return filled


def _known(estimator: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    steps = getattr(estimator, "steps", ())
    columns = steps[0][1] if steps else estimator
    if type(columns).__name__ != "ColumnTransformer":
        return
    for _, step, chosen in columns.transformers_:
        parts = [one for _, one in step.steps] if hasattr(step, "steps") else [step]
        encoder = next((one for one in parts if type(one).__name__ in ENCODERS), None)
        if encoder is None or isinstance(chosen, (str, slice)):
            continue
        names = [one if isinstance(one, str) else str(columns.feature_names_in_[one]) for one in np.asarray(chosen)]
        for name, held in zip(names, encoder.categories_, strict=True):
            yield str(name), tuple(str(one) for one in held.tolist() if one is not None and one == one)


def _demand_one_way(estimator: Any, fields: tuple[Field, ...]) -> None:
    """Refuse encoders to which a missing text is another thing than an unseen one."""
    import pandas as pd

    columns = estimator.steps[0][1] if hasattr(estimator, "steps") else estimator
    plain = {one.name: [one.categories[0] if one.categories else 0.0] for one in fields}

    def given(name: str, value: Any) -> Any:
        rows = pd.DataFrame({**plain, name: [value]})
        rows = rows.astype({one.name: object for one in fields if one.categories is not None})
        try:
            found = columns.transform(rows)
        except ValueError:
            return None
        return np.asarray(found.todense() if hasattr(found, "todense") else found, dtype=np.float64)

    for one in fields:
        if one.categories is None:
            continue
        missing, unseen = given(one.name, np.nan), given(one.name, UNSEEN)
        if missing is None or unseen is None:
            same = missing is unseen
        else:
            same = np.array_equal(missing, unseen, equal_nan=True)
        if not same:
            raise InputError(
                f"To the encoder of {one.name[:80]!r} a missing text is another thing than one that it has not seen; "
                "here both are the same.",
                hint="Fill in missing texts before the model, and treat unseen ones alike (handle_unknown).",
            )
