"""Why a model said what it said: what each input adds to the score of a row, exactly, from the model itself.

The numbers of a row and their base sum up to the model's raw score: log-odds of a classification, the value of a
regression. Trees tell SHAP values (by paths through the trees); linear models tell each term, against a row of average
numbers and of categories that add nothing.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np

from bascule.errors import BasculeError, InputError, suggestion
from bascule.serving.model import LoadedModel
from bascule.serving.rows import by_name
from bascule.serving.scoring import Answer, ScoringFailed
from bascule.serving.workers.child import StepFailed

METHODS = ("shap",)
MOST_ROWS = 1_000


def check_method(name: str, model: LoadedModel) -> None:
    """Refuse what cannot be told, before anything is scored.

    Raises:
        InputError: there is no such method, or the model does not tell what its inputs add.
    """
    if name not in METHODS:
        raise InputError(
            f"There is no explanation named {name[:40]!r}.", hint=suggestion(name, list(METHODS), "explanation")
        )
    if not model.explains:
        raise InputError(
            f"Model {model.name!r} is {model.format!r}, which does not tell what each input adds to a score.",
            hint="Models of the formats lightgbm, xgboost, catboost and linear do. Ask without explain.",
        )


def explain(answer: Answer) -> list[dict[str, Any]]:
    """Return one explanation for each row of an answer.

    Raises:
        InputError: there are more rows than are explained at once, or the model's library does not tell.
        ScoringFailed: its worker failed.
    """
    model, rows = answer.model, answer.query.rows
    if rows.count > MOST_ROWS:
        raise InputError(
            f"The request has {rows.count:,} rows; at most {MOST_ROWS:,} are explained at once.",
            hint="Send it in parts.",
        )
    if answer.features is not None:
        joined = by_name(model.encoder.names, answer.features)
        matrix = model.encoder.encode(joined, rows.count)
    elif rows.columns is not None:
        matrix = model.encoder.encode(rows.columns, rows.count)
    elif rows.row is not None:
        matrix = np.array([rows.row], dtype=np.float64)
    else:
        owned = rows.owned()
        assert owned is not None
        matrix = owned
    if not len(matrix):
        return []
    try:
        parts = model.contributions(matrix)  # [rows, outputs, inputs and base]
    except BasculeError:
        raise
    except StepFailed as error:  # a worker's own words
        raise ScoringFailed(f"Version {model.version} of model {model.name!r} was not explained: {error}") from None
    except Exception as error:  # a library that tells this of most of its models, and not of this one
        said = (str(error).splitlines() or [""])[0][:200]
        raise InputError(
            f"Model {model.name!r} did not tell what each input adds to a score: {type(error).__name__}: {said}",
            hint="Ask without explain.",
        ) from None
    return [_told(model, part) for part in parts]


def explain_sampled(answer: Answer) -> None:
    """Put explanations beside an answer for the log alone; an answer that cannot be explained is logged without.

    Nobody asked for them, so the caller must not feel them.
    """
    if answer.model.explains and answer.query.rows.count <= MOST_ROWS:
        with suppress(Exception):
            answer.explanations = explain(answer)


def _told(model: LoadedModel, part: np.ndarray) -> dict[str, Any]:
    scale = "value" if model.task == "regression" else "log-odds"
    if model.task != "multiclass":
        return {"method": METHODS[0], "scale": scale, **_one(model, part[0])}
    classes = {name: _one(model, one) for name, one in zip(model.classes, part, strict=True)}
    return {"method": METHODS[0], "scale": scale, "classes": classes}


def _one(model: LoadedModel, part: np.ndarray) -> dict[str, Any]:
    numbers: list[float] = part.tolist()
    return {"base": numbers[-1], "contributions": dict(zip(model.encoder.names, numbers, strict=False))}
