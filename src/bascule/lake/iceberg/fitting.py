"""Values of one type as another, without losing anything: what Arrow's casts would cut, round or forget is told.

A safe cast of Arrow refuses most losses and lets others through: it rounds a double to a decimal and a decimal to a
double, makes `007` the number 7 and 5 a truth, cuts the clock off a time, takes a number for a moment of some unit, and
drops the fields of a struct that the other has not.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

Is = Callable[[pa.DataType], bool]


class Unlike(Exception):
    """No value of the one type is a value of the other."""


class Lossy(Exception):
    """Some values do not fit without a loss."""


def fitted(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return values as another type.

    Raises:
        Lossy: one of them does not fit without a loss.
        Unlike: none of that type can.
    """
    if values.type == kind:
        return values
    _refuse_unlike(values.type, kind)
    if types.is_struct(values.type) and types.is_struct(kind):
        return _fitted_struct(values, kind)
    try:
        found = _cast(values, kind)
    except pa.ArrowNotImplementedError as error:
        raise Unlike(str(error)) from error
    except pa.ArrowInvalid as error:
        raise Lossy(str(error)) from error
    lost = _first_lost(values, found)
    if lost is not None:
        raise Lossy(f"{lost} would change")
    return found


def misfits(values: pa.Array, kind: pa.DataType, most: int) -> list[int]:
    """Return the places of the first values, at most so many, that do not fit another type.

    Raises:
        Unlike: none of that type can.
    """
    found: list[int] = []
    waiting = [(0, len(values))]
    while waiting and len(found) < most:
        start, end = waiting.pop()
        try:
            # A slice of lists has all their items, of which a cast looks at each.
            part = values.slice(start, end - start)
            fitted(pa.concat_arrays([part]) if types.is_nested(values.type) else part, kind)
        except Lossy:
            if end - start == 1:
                found.append(start)
                continue
            middle = (start + end) // 2
            waiting += [(middle, end), (start, middle)]
    return found


def _fitted_struct(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Fit field by field: Arrow's cast looks at what stands below missing structs, too."""
    places = {field.name: place for place, field in enumerate(values.type)}
    parts = values.flatten()
    found = [
        fitted(parts[places[field.name]], field.type) if field.name in places else pa.nulls(len(values), field.type)
        for field in kind
    ]
    return pa.StructArray.from_arrays(found, fields=list(kind), mask=values.is_null())


def _cast(values: pa.Array, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.DictionaryArray):  # Arrow decodes none of views, as Polars' categories are
        return pc.take(pc.cast(values.dictionary, kind), values.indices)
    if types.is_integer(values.type) and types.is_decimal(kind):
        # Arrow asks for room for the greatest integer that there is.
        values = pc.cast(values, pa.decimal128(38, 0))
    if types.is_decimal(values.type) and types.is_floating(kind):
        values = pc.cast(values, pa.string())  # Arrow's own way gives a neighbour of the nearest double
    return pc.cast(values, kind, safe=True)


def _refuse_unlike(old: pa.DataType, new: pa.DataType) -> None:
    """Raise `Unlike` for types between which a cast would have a meaning that nobody said."""
    if (_is_number(old) and types.is_temporal(new)) or (types.is_temporal(old) and _is_number(new)):
        raise Unlike("numbers and moments are not each other's values")
    if types.is_struct(old) and types.is_struct(new):
        names = {field.name for field in new}
        if more := [field.name for field in old if field.name not in names]:
            raise Unlike(f"its field {more[0]!r} would be lost")
        for field in old:
            _refuse_unlike(field.type, new.field(field.name).type)
    elif types.is_map(old) and types.is_map(new):
        _refuse_unlike(old.key_type, new.key_type)
        _refuse_unlike(old.item_type, new.item_type)
    elif _is_list(old) and _is_list(new):
        _refuse_unlike(old.value_type, new.value_type)


def _first_lost(values: pa.Array, found: pa.Array) -> pa.Scalar | None:
    """Return the first value that Arrow changed without a word; None where it changed none."""
    old, new = values.type, found.type
    if types.is_struct(old) and types.is_struct(new):
        parts = dict(zip((field.name for field in new), found.flatten(), strict=True))
        pairs = ((part, parts[field.name]) for part, field in zip(values.flatten(), old, strict=True))
        return next((lost for pair in pairs if (lost := _first_lost(*pair)) is not None), None)
    if (_is_list(old) and _is_list(new)) or (types.is_map(old) and types.is_map(new)):
        return _first_lost(values.flatten(), found.flatten())
    test = next((test for before, after, test in _SILENT if before(old) and after(new)), None)
    if test is None:
        return None
    place = pc.index(pc.fill_null(test(values, found), False), True).as_py()
    return values[place] if place >= 0 else None


def _differs(values: pa.Array, found: pa.Array) -> pa.Array:
    return pc.not_equal(pc.cast(found, values.type, safe=False), values)


def _is_written_otherwise(values: pa.Array, found: pa.Array) -> pa.Array:
    return pc.not_equal(pc.cast(found, pa.string()), pc.cast(values, pa.string()))


def _is_rounded(values: pa.Array, found: pa.Array) -> pa.Array:
    """Tell which decimals are not what their doubles are written as."""
    if values.type.precision <= 15 and types.is_float64(found.type):
        return pa.repeat(pa.scalar(False), len(values))
    pairs = zip(values.to_pylist(), pc.cast(found, pa.string()).to_pylist(), strict=True)
    return pa.array([one is not None and Decimal(text) != one for one, text in pairs], pa.bool_())


def _is_beyond(values: pa.Array, found: pa.Array) -> pa.Array:
    infinite = pc.is_inf(found)
    return pc.and_not(infinite, pc.is_inf(values)) if types.is_floating(values.type) else infinite


def _is_text(kind: pa.DataType) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_boolean(kind))


_SILENT: tuple[tuple[Is, Is, Callable[[pa.Array, pa.Array], pa.Array]], ...] = (
    (types.is_floating, types.is_decimal, _differs),
    (types.is_decimal, types.is_floating, _is_rounded),
    (types.is_floating, types.is_floating, _is_beyond),
    (_is_text, types.is_floating, _is_beyond),
    (_is_text, types.is_integer, _is_written_otherwise),
    (types.is_integer, types.is_boolean, _differs),
    (types.is_floating, types.is_boolean, _differs),
    (types.is_timestamp, types.is_date, _differs),
)
