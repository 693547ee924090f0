"""YAML read into values that know their line.

Read as YAML 1.2 (so `NO` is a word and `12:30` is not a number), with plain scalars only: a tag that would build an
object is refused, and so are duplicate keys, oversized documents and alias bombs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml

from bascule.errors import ProjectFileError, suggestion

MAX_CHARACTERS = 2_000_000
MAX_NODES = 200_000
MAX_DEPTH = 40

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    word: truth for truth, words in ((True, "true True TRUE"), (False, "false False FALSE")) for word in words.split()
}
_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{tag}" for tag in ("str", "int", "float", "bool", "null", "timestamp", "seq", "map")
)

Word = TypeVar("Word", bound=str)


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a document.

    Attributes:
        value: None, bool, int, float or str; a list of nodes; or a dict from key to node.
        line: the line where it begins, counted from 1.
        path: the keys that lead to it, for example `schema[0].properties[3].required`.
        file: the file it was read from, for messages.
    """

    value: Any
    line: int
    path: str
    file: str

    def fail(self, message: str, *, hint: str = "") -> NoReturn:
        """Raise ProjectFileError at this node's file, line and key."""
        raise ProjectFileError(message, file=self.file, line=self.line, key=self.path, hint=hint)

    def get(self, key: str) -> Node | None:
        """The value under `key` of a mapping; None when it is absent or null."""
        found: Node | None = self.mapping().get(key)
        return None if found is None or found.value is None else found

    def require(self, key: str) -> Node:
        """The value under `key`; ProjectFileError when it is missing."""
        found = self.get(key)
        if found is None:
            self.fail(f"`{key}` is missing.", hint=suggestion(key, sorted(self.mapping()), "key"))
        return found

    def mapping(self) -> dict[str, Node]:
        """This node as a mapping."""
        if not isinstance(self.value, dict):
            self.fail(f"Expected keys and values, found {self.shown()}.")
        return self.value

    def items(self) -> list[Node]:
        """This node as a list."""
        if not isinstance(self.value, list):
            self.fail(f"Expected a list, found {self.shown()}.")
        return self.value

    def text(self) -> str:
        """This node as a non-empty text; a number stands for its digits."""
        if isinstance(self.value, bool | list | dict) or self.value in (None, ""):
            self.fail(f"Expected a text, found {self.shown()}.")
        return str(self.value)

    def number(self) -> int | float:
        """This node as a finite number."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value in (_INF, -_INF):
            self.fail(f"Expected a number, found {self.shown()}.")
        return value

    def count(self) -> int:
        """This node as a whole number that is not negative."""
        value = self.number()
        if value != int(value) or value < 0:
            self.fail(f"Expected a whole number that is not negative, found {self.shown()}.")
        return int(value)

    def truth(self) -> bool:
        """This node as true or false."""
        if not isinstance(self.value, bool):
            self.fail(f"Expected true or false, found {self.shown()}.")
        return self.value

    def choice(self, allowed: Mapping[str, Word], what: str) -> Word:
        """This node as one of `allowed` (written word to meaning); unknown words get "did you mean"."""
        word = self.text()
        if word not in allowed:
            known = list(allowed)
            self.fail(
                f"{word!r} is not a known {what}; allowed: {', '.join(known)}.", hint=suggestion(word, known, what)
            )
        return allowed[word]

    def shown(self) -> str:
        """A short name of what stands here, for messages."""
        match self.value:
            case None:
                return "nothing"
            case dict():
                return "keys and values"
            case list():
                return "a list"
            case value:
                text = repr(value)
                return text if len(text) <= 60 else text[:59] + "…"


_INF = float("inf")


def parse_document(text: str, file: Path | str) -> Node:
    """Read one YAML document.

    Raises:
        ProjectFileError: not YAML, more than one document, too large, an alias bomb, a duplicate key, an object tag.
    """
    name = str(file)
    if len(text) > MAX_CHARACTERS:
        raise ProjectFileError(
            f"The file has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read.",
            file=name,
            hint="Split it: one contract for each table.",
        )
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise ProjectFileError(
            f"Not valid YAML: {error.problem or error.context}.",
            file=name,
            line=line,
            hint="Repair the YAML at that line.",
        ) from error
    except yaml.reader.ReaderError as error:
        raise ProjectFileError(
            f"Not valid YAML: {error.reason} at character {error.position}.",
            file=name,
            hint="Save the file as UTF-8 text.",
        ) from error
    except RecursionError as error:
        raise ProjectFileError(
            f"Nested more than {MAX_DEPTH} levels deep.",
            file=name,
            hint="A contract is not that deep: look for a wrong indentation.",
        ) from error
    if root is None:
        raise ProjectFileError("The file is empty.", file=name, hint="Write a contract, or let Bascule suggest one.")
    return _Reader(name).read(root, "", 0)


class _Reader:
    """Walks composed YAML; counts what it visits, so that aliases cannot multiply without bound."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.visited = 0

    def read(self, node: yaml.Node, path: str, depth: int) -> Node:
        here = Node(None, node.start_mark.line + 1, path, self.file)
        self.visited += 1
        if self.visited > MAX_NODES:
            here.fail(f"The document has more than {MAX_NODES:,} values once its aliases are followed.")
        if depth > MAX_DEPTH:
            here.fail(f"Nested more than {MAX_DEPTH} levels deep.")
        if node.tag not in _PLAIN_TAGS:
            here.fail(f"The tag {node.tag!r} is not allowed; only plain values are read.")
        value: Any = None
        if isinstance(node, yaml.MappingNode):
            value = dict(self.pairs(node, path, depth))
        elif isinstance(node, yaml.SequenceNode):
            value = [self.read(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(node.value)]
        elif isinstance(node, yaml.ScalarNode):
            value = _scalar(node)
        return Node(value, here.line, path, self.file)

    def pairs(self, node: yaml.MappingNode, path: str, depth: int) -> Iterator[tuple[str, Node]]:
        seen: set[str] = set()
        for key, item in node.value:
            here = Node(None, key.start_mark.line + 1, path, self.file)
            if not isinstance(key, yaml.ScalarNode):
                here.fail("A key must be a plain word.")
            if key.value == "<<" and key.style is None:
                here.fail("Merge keys (`<<`) are not part of YAML 1.2.", hint="Write the keys out.")
            if key.value in seen:
                here.fail(f"The key {key.value!r} stands here twice.")
            seen.add(key.value)
            yield key.value, self.read(item, f"{path}.{key.value}" if path else key.value, depth + 1)


def _scalar(node: yaml.ScalarNode) -> str | int | float | bool | None:
    """A scalar by the YAML 1.2 core schema; anything quoted is text."""
    text: str = node.value
    if node.style is not None:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        digits = text.lstrip("+-")
        base = {"0o": 8, "0x": 16}.get(digits[:2], 10)
        return int(text, base) if len(text) < 400 else text
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text
