"""The little language in which a retraining is asked for.

    quality.auc < training.auc - 0.03 for 3 of 5 days
    drift.share > 0.3 for 2 of 3 days and traffic.rows > 1000

    rule        = any [ "for" K "of" N UNIT ]
    any         = all { "or" all }
    all         = comparison { "and" comparison }
    comparison  = sum ( "<" | "<=" | ">" | ">=" ) sum
    sum         = product { ( "+" | "-" ) product }
    product     = factor { ( "*" | "/" ) factor }
    factor      = number | name | "-" factor | "(" sum ")"

Names are `quality.METRIC`, `quality.coverage`, `training.METRIC` (at the release of the version that serves),
`drift.share`, `drift.COLUMN` (its effect), `prediction_drift.score` and `traffic.rows`. A window in which a name has no
value says nothing.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from bascule.errors import InputError, suggestion
from bascule.evaluation import METRICS

TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|(?P<name>[A-Za-z_][\w.]*)|(?P<sign><=|>=|[-<>+*/()]))"
)
UNITS = {"hour": "hour", "day": "day", "week": "week", "month": "month"}
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
EXAMPLE = "Example: quality.auc < training.auc - 0.03 for 3 of 5 days"
# Longer rules are no rules; and nesting is bounded with them.
MOST_TOKENS = 100
WORDS = ("for", "of", "and", "or")

Lookup = Callable[[str], float | None]
Value = Callable[[Lookup], float | None]
Condition = Callable[[Lookup], bool | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that has been read.

    Attributes:
        text: as it was written.
        condition: tells of one window whether it holds, or None when a name in it has no value there.
        names: the names in it, in their order.
        persistence: (k, n): it must hold in k of the last n windows.
        unit: hour, day, week or month; empty when the rule names none.
    """

    text: str
    condition: Condition
    names: tuple[str, ...]
    persistence: tuple[int, int]
    unit: str


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def read_rule(text: str, columns: Collection[str] | None = None) -> Rule:
    """Read a rule.

    Args:
        columns: the features that a monitor watches; None means not known, and any is taken.

    Raises:
        InputError: shows the place, what was found and what was expected, with the nearest right name.
    """
    return _Reader(text, columns).rule()


