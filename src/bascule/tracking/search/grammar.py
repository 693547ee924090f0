"""The language of conditions: comparisons joined by AND, and what to order by.

A comparison is `entity.key OPERATOR value`; a key may stand in backticks or quotes, a bare key is an attribute. Values
are numbers, texts in quotes, or lists of texts in parentheses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bascule.errors import InputError

MOST_CHARACTERS = 32_768
MOST_CONDITIONS = 200
MOST_ORDERS = 30  # SQLite before 3.41 ends the process over 64 terms of an order, and each is two
SURROGATE = re.compile("[\ud800-\udfff]")
Value = str | float | tuple[str, ...] | None

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\")|(?P<tick>`[^`]*`)"
    r"|(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))|(?P<sign><=|>=|!=|<>|==|=|<|>)"
    r"|(?P<mark>[(),.])|(?P<word>[^\s'\"`<>=!(),.]+))"
)
_ORDERS = {"asc": True, "desc": False}


@dataclass(frozen=True)
class Comparison:
    """One condition.

    Attributes:
        entity: such as `metric`; `attribute` when the text names none.
        operator: upper case, such as `>=`, `LIKE`, `NOT IN`, `IS NULL`.
        value: a number, a text, several texts, or None for `IS NULL`.
        quoted: whether the value stood in quotes.
    """

    entity: str
    key: str
    operator: str
    value: Value
    quoted: bool = False


@dataclass(frozen=True)
class Ordering:
    """One thing to order by."""

    entity: str
    key: str
    ascending: bool = True


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int


def parse_filter(text: str, entities: Mapping[str, str]) -> list[Comparison]:
    """Read a filter.

    Args:
        text: such as `metrics.auc > 0.8 AND tags.stage = 'final'`; blank means everything.
        entities: each word that may stand before the dot, and the entity that it means.

    Raises:
        InputError: what cannot be read, and where.
    """
    if len(text) > MOST_CHARACTERS:
        raise InputError(
            f"The filter has {len(text):,} characters; at most {MOST_CHARACTERS:,} are read.", hint="Ask in parts."
        )
    reader = _Reader(_tokens(text), text, entities)
    found: list[Comparison] = []
    while not reader.ended():
        if found:
            reader.word("AND")
        found.append(reader.comparison())
        if len(found) > MOST_CONDITIONS:
            raise InputError(f"The filter has more than {MOST_CONDITIONS} conditions.", hint="Ask in parts.")
    return found


def parse_order(parts: Iterable[str], entities: Mapping[str, str]) -> list[Ordering]:
    """Read what to order by, such as `metrics.auc DESC`.

    Raises:
        InputError: for what cannot be read, and for a thing that is there twice.
    """
    found: list[Ordering] = []
    for part in parts:
        reader = _Reader(_tokens(part), part, entities)
        entity, key = reader.identifier()
        ascending = True
        if not reader.ended():
            direction = reader.take("word", "ASC or DESC").text.casefold()
            if direction not in _ORDERS or not reader.ended():
                raise InputError(f"Invalid order_by clause {part!r}.", hint="Write it like: metrics.auc DESC")
            ascending = _ORDERS[direction]
        if any((one.entity, one.key) == (entity, key) for one in found):
            raise InputError(f"`order_by` contains duplicate fields: {part!r}.", hint="Name each of them once.")
        if len(found) == MOST_ORDERS:
            raise InputError(f"`order_by` has more than {MOST_ORDERS} fields.", hint="Order by fewer.")
        found.append(Ordering(entity, key, ascending))
    return found


def _tokens(text: str) -> list[_Token]:
    if SURROGATE.search(text):  # such as the shell gives for bytes that are no UTF-8
        raise InputError(f"{text[:80]!a} is no text: it has half a character.", hint="Write it in UTF-8.")
    found: list[_Token] = []
    at = 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise InputError(
                f"Invalid clause(s) in filter string: {text[at : at + 40]!r}.", hint="Close what is quoted."
            )
        found.append(_Token(match.lastgroup, match[match.lastgroup], at))
        at = match.end()
    return found


class _Reader:
    def __init__(self, tokens: list[_Token], text: str, entities: Mapping[str, str]) -> None:
        self._tokens, self._text, self._entities = tokens, text, entities
        self._at = 0

    def ended(self) -> bool:
        return self._at >= len(self._tokens)

    def take(self, kind: str, wanted: str) -> _Token:
        if self.ended():
            raise InputError(f"Invalid filter {self._text[:80]!r}: it ends where {wanted} should be.", hint=_HINT)
        token = self._tokens[self._at]
        if kind and token.kind != kind:
            raise InputError(
                f"Invalid filter {self._text[:80]!r}: {token.text[:40]!r} stands where {wanted} should be.", hint=_HINT
            )
        self._at += 1
        return token

    def word(self, wanted: str) -> None:
        token = self.take("word", wanted)
        if token.text.casefold() != wanted.casefold():
            raise InputError(
                f"Invalid clause(s) in filter string: {token.text[:40]!r} stands where {wanted} should be.", hint=_HINT
            )

    def identifier(self) -> tuple[str, str]:
        first = self._name()
        if self._next("mark", "."):
            entity = self._entities.get(first.casefold())
            if entity is None:
                known = ", ".join(sorted(set(self._entities)))
                raise InputError(f"Invalid entity type {first[:60]!r}.", hint=f"Valid entity types are {known}.")
            self._at += 1
            key = self._name()
            while self._next("mark", "."):
                self._at += 1
                key += "." + self._name()
            return entity, key
        return "attribute", first

    def comparison(self) -> Comparison:
        entity, key = self.identifier()
        operator = self._operator()
        if operator in ("IS NULL", "IS NOT NULL"):
            return Comparison(entity, key, operator, None)
        if operator in ("IN", "NOT IN"):
            return Comparison(entity, key, operator, self._list(), True)
        token = self.take("", "a value")
        if token.kind == "text":
            return Comparison(entity, key, operator, token.text[1:-1], True)
        if token.kind == "number":
            return Comparison(entity, key, operator, _number(token.text))
        if token.kind == "word" and token.text.casefold() in ("inf", "nan", "infinity"):
            return Comparison(entity, key, operator, float(token.text))
        raise InputError(
            f"Expected a quoted string value or a number for {key!r}, found {token.text[:40]!r}.",
            hint="Put texts into quotes: tags.stage = 'final'",
        )

    def _name(self) -> str:
        token = self.take("", "a name")
        if token.kind in ("tick", "text"):
            return token.text[1:-1]
        if token.kind in ("word", "number"):
            return token.text
        raise InputError(
            f"Invalid filter {self._text[:80]!r}: {token.text!r} stands where a name should be.", hint=_HINT
        )

    def _operator(self) -> str:
        token = self.take("", "an operator")
        if token.kind == "sign":
            return {"==": "=", "<>": "!="}.get(token.text, token.text)
        word = token.text.upper() if token.kind == "word" else ""
        if word == "IS":
            negated = self._word_next("NOT")
            self.word("NULL")
            return "IS NOT NULL" if negated else "IS NULL"
        if word == "NOT":
            self.word("IN")
            return "NOT IN"
        if word in ("LIKE", "ILIKE", "IN", "RLIKE"):
            return word
        raise InputError(f"Invalid comparator {token.text[:40]!r}.", hint="Known: = != > >= < <= LIKE ILIKE IN IS NULL")

    def _list(self) -> tuple[str, ...]:
        self._mark("(")
        found: list[str] = []
        while True:
            found.append(self.take("text", "a text in quotes").text[1:-1])
            if self._next("mark", ")"):
                self._at += 1
                return tuple(found)
            self._mark(",")

    def _mark(self, mark: str) -> None:
        if self.take("mark", repr(mark)).text != mark:
            raise InputError(f"Invalid filter {self._text[:80]!r}: {mark!r} is missing.", hint=_HINT)

    def _next(self, kind: str, text: str) -> bool:
        if self.ended():
            return False
        token = self._tokens[self._at]
        return token.kind == kind and token.text == text

    def _word_next(self, word: str) -> bool:
        if self.ended():
            return False
        token = self._tokens[self._at]
        found = token.kind == "word" and token.text.casefold() == word.casefold()
        self._at += found
        return found


_HINT = "Write conditions like: metrics.auc > 0.8 AND tags.stage = 'final'"


def _number(text: str) -> float:
    return int(text) if re.fullmatch(r"[-+]?\d{1,30}", text) else float(text)
