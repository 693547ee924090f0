"""Which texts a scikit-learn pipeline knows in each column, as its encoders were fitted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from bascule.training import Field

ENCODERS = ("OneHotEncoder", "OrdinalEncoder")
UNSEEN = "\x00 no such text"


def with_texts(estimator: Any, fields: tuple[Field, ...]) -> tuple[Field, ...]:
    """Return inputs, those of texts with the categories that the estimator's encoders know.

    Where no encoder reads one of them, or one takes a missing text for another thing than an unseen one, codes cannot
    stand for texts: then all stay as they are, and the estimator is given the texts.
    """
    texts = [one.name for one in fields if one.type == "varchar"]
    known = dict(_known(estimator)) if texts else {}
    if not texts or not all(name in known for name in texts):
        return fields
    filled = tuple(
        msgspec.structs.replace(one, categories=known[one.name]) if one.name in texts else one for one in fields
    )
    same = not any(one.is_raw for one in filled) and _are_one(estimator, filled)
    return filled if same else fields


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


def _are_one(estimator: Any, fields: tuple[Field, ...]) -> bool:
    """Tell whether a missing text is to the encoders the same as an unseen one."""
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
            return False
    return True
