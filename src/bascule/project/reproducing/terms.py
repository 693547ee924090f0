"""What may explain a difference: every recorded term of a run, as it was then and as it is now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bascule.project.reproducing.result import Term
from bascule.tracking import capture_environment
from bascule.tracking.environment import MACHINE, VARIABLES


def machine(before: Mapping[str, Any]) -> Iterator[Term]:
    """Yield the terms of the machine."""
    after = capture_environment()
    for term in MACHINE[1:]:  # the version of Python is that of where it ran
        yield term, str(before.get(term)), str(after.get(term))


def packages(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Term]:
    """Yield the version of every package."""
    for name in sorted(before.keys() | after.keys()):
        yield f"package {name}", before.get(name, "absent"), after.get(name, "absent")


def variables(before: Mapping[str, str] | None, after: Mapping[str, str]) -> Iterator[Term]:
    """Yield the variables for seeds and threads; none when they were not recorded."""
    for name in VARIABLES if before is not None else ():
        assert before is not None
        if name in before or name in after:
            yield name, before.get(name, "not set"), after.get(name, "not set")


def params(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Term]:
    """Yield the parameters that both runs noted, or one of them."""
    for name in sorted(before.keys() | after.keys()):
        yield f"parameter {name}", before.get(name, "not set"), after.get(name, "not set")
