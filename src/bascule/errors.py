"""Every error that a user can meet.

    BasculeError                     the root; carries a sentence, a hint and an exit code
    ├── InputError          exit 2   bad usage or bad input
    │   ├── NotFound                 an unknown name, with "did you mean"
    │   ├── AlreadyExists            a name that is taken
    │   ├── Expired                  a state whose data were let go, by which rule and when
    │   └── ProjectFileError         a wrong key or value in a project file, with file, line and key
    ├── CheckFailed         exit 1   a data check or a gate said no
    ├── Conflict            exit 1   two sides changed the same thing
    ├── Held                exit 1   a legal hold stands against it
    └── EnvironmentProblem  exit 3   a full disk, a taken port, a dead database
        ├── MissingExtra             an optional capability is not installed
        └── Busy                     another process holds what is needed

A message says what was asked, what was found and where; the hint says what to do next. The command line prints
both without a traceback and ends with `exit_code`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


class BasculeError(Exception):
    """An error that is told to the user as a sentence and a next step.

    Args:
        message: what was asked and what was found, one sentence or two.
        hint: what to do next, in the imperative; empty when nothing can be said.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def as_dict(self) -> dict[str, Any]:
        """The error as one JSON object, for `--json` and for HTTP."""
        return {"error": self.message, "kind": type(self).__name__, "hint": self.hint}


class InputError(BasculeError):
    """The user's input or usage is wrong. Nothing was changed."""


COMMIT = re.compile(r"[0-9a-f]{64}")  # its whole id: people are shown the beginning


class NotFound(InputError):
    """A name that does not exist. The nearest known name is offered.

    Args:
        where: the state that was looked at, if that is not plain.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str] = (), *, where: str = "", hint: str = "") -> None:
        self.kind = kind
        self.name = name
        names = sorted(known)
        place = f" on {where[:10] if COMMIT.fullmatch(where) else where}" if where else ""
        shown = name if len(name) <= 250 else f"{name[:100]}… ({len(name):,} characters)"
        super().__init__(f"There is no {kind} named {shown!r}{place}.", hint=hint or suggestion(name, names, kind))


class AlreadyExists(InputError):
    """A name that is already taken."""

    def __init__(self, kind: str, name: str, *, hint: str = "") -> None:
        super().__init__(f"A {kind} named {name!r} exists already.", hint=hint)


class Expired(InputError):
    """A state whose data were let go.

    Args:
        what: the state, such as `The commit 3f9ab2c1de` or `The state of tables/flights that is asked for`.
        at: the day, as people read it.
        reason: the rule that no longer kept it.
    """

    def __init__(self, what: str, at: str, reason: str) -> None:
        super().__init__(
            f"{what} expired on {at}: {reason}. Its data are gone.",
            hint="Take a later state (bascule log shows them). `bascule retention` says what is kept.",
        )


class ProjectFileError(InputError):
    """A project file says something that cannot be used."""

    def __init__(
        self, message: str, *, file: Path | str, line: int | None = None, key: str = "", hint: str = ""
    ) -> None:
        self.file = str(file)
        self.line = line
        self.key = key
        where = f"{file}:{line}" if line else str(file)
        super().__init__(f"{where}: {f'[{key}] ' if key else ''}{message}", hint=hint)

    def as_dict(self) -> dict[str, Any]:
        return {**super().as_dict(), "file": self.file, "line": self.line, "key": self.key}


class CheckFailed(BasculeError):
    """Data checks or gates refused something. `details` holds one JSON-able row for each refusal."""

    exit_code = 1

    def __init__(self, message: str, *, details: Sequence[dict[str, Any]] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.details = list(details)

    def as_dict(self) -> dict[str, Any]:
        return {**super().as_dict(), "details": self.details}


class Conflict(BasculeError):
    """Two sides changed the same thing. `paths` names what is in conflict."""

    exit_code = 1

    def __init__(self, message: str, *, paths: Sequence[str] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.paths = list(paths)

    def as_dict(self) -> dict[str, Any]:
        return {**super().as_dict(), "paths": self.paths}


class Held(BasculeError):
    """A legal hold stands against it. Nothing was changed. `holds` has a line for each."""

    exit_code = 1

    def __init__(self, message: str, *, holds: Sequence[str] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.holds = list(holds)

    def as_dict(self) -> dict[str, Any]:
        return {**super().as_dict(), "holds": self.holds}


class EnvironmentProblem(BasculeError):
    """The machine does not give what is needed: disk, port, database, network."""

    exit_code = 3


class MissingExtra(EnvironmentProblem):
    """An optional capability is not installed."""

    def __init__(self, capability: str, extra: str) -> None:
        super().__init__(
            f"{capability} needs packages that are not installed.",
            hint=f"Install them with: pip install 'bascule[{extra}]'",
        )


class Busy(EnvironmentProblem):
    """Another process holds what is needed."""


def is_interruption(error: BaseException) -> bool:
    """Tell whether an exception is a Ctrl-C. DuckDB has two of its own for one that comes during a query."""
    if isinstance(error, RuntimeError):
        return str(error) == "Query interrupted"
    return isinstance(error, KeyboardInterrupt) or type(error).__name__ == "InterruptException"


def suggestion(name: str, known: Sequence[str], kind: str = "name") -> str:
    """Return "Did you mean …?" for an unknown name, or the list of known ones when it is short."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {near[0]!r}?"
    if not known:
        return f"There is no {kind} yet."
    shown = ", ".join(known[:8])
    return f"Known: {shown}{', …' if len(known) > 8 else ''}."
