"""Records of JSON files with a value, within an object or a list, that is of another type than its column."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pyarrow import types

from bascule.errors import InputError
from bascule.lake.iceberg.fitting import Lossy, Unlike, fitted
from bascule.lake.iceberg.types import primitive_from_arrow, to_duckdb

_ZONED = re.compile(r"[0-9](Z|[+-][0-9]{2}(:?[0-9]{2})?)$")


@dataclass(frozen=True, slots=True)
class Misfit:
    """A value of a record that does not fit.

    Attributes:
        path: where it stands, as SQL writes it: `w.a`, `items[2].price`.
        reason: why, as a sentence.
    """

    path: str
    reason: str


def may_misfit(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Tell whether values that look like one type may not fit another one, within which others are."""
    if found == wanted:
        return False
    if types.is_struct(found) and types.is_struct(wanted):
        kinds = {part.name: part.type for part in wanted}
        return any(part.name in kinds and may_misfit(part.type, kinds[part.name]) for part in found)
    if is_list(found) and is_list(wanted):
        return may_misfit(found.value_type, wanted.value_type)
    if types.is_map(found) and types.is_map(wanted):
        return may_misfit(found.item_type, wanted.item_type)
    if types.is_temporal(found) and types.is_temporal(wanted):
        return False
    return not (types.is_null(found) or (types.is_integer(found) and types.is_float64(wanted)))


def misfit(value: Any, kind: pa.DataType, path: str, *, mixed: bool) -> Misfit | None:
    """Return the first value of a parsed JSON value that a type does not hold; None when all fit.

    Args:
        mixed: its column has values of several types, so that a number in a text is none.
    """
    if value is None:
        return None
    if types.is_struct(kind) and isinstance(value, dict):
        fields = {name.casefold(): one for name, one in value.items()}
        return _first(misfit(fields.get(p.name.casefold()), p.type, f"{path}.{p.name}", mixed=mixed) for p in kind)
    if is_list(kind) and isinstance(value, list):
        return _first(misfit(one, kind.value_type, f"{path}[{n}]", mixed=mixed) for n, one in enumerate(value, 1))
    if types.is_map(kind) and isinstance(value, dict):
        return _first(misfit(one, kind.item_type, f"{path}[{name!r}]", mixed=mixed) for name, one in value.items())
    return None if not types.is_nested(kind) and _holds(kind, value, mixed) else _told(value, _named(kind), path)


@dataclass(slots=True)
class Kinds:
    """Which kinds of values stand at each place of a file's records, and how many records have each."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, record: Mapping[str, Any]) -> None:
        """Count a record's."""
        for path, kind in {(path, kind) for path, kind, _, _ in _places(record)}:
            self.counts.setdefault(path, Counter())[kind] += 1

    def settled(self, share: float) -> dict[str, str]:
        """Return the kind of each place where all but a share of the values are of one, and some are not."""
        found = {}
        for path, counts in self.counts.items():
            [(kind, most)], count = counts.most_common(1), counts.total()
            if 0 < count - most <= share * count:
                found[path] = kind
        return found


def stranger(record: Mapping[str, Any], settled: Mapping[str, str]) -> Misfit | None:
    """Return the first value of a record that is of another kind than those of the others."""
    for path, kind, value, shown in _places(record):
        if settled.get(path, kind) != kind:
            return _told(value, settled[path], shown)
    return None


def is_list(kind: pa.DataType) -> bool:
    """Tell whether a type is of lists."""
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _places(record: Mapping[str, Any]) -> Iterator[tuple[str, str, Any, str]]:
    """Iterate over the values of a record: place, kind, value, and the place with the numbers of lists' items."""
    waiting = [(value, name, name) for name, value in reversed(list(record.items()))]
    while waiting:
        value, path, shown = waiting.pop()
        if value is None:
            continue
        yield path, _kind(value), value, shown
        if isinstance(value, dict):
            waiting += [(one, f"{path}.{name}", f"{shown}.{name}") for name, one in reversed(list(value.items()))]
        elif isinstance(value, list):
            waiting += [(one, f"{path}[]", f"{shown}[{n}]") for n, one in reversed(list(enumerate(value, 1)))]


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "a truth"
    if isinstance(value, int | float):
        return "a number"
    return "a text" if isinstance(value, str) else "a list" if isinstance(value, list) else "an object"


def _holds(kind: pa.DataType, value: Any, mixed: bool) -> bool:
    """Tell whether a value that is no object and no list is one of a type, without a loss."""
    if types.is_string(kind) or types.is_large_string(kind):
        return True  # what is of several types is text
    if types.is_boolean(kind):
        return isinstance(value, bool)
    if isinstance(value, dict | list | bool) or (mixed and isinstance(value, str) and not types.is_temporal(kind)):
        return False
    if isinstance(value, int | float) and types.is_floating(kind):
        return math.isfinite(value)
    if types.is_timestamp(kind):
        kind = pa.timestamp(kind.unit, "UTC" if isinstance(value, str) and _ZONED.search(value) else None)
    whole = types.is_integer(kind) and isinstance(value, float) and value.is_integer()
    try:
        fitted(pa.array([int(value) if whole else value]), kind)
    except (Lossy, Unlike, pa.ArrowException, OverflowError):
        return False
    return True


def _told(value: Any, wanted: str, path: str) -> Misfit:
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return Misfit(path, f"column {path!r} is {wanted} and cannot hold {shown[:200]!r}.")


def _named(kind: pa.DataType) -> str:
    if types.is_struct(kind) or types.is_map(kind):
        return "an object"
    if is_list(kind):
        return "a list"
    try:
        return to_duckdb(primitive_from_arrow(kind, ""))
    except InputError:
        return str(kind)


def _first(found: Iterator[Misfit | None]) -> Misfit | None:
    return next((one for one in found if one is not None), None)
