"""The rule that starts a retraining: `quality.auc < training.auc - 0.03 for 3 of 5 days`."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from bascule.errors import InputError, suggestion

SERIES = ("quality", "drift", "prediction_drift")
_RULE = re.compile(
    r"\s*(?P<series>[a-z_]+)(?:\.(?P<name>[A-Za-z_][\w]*))?\s*(?P<sign><=|>=|<|>)\s*"
    r"(?:(?P<number>-?\d+(?:\.\d+)?)|training\.(?P<reference>[a-z_]\w*)(?:\s*(?P<plus>[-+])\s*(?P<offset>\d+(?:\.\d+)?))?)"
    r"(?:\s+for\s+(?P<k>\d+)\s+of\s+(?P<n>\d+)\s+(?P<unit>hours|days|weeks))?\s*"
)
EXAMPLES = (
    "quality.auc < training.auc - 0.03 for 3 of 5 days",
    "quality.auc < 0.65 for 3 of 5 days",
    "drift.wind_speed > 0.2 for 3 of 5 days",
)


class RetrainRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule over what is watched, in parts.

    Attributes:
        series: what is watched: `quality`, `drift` (of a column) or `prediction_drift`.
        name: the metric of `quality`, the column of `drift`; None for any column or for the predictions.
        sign: how it is compared.
        reference: the test metric of the version that answers now, to which `offset` is added; None for a bare number.
        offset: the threshold itself, or what is added to the reference.
        persistence: k and n: the comparison holds in k of the last n periods.
        period: the length of a period.
    """

    series: Literal["quality", "drift", "prediction_drift"]
    name: str | None
    sign: Literal["<", "<=", ">", ">="]
    reference: str | None
    offset: float
    persistence: tuple[int, int] = (1, 1)
    period: Literal["hour", "day", "week"] = "day"

    def as_dict(self) -> dict[str, object]:
        """The rule as a JSON object, for the history."""
        parts: dict[str, object] = msgspec.to_builtins(self)
        return parts


def parse_rule(text: str) -> RetrainRule:
    """Read a rule.

    Raises:
        InputError: the text is not a rule, names something that is not watched, or asks for k of fewer than k periods.
    """
    match = _RULE.fullmatch(text)
    if match is None:
        raise InputError(f"{text!r} is not a rule that can be read.", hint=f'Write it like "{EXAMPLES[0]}".')
    if match["series"] not in SERIES:
        raise InputError(
            f"{match['series']!r} in {text!r} is not watched.", hint=suggestion(match["series"], SERIES, "series")
        )
    if match["series"] == "quality" and not match["name"]:
        raise InputError(f"{text!r} does not say which metric of quality.", hint='Write one, such as "quality.auc".')
    k, n = int(match["k"] or 1), int(match["n"] or 1)
    if not 1 <= k <= n:
        raise InputError(f"{text!r} asks for {k} of {n} periods.", hint="The first number may not exceed the second.")
    offset = float(match["number"] or match["offset"] or 0)
    return msgspec.convert(
        {
            "series": match["series"],
            "name": match["name"],
            "sign": match["sign"],
            "reference": match["reference"],
            "offset": -offset if match["plus"] == "-" else offset,
            "persistence": (k, n),
            "period": (match["unit"] or "days").removesuffix("s"),
        },
        RetrainRule,
    )