class _Reader:
    """Reads one text from left to right."""

    def __init__(self, text: str, columns: Collection[str] | None) -> None:
        self.text = text
        self.columns = columns
        self.names: list[str] = []
        self.tokens = self._split()
        self.at = 0

    def rule(self) -> Rule:
        condition = self._any()
        persistence, unit = (1, 1), ""
        if self._take("for"):
            persistence, unit = self._persistence()
        if self._now().kind != "end":
            raise self._wrong("the rule to end, or 'and', 'or', 'for'", WORDS)
        return Rule(self.text.strip(), condition, tuple(dict.fromkeys(self.names)), persistence, unit)

    def _any(self) -> Condition:
        parts = [self._all()]
        while self._take("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else lambda look: _either([part(look) for part in parts])

    def _all(self) -> Condition:
        parts = [self._comparison()]
        while self._take("and"):
            parts.append(self._comparison())
        return parts[0] if len(parts) == 1 else lambda look: _both([part(look) for part in parts])

    def _comparison(self) -> Condition:
        left = self._sum()
        sign = self._now().text
        if sign not in COMPARISONS:
            raise self._wrong("one of < <= > >=")
        self.at += 1
        right, compare = self._sum(), COMPARISONS[sign]

        def condition(look: Lookup) -> bool | None:
            a, b = left(look), right(look)
            return None if a is None or b is None else compare(a, b)

        return condition

    def _sum(self) -> Value:
        return self._chain(self._product, {"+": operator.add, "-": operator.sub})

    def _product(self) -> Value:
        return self._chain(self._factor, {"*": operator.mul, "/": _divide})

    def _chain(self, part: Callable[[], Value], signs: Mapping[str, Callable[[float, float], float | None]]) -> Value:
        value = part()
        while self._now().text in signs:
            sign = signs[self.tokens[self.at].text]
            self.at += 1
            value = _combined(sign, value, part())
        return value

    def _factor(self) -> Value:
        token = self._now()
        if self._take("-"):
            inner = self._factor()
            return _combined(operator.sub, lambda _: 0.0, inner)
        if self._take("("):
            inner = self._sum()
            if not self._take(")"):
                raise self._wrong("')'")
            return inner
        if token.kind == "number":
            self.at += 1
            number = float(token.text)
            return lambda _: number
        if token.kind == "name" and token.text not in WORDS:
            self.at += 1
            name = self._known(token)
            self.names.append(name)
            return lambda look: look(name)
        raise self._wrong("a number or a name such as quality.auc")

    def _persistence(self) -> tuple[tuple[int, int], str]:
        k = self._count()
        if not self._take("of"):
            raise self._wrong("'of', as in 'for 3 of 5 days'", ("of",))
        n = self._count()
        if not 1 <= k <= n:
            self.at -= 1
            raise self._wrong(f"a number from {max(1, k)} up, for {k} of it")
        unit = UNITS.get(self._now().text.removesuffix("s"))
        if unit is None:
            raise self._wrong("hours, days, weeks or months", [f"{word}s" for word in UNITS])
        self.at += 1
        return (k, n), unit

    def _count(self) -> int:
        token = self._now()
        if token.kind != "number" or not token.text.isdigit():
            raise self._wrong("a whole number of windows")
        self.at += 1
        return int(token.text)

    def _known(self, token: _Token) -> str:
        """Return the name, or raise with the nearest one that exists."""
        root, _, leaf = token.text.partition(".")
        choices: dict[str, Collection[str] | None] = {
            "quality": (*METRICS, "coverage"),
            "training": METRICS,
            "drift": None if self.columns is None else ("share", *self.columns),
            "prediction_drift": ("score",),
            "traffic": ("rows",),
        }
        if root not in choices or not leaf:
            names = [f"{r}.{name}" for r, leaves in choices.items() for name in leaves or ("share",)]
            raise self._unknown(token, token.text, names)
        known = choices[root]
        if known is not None and leaf not in known:
            raise self._unknown(token, token.text, [f"{root}.{name}" for name in known])
        return token.text

    def _take(self, text: str) -> bool:
        if self._now().text != text:
            return False
        self.at += 1
        return True

    def _now(self) -> _Token:
        return self.tokens[self.at]

    def _split(self) -> list[_Token]:
        found, at = [], 0
        while self.text[at:].strip():
            match = TOKEN.match(self.text, at)
            if match is None:
                at += len(self.text[at:]) - len(self.text[at:].lstrip())
                raise InputError(self._shown(at, f"{self.text[at]!r} means nothing in a rule."), hint=EXAMPLE)
            kind = str(match.lastgroup)
            found.append(_Token(kind, match[kind], match.start(kind)))
            at = match.end()
            if len(found) > MOST_TOKENS:
                raise InputError(self._shown(at, f"A rule has at most {MOST_TOKENS} words and signs."), hint=EXAMPLE)
        return [*found, _Token("end", "", len(self.text.rstrip()))]

    def _wrong(self, expected: str, names: Collection[str] = ()) -> InputError:
        token = self._now()
        what = repr(token.text) if token.text else "the end"
        near = suggestion(token.text, list(names)) if token.kind == "name" and names else ""
        hint = near if near.startswith("Did") else EXAMPLE
        return InputError(self._shown(token.at, f"Expected {expected}, found {what}."), hint=hint)

    def _unknown(self, token: _Token, name: str, known: Collection[str]) -> InputError:
        return InputError(self._shown(token.at, f"There is no {name!r}."), hint=suggestion(name, sorted(known)))

    def _shown(self, at: int, message: str) -> str:
        return f"The rule cannot be read at character {at + 1}: {message}\n  {self.text}\n  {' ' * at}^"


def _combined(sign: Callable[[float, float], float | None], left: Value, right: Value) -> Value:
    def value(look: Lookup) -> float | None:
        a, b = left(look), right(look)
        return None if a is None or b is None else sign(a, b)

    return value


def _divide(a: float, b: float) -> float | None:
    return a / b if b else None


def _both(parts: list[bool | None]) -> bool | None:
    if False in parts:
        return False
    return None if None in parts else True


def _either(parts: list[bool | None]) -> bool | None:
    if True in parts:
        return True
    return None if None in parts else False
