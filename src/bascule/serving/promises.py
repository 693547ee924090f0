"""What a request promises by the contract of the version that answers, value by value, before the model sees it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bascule.contracts import Contract
from bascule.contracts import checks as c
from bascule.contracts.words import expected_text
from bascule.errors import BasculeError, InputError
from bascule.history import Workspace
from bascule.serving.rows import Rows

# A rule that forgives more rows than this speaks of many requests together, not of each.
MOST_FORGIVEN = 1.0  # percent

REFUSE = "refuse"
Test = Callable[[Any], bool]


class Promises:
    """The rules of a contract that each request can be held to: critical ones, on single values, without a condition.

    Of a missing value only `required` says something; a column that the request does not bring is not looked at.
    """

    def __init__(self, contract: Contract) -> None:
        self._tests: dict[str, list[tuple[Test, str]]] = {}
        for check in contract.checks:
            test = _test(check)
            if test is not None:
                words = expected_text(check, contract).partition(", failing rows")[0]
                self._tests.setdefault(check.columns[0], []).append((test, words))
        self._masked = contract.masked

    def hold(self, rows: Rows, names: Sequence[str]) -> None:
        """Look at every value of a request.

        Args:
            names: what the inputs are called, for rows that came as numbers alone.

        Raises:
            InputError: a value breaks the contract; the text names the column, the row and what is asked.
        """
        for name, tests in self._tests.items():
            for row, value in enumerate(_values(rows, names, name)):
                missing = value is None or value != value
                for test, words in tests:
                    if not test(None if missing else value):
                        self._refuse(name, row, value, words)

    def _refuse(self, name: str, row: int, value: Any, words: str) -> None:
        shown = "•••" if name in self._masked else repr(value)[:40]
        raise InputError(
            f"The column {name!r} breaks the model's contract: row {row} has {shown}; asked is {words}.",
            hint="Send what the model knows, or train it on such values.",
        )


def promises_of(ws: Workspace, deployment: Mapping[str, Any], entry: Mapping[str, Any]) -> Promises | None:
    """Return what a deployment holds the requests of a version to; None when it only logs them.

    Args:
        entry: what the registry says about the version.
    """
    digest = entry.get("contract")
    if deployment.get("requests") != REFUSE or not digest:
        return None
    try:
        return Promises(Contract.parse(ws.store.get(str(digest)).decode(), file=f"models/{deployment['model']}"))
    except BasculeError as error:
        raise InputError(f"The contract of model {deployment['model']!r} cannot be used: {error.message}") from error


def _values(rows: Rows, names: Sequence[str], name: str) -> Sequence[Any]:
    if rows.columns is not None:
        return rows.columns.get(name, ())
    if name not in names:
        return ()
    place = names.index(name)
    if rows.matrix is not None:
        found: list[Any] = rows.matrix[:, place].tolist()
        return found
    return [rows.row[place]] if rows.row is not None else ()


def _test(check: c.Check) -> Test | None:
    """What is true for a good value; None for a rule that is not about each value."""
    bound, rule = check.bound, check.rule
    if check.severity != "critical" or check.where or bound.operator not in ("=", "<="):
        return None
    strict = bound.low == 0
    if not strict and not (bound.unit == "percent" and bound.low <= MOST_FORGIVEN):
        return None
    match rule:
        case c.NotNull():
            return (lambda value: value is not None) if strict else None
        case c.OneOf(values=values):
            return lambda value: value is None or value in values or str(value) in map(str, values)
        case c.NoneOf(values=values):
            return lambda value: value is None or not (value in values or str(value) in map(str, values))
        case c.Matches(pattern=pattern):
            return _matching(pattern)
        case c.Length(minimum=low, maximum=high):
            return lambda value: (
                value is None or ((low or 0) <= len(str(value)) and (high is None or len(str(value)) <= high))
            )
        case c.Between():
            return _within(rule)
        case _:
            return None


def _matching(pattern: str) -> Test | None:
    try:
        found = re.compile(pattern)
    except re.error:  # what only DuckDB's expressions can say is left to the check of the log
        return None
    return lambda value: value is None or found.search(str(value)) is not None


def _within(rule: c.Between) -> Test | None:
    low, high, above, below = rule.minimum, rule.maximum, rule.above, rule.below
    if any(isinstance(end, str) for end in (low, high, above, below)):
        return None  # times come in many forms; the log's check reads them

    def test(value: Any) -> bool:
        if value is None or isinstance(value, str):  # a text where a number belongs is told by the encoder
            return True
        return (
            (low is None or value >= low)
            and (high is None or value <= high)
            and (above is None or value > above)
            and (below is None or value < below)
        )

    return test
