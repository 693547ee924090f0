"""How long states are kept: rules for branches, and for what no name leads to any more.

The rules belong to the workspace and not to the project file: that is on git's branches, and which branch somebody has
checked out must not decide what is deleted for everyone. They lie in the catalog, and each change is in the audit log.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select

from bascule.catalog import Catalog, actor, audit
from bascule.catalog.schema import settings
from bascule.durations import DAY, format_duration, parse_duration
from bascule.errors import InputError, NotFound

KEY = "retention"
UNNAMED = 30 * DAY
# One of several signs in a pattern, as `fnmatch` reads it.
_CLASS = re.compile(r"\[!?.[^\]]*\]")


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """How long the states of some branches are kept. Spans are in microseconds.

    A state is kept when the branch had it within a span of time, or when it is among the last few; without either rule,
    for ever. The newest state of a branch is always kept, and so is that of a tag.

    Attributes:
        branches: a name, or a pattern such as `ingest/*`.
        keep: how long a state is kept after another one took its place.
        last: how many of the newest are kept however old they are.
        idle: a branch that was neither moved nor merged for so long loses its name.
    """

    branches: str
    keep: int | None = None
    last: int | None = None
    idle: int | None = None

    @property
    def forever(self) -> bool:
        """Whether every state is kept."""
        return self.keep is None and self.last is None

    def __str__(self) -> str:
        terms = [format_duration(self.keep)] if self.keep is not None else []
        terms += [f"the last {self.last}"] if self.last is not None else []
        return f"{self.branches} keeps {' and '.join(terms) or 'everything'}"

    def as_dict(self) -> dict[str, Any]:
        """The rule as one JSON object, spans as text."""
        spans = {name: getattr(self, name) for name in ("keep", "idle")}
        told = {name: None if span is None else format_duration(span) for name, span in spans.items()}
        return {"branches": self.branches, "keep": told["keep"], "last": self.last, "idle": told["idle"]}


class Retention(msgspec.Struct, frozen=True):
    """All rules of a workspace: a branch follows the first that fits its name, or keeps everything.

    Attributes:
        unnamed: how long the states of a branch are kept after it was deleted, in microseconds.
    """

    rules: tuple[Rule, ...] = ()
    unnamed: int = UNNAMED

    def rule(self, branch: str) -> Rule:
        """Return the rule that a branch follows."""
        fits = (rule for rule in self.rules if rule.branches == branch or fnmatchcase(branch, rule.branches))
        return next(fits, Rule(branch))

    def with_rule(self, rule: Rule) -> Retention:
        """Return the rules with one more, in the place of one for the same branches.

        Names come before patterns, and `*` comes last: so the order in which rules are set does not matter.
        """
        others = [one for one in self.rules if one.branches != rule.branches]
        return Retention(tuple(sorted([*others, rule], key=_order)), self.unnamed)

    def without_rule(self, branches: str) -> Retention:
        """Return the rules without one, or raise `NotFound`."""
        if all(rule.branches != branches for rule in self.rules):
            raise NotFound("retention rule", branches, [rule.branches for rule in self.rules])
        return Retention(tuple(rule for rule in self.rules if rule.branches != branches), self.unnamed)

    def as_dict(self) -> dict[str, Any]:
        """The rules as one JSON object, spans as text."""
        return {"rules": [rule.as_dict() for rule in self.rules], "unnamed": format_duration(self.unnamed)}


def load(conn: Connection) -> Retention:
    """Return the workspace's rules; without any, every state that a name leads to is kept."""
    text = conn.execute(select(settings.c.value).where(settings.c.key == KEY)).scalar()
    return msgspec.json.decode(text, type=Retention) if text else Retention()


def save(catalog: Catalog, retention: Retention, author: str) -> Retention:
    """Make rules the workspace's, and say so in the audit log.

    Raises:
        InputError: for a rule that nothing could follow.
    """
    _refuse_odd(retention.rules)
    with catalog.write() as conn:
        before = load(conn)
        if before == retention:
            return retention
        conn.execute(delete(settings).where(settings.c.key == KEY))
        conn.execute(insert(settings).values(key=KEY, value=msgspec.json.encode(retention).decode()))
        told = {"before": before.as_dict(), "after": retention.as_dict()}
        audit.append(conn, actor=author, action="retention", subject="workspace", detail=told)
    return retention


def change(
    catalog: Catalog,
    branches: str | None = None,
    *,
    keep: str | None = None,
    last: int | None = None,
    idle: str | None = None,
    unnamed: str | None = None,
) -> Retention:
    """Set the rule of some branches, or how long deleted ones are kept; spans are texts such as `90d`.

    Raises:
        InputError: for what is no span, or a rule that nothing could follow.
    """
    with catalog.read() as conn:
        rules = load(conn)
    if branches is not None:
        spans = [parse_duration(text, key=key) if text else None for key, text in (("--keep", keep), ("--idle", idle))]
        rules = rules.with_rule(Rule(branches, spans[0], last, spans[1]))
    if unnamed is not None:
        rules = Retention(rules.rules, parse_duration(unnamed, key="unnamed"))
    return save(catalog, rules, actor())


def _refuse_odd(rules: Sequence[Rule]) -> None:
    for rule in rules:
        if not rule.branches.strip():
            raise InputError("A rule needs a branch or a pattern.", hint="For example: main, or 'ingest/*'.")
        if rule.last is not None and rule.last < 1:
            raise InputError(f"{rule.last} states cannot be kept.", hint="Keep at least the last 1.")
        _refuse_nothing("--keep", rule.keep)
        _refuse_nothing("--idle", rule.idle)
        if "[" in _CLASS.sub("", rule.branches):
            raise InputError(
                f"{rule.branches!r} is no pattern: its [ is not closed, so it fits no branch.",
                hint="Write one of several signs as [ab]; any one as ?, any number as *.",
            )


def _refuse_nothing(key: str, span: int | None) -> None:
    """Refuse a span that would take away what was the newest state a moment ago."""
    if span == 0:
        raise InputError(
            f"{key} is no time at all: a state would go as soon as another took its place.",
            hint="Write a span such as 30d; --last 1 keeps the newest state alone.",
        )


def _order(rule: Rule) -> tuple[bool, int, str]:
    pattern = any(sign in rule.branches for sign in "*?[")
    return pattern, -len(rule.branches), rule.branches
