"""What every section of a project file is made of: the base of their classes, and the types of their values."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bascule.durations import PATTERN as DURATION_PATTERN
from bascule.naming import NAME_PATTERN

TRAINER_PATTERN = r"^([a-z][a-z0-9_]*|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$"
CHECK_PATTERN = r"^([\w./ -]+\.sql|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$"

FUNCTION_PATTERN = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
SIZE_PATTERN = r"^\d+(\.\d+)? ?([KMGT]?B)?$"

Duration = Annotated[
    str,
    Meta(pattern=DURATION_PATTERN, description="A span of time: numbers with units.", examples=["30d", "6h", "1d12h"]),
]
Share = Annotated[float, Meta(gt=0, lt=1, description="A share of the rows, between 0 and 1.", examples=[0.15])]
Name = Annotated[str, Meta(pattern=NAME_PATTERN, description="A name: a letter, then letters, digits, _, - or .")]
Column = Annotated[str, Meta(min_length=1, description="The name of a column.")]
RelativePath = Annotated[str, Meta(min_length=1, description="A path, relative to the project file.")]
Size = Annotated[str, Meta(pattern=SIZE_PATTERN, description="A size: a number and a unit.")]
Function = Annotated[str, Meta(pattern=FUNCTION_PATTERN, description="module:function, a file of the project.")]
Expression = Annotated[str, Meta(min_length=1, description="An SQL expression over one row.")]
Positive = Annotated[int, Meta(ge=1)]
Metric = Literal["log_loss", "auc", "brier", "accuracy", "ece", "rmse", "mae", "r2"]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Percent = Annotated[int, Meta(ge=1, le=100, description="A share of the traffic in percent.")]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What all sections share: they cannot change, and they refuse keys that they do not know."""
