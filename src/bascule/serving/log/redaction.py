"""What the prediction log does not keep: fields that a deployment leaves out or hashes, and requests beyond a sample.

The answer itself (its id, version, score, output, latency) is kept always: rollouts and outcomes are counted by it.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import random
import re
from collections.abc import Mapping, Sequence, Set
from typing import Any, Literal

import numpy as np

from bascule.serving.case import KIND

HASH_DIGITS = 32  # as the lake's masks have it: equal values are equal in both
LOST = "its worker "
NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
WHOLE = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?", re.IGNORECASE)
REAL = ("DOUBLE", "FLOAT", "REAL")
How = Literal["drop", "hash"]
Inputs = Mapping[str, Sequence[Any]] | bytes
Features = list[list[Any]] | None


class Redaction:
    """Rules of one deployment. It may be used from several threads.

    Args:
        fields: a column that requests bring, or a feature, to what becomes of its values.
        sample: the share of requests whose inputs and features are kept.
        key: of the hashes.
    """

    def __init__(self, fields: Mapping[str, str], sample: float, key: bytes) -> None:
        self._fields = dict(fields)
        self._sample = sample
        self._key = key

    def applied(
        self, inputs: Inputs, features: Features, names: Sequence[str], kinds: Mapping[str, str]
    ) -> tuple[Inputs, Features]:
        """Return what is kept of a request.

        Args:
            inputs: what came, as the log has it.
            features: the model's inputs row by row, when they are not what came.
            names: the model's inputs in order.
            kinds: the types of these and of what requests bring (`LoadedModel.kinds`).
        """
        if self._sample < 1.0 and random.random() >= self._sample:
            return {}, None
        if isinstance(inputs, bytes):
            if not self._fields.keys() & set(names):
                return inputs, features
            rows = np.frombuffer(inputs, dtype="<f8").reshape(-1, len(names))
            inputs = {name: rows[:, place].tolist() for place, name in enumerate(names)}
        kept = {
            name: [self._hashed(value, kinds.get(name, "")) for value in values] if name in self._fields else values
            for name, values in inputs.items()
            if self._fields.get(name) != "drop"
        }
        if features is not None:
            features = [
                [self._one(name, value, kinds.get(name, "")) for name, value in zip(names, row, strict=True)]
                for row in features
            ]
        return kept, features

    def unkept(self, names: Sequence[str]) -> frozenset[str]:
        """Return those among some fields that the log does not keep as they are."""
        return frozenset(self._fields.keys() & set(names))

    def kept(self, name: str, value: Any, kind: str) -> Any:
        """Return what the log has in place of a value of a field of this type; None when it drops it."""
        return self._one(name, value, kind)

    def failure(self, error: str) -> str:
        """Return what is kept of a failure in a model's or a step's own words, which may quote any field."""
        if not self._fields or error.startswith(LOST):
            return error
        kind = KIND.match(error)
        return f"{kind[0] if kind else 'It failed'} (its words are not kept: they may quote fields that are left out)"

    def explained(self, explanations: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
        """Return explanations without what they say of fields that are left out or hashed; `left_out` says how many.

        What a field adds tells its value to who knows the model: of a linear one it is the value, times a number.
        """
        if not self._fields or explanations is None:
            return explanations
        return [_without(one, self._fields.keys()) for one in explanations]

    def _one(self, name: str, value: Any, kind: str) -> Any:
        how = self._fields.get(name)
        return value if how is None else None if how == "drop" else self._hashed(value, kind)

    def _hashed(self, value: Any, kind: str) -> str | None:
        if value is None or value != value:
            return None
        text = canonical(value, kind)
        return hmac.new(self._key, text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:HASH_DIGITS]


def canonical(value: Any, kind: str) -> str:
    """Return a value as the text that stands for it in a column of this type, as DuckDB writes it: the same for 7 and
    7.0 in a column of whole numbers, and for true and 1 in one of booleans, however a request said it.

    Args:
        kind: `double`, `bigint`, `boolean`, `varchar` or a DuckDB type; where it is none of numbers or booleans, a text
            stays what it is.
    """
    if isinstance(value, str):
        if kind.upper() == "BOOLEAN" and value.lower() in ("true", "false"):
            return value.lower()
        if not (_is_number(kind) and NUMBER.fullmatch(value)):
            return value
        value = float(value) if not value.lstrip("-").isdigit() else int(value)
    if isinstance(value, bool) or (kind.upper() == "BOOLEAN" and value in (0, 1)):
        return str(int(value) if _is_number(kind) else bool(value)).lower()
    if not isinstance(value, int | float):
        return repr(value)
    if kind.upper() in REAL:
        return repr(float(value) + 0.0)
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(value)


def _is_number(kind: str) -> bool:
    return kind.upper() in REAL or WHOLE.fullmatch(kind) is not None


def _without(explanation: dict[str, Any], names: Set[str]) -> dict[str, Any]:
    if "classes" in explanation:
        return {**explanation, "classes": {key: _without(one, names) for key, one in explanation["classes"].items()}}
    kept = {name: value for name, value in explanation["contributions"].items() if name not in names}
    left_out = len(explanation["contributions"]) - len(kept)
    return {**explanation, "contributions": kept} | ({"left_out": left_out} if left_out else {})
