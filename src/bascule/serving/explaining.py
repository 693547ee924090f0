"""Why a model said what it said: what each input adds to the score of a row.

The numbers of a row and their base sum up to the score. How they are found out is `shapley`'s affair; here is what a
request may ask for, how long that may take, and how it is told.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from bascule.errors import BasculeError, InputError, suggestion
from bascule.serving.model import LoadedModel
from bascule.serving.rows import by_name
from bascule.serving.scoring import Answer
from bascule.serving.shapley import Background, Told
from bascule.serving.shapley.explainer import no_way
from bascule.serving.workers.child import StepFailed, WorkerSlow

METHODS = ("shap",)
MOST_ROWS = 1_000
LIMIT_S = 20.0
UNASKED_S = 1.0  # for the log's sample: whoever asked waits for it, and did not ask for it


def check_asked(method: str, answer: Answer) -> Background | None:
    """Refuse what cannot be told, before anything is scored.

    Returns:
        What to hold the rows against, by what the model was asked; None where it has a way of its own.

    Raises:
        InputError: there is no such method, there are too many rows, or nothing tells what the model's inputs add.
    """
    model, rows = answer.model, answer.query.rows
    if method not in METHODS:
        raise InputError(
            f"There is no explanation named {method[:40]!r}.", hint=suggestion(method, list(METHODS), "explanation")
        )
    if rows.count > MOST_ROWS:
        raise InputError(
            f"The request has {rows.count:,} rows; at most {MOST_ROWS:,} are explained at once.",
            hint="Send it in parts.",
        )
    if not model.explainer.possible:
        try:
            return _lent(answer)
        except InputError as error:
            raise _no_way(answer, error.message) from None
    return None


def explain(answer: Answer, background: Background | None = None, seconds: float | None = None) -> None:
    """Put one explanation for each row beside an answer. When its worker failed, the answer is a failure.

    Args:
        background: what `check_asked` returned.
        seconds: how long it may take; 20 s at most.

    Raises:
        InputError: it takes longer, or the model's library does not tell.
    """
    model, matrix = answer.model, _matrix(answer)
    until = time.monotonic() + min(LIMIT_S, seconds or LIMIT_S)
    try:
        answer.explanations = _explained(model, matrix, background, until)
    except BasculeError:
        raise
    except StepFailed as error:  # a worker's own words
        answer.error, answer.outputs = f"it was not explained: {error}", None
        answer.late = isinstance(error, WorkerSlow)
    except Exception as error:  # a library that tells this of most of its models, and not of this one
        said = (str(error).splitlines() or [""])[0][:200]
        raise InputError(
            f"Model {model.name!r} did not tell what each input adds to a score: {type(error).__name__}: {said}",
            hint="Ask without explain.",
        ) from None


def explain_sampled(answer: Answer) -> None:
    """Put explanations beside an answer for the log alone; an answer that cannot be explained is logged without.

    Nobody asked for them, so the caller must not feel them.
    """
    if answer.query.rows.count <= MOST_ROWS:
        with suppress(Exception):
            background = None if answer.model.explainer.possible else _lent(answer)
            answer.explanations = _explained(answer.model, _matrix(answer), background, time.monotonic() + UNASKED_S)


def _lent(answer: Answer) -> Background:
    """Return what an answer's model was asked lately. Raises `InputError` where that says too little."""
    model, redaction = answer.model, answer.deployment.redaction
    if model.asked is None:
        raise InputError("no log is kept of what it is asked")
    return model.asked.background(frozenset() if redaction is None else redaction.unkept(model.encoder.names))


def _matrix(answer: Answer) -> np.ndarray:
    """Return the rows as the model read them."""
    encoder, rows = answer.model.encoder, answer.query.rows
    if answer.features is not None:
        return encoder.encode(by_name(encoder.names, answer.features), rows.count)
    if rows.columns is not None:
        return encoder.encode(rows.columns, rows.count)
    if rows.row is not None:
        return np.array([rows.row], dtype=np.float64)
    owned = rows.owned()
    assert owned is not None
    return owned


def _explained(
    model: LoadedModel, matrix: np.ndarray, background: Background | None, until: float
) -> list[dict[str, Any]]:
    """Explain some rows after others, so that what else waits for the model gets its turn, and the time is kept."""
    found: list[dict[str, Any]] = []
    at_once = 1
    while len(found) < len(matrix):
        if found and time.monotonic() > until:
            raise InputError(
                f"In the time that an explanation may take, {len(found):,} of {len(matrix):,} rows were explained.",
                hint="Send fewer rows at once.",
            )
        told = model.explainer.tell(matrix[len(found) : len(found) + at_once], background)
        found += [_one(model, told, part, background) for part in told.values]
        at_once = told.at_once
    return found


def _one(model: LoadedModel, told: Told, part: np.ndarray, background: Background | None) -> dict[str, Any]:
    about: dict[str, Any] = {"method": told.method, "scale": told.scale}
    if told.samples:
        about["samples"] = told.samples
        about["background"] = _against(model, told, background)
    held = () if background is None else background.held
    if model.task != "multiclass":
        return {**about, **_added(model, part[0], held)}
    return {**about, "classes": {name: _added(model, one, held) for name, one in zip(model.classes, part, strict=True)}}


def _against(model: LoadedModel, told: Told, background: Background | None) -> dict[str, Any]:
    """Return what the rows were held against, as it is answered."""
    if background is None:
        return {"rows": told.rows, "from": "model"}
    about = {"rows": told.rows, "from": "requests", "of": background.of, "version": background.version}
    return about | ({"held": [model.encoder.names[place] for place in background.held]} if background.held else {})


def _added(model: LoadedModel, part: np.ndarray, held: Sequence[int]) -> dict[str, Any]:
    numbers: list[float] = part.tolist()
    told = {name: numbers[place] for place, name in enumerate(model.encoder.names) if place not in held}
    return {"base": numbers[-1], "contributions": told}


def _no_way(answer: Answer, lacks: str) -> InputError:
    """Return what is said of a version that cannot be explained; of a rollout's, which other one can."""
    model, deployment = answer.model, answer.deployment
    others = sorted(one.version for one in deployment.models.values() if one.explainer.possible)
    instead = f"Version {others[0]} can be: /v2/models/{deployment.name}/versions/{others[0]}." if others else ""
    return no_way(f"Version {model.version} of model {model.name!r}", model.format, instead, lacks)
