"""The categories that LightGBM's and XGBoost's models got from pandas: their trees have the categories' places alone.

A request brings the categories themselves. Where they are texts they become an input's categories, so their places are
found again; where they are numbers, a number would be taken for a place, and the answer be another one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from msgspec.structs import replace

from bascule.errors import InputError
from bascule.training import Field

_MARK = b"\npandas_categorical:"


def with_pandas_categories(data: bytes, header: Mapping[str, str], fields: tuple[Field, ...]) -> tuple[Field, ...]:
    """Return a model's inputs, those that were categories of texts with these.

    Args:
        data: the model's text.
        header: its first lines by their names.

    Raises:
        InputError: a category is a number that is not its own place, or nothing says whose categories they are.
    """
    lists = _lists(data)
    places = _places(header.get("feature_infos", "").split(), len(lists))
    if len(places) != len(lists):
        raise InputError(
            f"The model has {len(lists)} columns of pandas categories, and nothing says which they are.",
            hint="Train it on codes of your own, or on columns that vary.",
        )
    found = list(fields)
    for place, categories in zip(places, lists, strict=True):
        if place >= len(found) or are_places(categories):
            continue
        if not all(isinstance(one, str) for one in categories):
            hint = "Make them texts before they are categories, or name the column in categorical_feature, as numbers."
            raise _no_places("LightGBM", found[place].name, categories, hint)
        found[place] = replace(found[place], type="varchar", categories=tuple(categories))
    return tuple(found)


def demand_places(booster: Any, fields: tuple[Field, ...]) -> None:
    """Refuse a model of XGBoost whose categories are numbers that are not their own places.

    Args:
        booster: of a release that keeps categories (3.1), else nothing tells.

    Raises:
        InputError: they are; the text names the input.
    """
    if "c" not in (booster.feature_types or ()) or not hasattr(booster, "get_categories"):
        return
    for field, (_, held) in zip(fields, booster.get_categories(export_to_arrow=True).to_arrow(), strict=False):
        if held is None or (not pa.types.is_integer(held.type) and not pa.types.is_floating(held.type)):
            continue
        categories = held.to_pylist()
        if not are_places(categories):
            raise _no_places("XGBoost", field.name, categories, "Train it on codes from 0 on, and send these.")


def _no_places(library: str, name: str, categories: list[Any], hint: str) -> InputError:
    return InputError(
        f"The input {name[:80]!r} was a pandas category of {str(categories)[:60]}, which {library} knows by their "
        "places alone: sent as they are they would be taken for others.",
        hint=hint,
    )


def are_places(categories: list[Any]) -> bool:
    """Return whether each category is the number of its own place, so that either may be sent."""
    return categories == list(range(len(categories)))


def _lists(data: bytes) -> list[list[Any]]:
    at = data.rfind(_MARK)
    if at < 0:
        return []
    try:
        told = json.loads(data[at + len(_MARK) :].split(b"\n", 1)[0])
    except (ValueError, RecursionError):
        raise InputError("The model's pandas categories cannot be read.", hint="Log the model again.") from None
    lists = told if isinstance(told, list) else []
    return [one if isinstance(one, list) else [] for one in lists]


def _places(infos: list[str], count: int) -> list[int]:
    """Return which inputs are categories: those without a range; one that never varies shows as `none`."""
    found = [place for place, info in enumerate(infos) if not info.startswith("[") and info != "none"]
    return found if len(found) == count else [place for place, info in enumerate(infos) if not info.startswith("[")]
