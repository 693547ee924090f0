"""The key locator finds what tomllib finds, where it stands."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule.project.locate import KeyPath, key_lines, key_text, line_of

TEXT = """\
# a comment with [brackets] and = signs
[project]
name = "a # b"          # here

[ "odd name" . 'x.y' ]
"quoted = key" = 1
dotted.key = \"\"\"
not = a key
[nor] a header \\\"""\"\"\"
list = [
    1,   # one
    [2, 3],
    { a = 1, b.c = "]" },
]
inline = { one = 1, two = { three = [4] } }

[[many]]
x = 1
[[many]]
x = 2
[many.under]
y = '''it''s'''
"""


def test_every_key_is_found_on_its_line() -> None:
    lines = key_lines(TEXT)
    odd = ("odd name", "x.y")
    expected: dict[KeyPath, int] = {
        ("project",): 2,
        ("project", "name"): 3,
        ("odd name",): 5,
        odd: 5,
        (*odd, "quoted = key"): 6,
        (*odd, "dotted"): 7,
        (*odd, "dotted", "key"): 7,
        (*odd, "list"): 10,
        (*odd, "list", 0): 11,
        (*odd, "list", 1): 12,
        (*odd, "list", 1, 1): 12,
        (*odd, "list", 2, "b", "c"): 13,
        (*odd, "inline", "two", "three", 0): 15,
        ("many", 0, "x"): 18,
        ("many", 1, "x"): 20,
        ("many", 1, "under", "y"): 22,
    }
    assert {path: lines[path] for path in expected} == expected


def test_a_path_that_is_not_there_has_the_line_of_what_is_around_it() -> None:
    assert line_of(key_lines(TEXT), ("project", "missing", 3)) == 2
    assert line_of(key_lines(TEXT), ("missing",)) is None


def test_paths_read_like_toml() -> None:
    assert key_text(("source", "flights", "key", 1)) == "source.flights.key[1]"
    assert key_text(("features", "a b")) == 'features."a b"'


names = st.one_of(st.from_regex(r"\A[A-Za-z0-9_-]{1,6}\Z"), st.text(st.characters(codec="utf-8"), max_size=6))
scalars = st.one_of(st.integers(-99, 99), st.booleans(), st.text(st.characters(codec="utf-8"), max_size=8))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=8
)
sections = st.dictionaries(names, st.dictionaries(names, values, max_size=4), max_size=4)


@pytest.mark.slow
@settings(deadline=None)
@given(sections, st.data())
def test_the_same_keys_as_tomllib(document: dict[str, dict[str, Any]], data: st.DataObject) -> None:
    text = "".join(
        f"[{_key(name)}] # {_comment(data)}\n"
        + "".join(f"{_key(key)} = {_value(value, data)} # {_comment(data)}\n\n" for key, value in table.items())
        for name, table in document.items()
    )
    assert set(key_lines(text)) == set(_paths(tomllib.loads(text)))


def _comment(data: st.DataObject) -> str:
    return data.draw(st.sampled_from(["", "[x]", "a = 1", '"', "'''", "]}"]))


def _key(name: str) -> str:
    return name if name.isascii() and name.replace("-", "").replace("_", "").isalnum() else _string(name)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any, data: st.DataObject) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        if "'" not in value and value.isprintable() and data.draw(st.booleans()):
            return data.draw(st.sampled_from([f"'{value}'", f"'''{value}'''"]))
        return _string(value)
    if isinstance(value, list):
        gap = data.draw(st.sampled_from([" ", "\n", " # ],\n"]))
        return f"[{gap}" + f",{gap}".join(_value(one, data) for one in value) + f"{gap}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_value(one, data)}" for key, one in value.items()) + " }"
    return str(value)


def _paths(value: Any, path: KeyPath = ()) -> list[KeyPath]:
    found: list[KeyPath] = [path] if path else []
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in children:
        found += _paths(inner, (*path, key))
    return found
