"""From the plain values of a TOML file to typed sections, with messages that a person can act on.

`msgspec` checks each value by the type that its field declares; what it refuses is told here in the file's own
words: the key, what was found, what is allowed, and the nearest right name.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import re
import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from bascule.durations import HOW
from bascule.durations import PATTERN as DURATION_PATTERN
from bascule.errors import suggestion
from bascule.naming import NAME_PATTERN
from bascule.project.locate import KeyPath
from bascule.project.section import CHECK_PATTERN, FUNCTION_PATTERN, SIZE_PATTERN, TRAINER_PATTERN, Section

S = TypeVar("S", bound=Section)

_WHERE = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "true or false"),
    (str, "a text"),
    (int, "a whole number"),
    (float, "a number"),
    ((tuple, list), "a list"),
    (dict, "a table"),
)
_PATTERNS = {
    DURATION_PATTERN: f"a span of time. {HOW}",
    CHECK_PATTERN: "a check: FILE.sql with a query for the rows that must not be, or module:function",
    NAME_PATTERN: "a name: a letter, then letters, digits, _, - or .",
    FUNCTION_PATTERN: "module:function, for a function in a file of the project",
    SIZE_PATTERN: "a size: a number and a unit, such as 512MB or 2GB",
    TRAINER_PATTERN: "the name of a trainer, or module:function for one of your own",
}


class Refused(Exception):
    """A value that a section cannot hold; the caller adds the file and the line."""

    def __init__(self, path: KeyPath, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.message = message
        self.hint = hint


def section(raw: object, kind: type[S], path: KeyPath) -> S:
    """Return the section that a TOML table describes.

    Raises:
        Refused: it is no table, a key is unknown or missing, or a value does not fit its field.
    """
    if not isinstance(raw, dict):
        raise Refused(
            path, f"must be a table of settings, not {found(raw)}.", f"Allowed keys: {_listed(_fields(kind))}."
        )
    refuse_unknown(raw, _fields(kind), path, "key")
    values: dict[str, Any] = {}
    for name, hint in _fields(kind).items():
        if name not in raw:
            continue
        nested, named = _section_of(hint), _sections_of(hint)
        if nested:
            values[name] = section(raw[name], nested, (*path, name))
        elif named and isinstance(raw[name], dict):
            values[name] = {key: section(one, named, (*path, name, key)) for key, one in raw[name].items()}
        else:
            values[name] = _value(raw[name], hint, (*path, name))
    missing = [name for name in _required(kind) if name not in values]
    if missing:
        raise Refused(
            path, f"lacks the key {missing[0]!r}.", f"Write {missing[0]} = … ({allowed(_fields(kind)[missing[0]])})"
        )
    return kind(**values)


def refuse_unknown(raw: dict[str, Any], known: Iterable[str], path: KeyPath, kind: str) -> None:
    """Refuse the first key of a table that is not known, with the nearest one that is."""
    names = list(known)
    for key in raw:
        if key not in names:
            raise Refused((*path, key), f"{key!r} is not a {kind} here.", suggestion(key, names, kind))


def found(value: object) -> str:
    """Return what a value is, for a message: `the text "x"`, `the whole number 3`."""
    if isinstance(value, str):
        return f"the text {json.dumps(value, ensure_ascii=False)}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, list | tuple):
        return f"the list {json.dumps(value, ensure_ascii=False, default=str)}"
    return "a table" if isinstance(value, dict) else f"the time {value}"


def allowed(hint: Any) -> str:
    """Return what a field accepts, for a message."""
    hint, constraints = _peeled(hint)
    if get_origin(hint) in (types.UnionType, Union):
        choices = [allowed(one).rstrip(".") for one in get_args(hint) if one is not type(None)]
        return ", or ".join(choices)
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(json.dumps(one) for one in get_args(hint))
    if get_origin(hint) is tuple:
        return _allowed_list(get_args(hint))
    for constraint in constraints:
        if constraint.pattern in _PATTERNS:
            return _PATTERNS[constraint.pattern]
    plain = get_origin(hint) or hint
    text = next(
        (text for kind, text in _KINDS if plain is kind or (isinstance(kind, tuple) and plain in kind)), "a value"
    )
    return text + _bounds(constraints)


def _value(raw: object, hint: Any, path: KeyPath) -> Any:
    if isinstance(raw, dt.date | dt.time):  # TOML writes moments without quotes; the sections keep them as ISO 8601
        raw = raw.isoformat()
    try:
        return msgspec.convert(raw, hint)
    except msgspec.ValidationError as error:
        _refuse(raw, hint, path, str(error))


def _refuse(raw: object, hint: Any, path: KeyPath, error: str) -> NoReturn:
    """Tell which part of the value is wrong: the whole, one element of a list, or one value of a table."""
    table, _ = _peeled(hint)
    if isinstance(raw, dict) and get_origin(table) is dict:
        for key, value in raw.items():
            _value(value, get_args(table)[1], (*path, key))
    where = _WHERE.search(error)
    for position in re.findall(r"\[(\d+)\]", where["path"] if where else ""):
        if isinstance(raw, list):
            raw, path, hint = raw[int(position)], (*path, int(position)), _element(hint)
    literal, _ = _peeled(hint)
    choices = [one for one in get_args(literal) if isinstance(one, str)] if get_origin(literal) is Literal else []
    near = suggestion(str(raw), choices) if choices and isinstance(raw, str) else ""
    raise Refused(
        path, f"is {found(raw)}; it must be {allowed(hint).rstrip('.')}.", near if near.startswith("Did") else ""
    )


def _peeled(hint: Any) -> tuple[Any, list[msgspec.Meta]]:
    """Return a type without annotations and without `| None`, and the constraints that it carried."""
    constraints: list[msgspec.Meta] = []
    while True:
        if get_origin(hint) is Annotated:
            inner, *metas = get_args(hint)
            constraints += [meta for meta in metas if isinstance(meta, msgspec.Meta)]
            hint = inner
        elif get_origin(hint) in (types.UnionType, Union):
            rest = [one for one in get_args(hint) if one is not type(None)]
            if len(rest) != 1:
                return hint, constraints
            hint = rest[0]
        else:
            return hint, constraints


def _element(hint: Any) -> Any:
    inner, _ = _peeled(hint)
    return get_args(inner)[0]


def _allowed_list(elements: tuple[Any, ...]) -> str:
    inner = allowed(elements[0])
    size = "" if elements[-1] is Ellipsis else f" of {len(elements)}"
    return f"a list{size}, each {inner}"


def _bounds(constraints: list[msgspec.Meta]) -> str:
    for one in constraints:
        if one.gt is not None and one.lt is not None:
            return f" between {one.gt} and {one.lt}"
        if one.ge is not None and one.le is not None:
            return f" from {one.ge} to {one.le}"
        if one.ge is not None:
            return f" of at least {one.ge}"
        if one.min_length:
            return " that is not empty"
    return ""


@functools.cache
def _fields(kind: type[Section]) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {name: hints[name] for name in kind.__struct_fields__}


def _section_of(hint: Any) -> type[Section] | None:
    inner, _ = _peeled(hint)
    return inner if isinstance(inner, type) and issubclass(inner, Section) else None


def _sections_of(hint: Any) -> type[Section] | None:
    """Return the kind of sections that a table of named ones holds, as `[forget.link.NAME]` does."""
    inner, _ = _peeled(hint)
    return _section_of(get_args(inner)[1]) if get_origin(inner) is dict else None


@functools.cache  # it evaluates every annotation of the section, and a project has many sections
def _required(kind: type[Section]) -> tuple[str, ...]:
    return tuple(one.name for one in msgspec.structs.fields(kind) if one.required)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
