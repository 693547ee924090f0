"""The tree of errors: what a user can meet is drawn where the errors are, and ends with the exit code it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bascule import errors
from bascule.errors import BasculeError, NotFound, ProjectFileError, suggestion

PUBLIC: dict[str, type[BasculeError]] = {
    name: one
    for name, one in vars(errors).items()
    if isinstance(one, type) and issubclass(one, BasculeError) and not name.startswith("_")
}
EXAMPLES: list[BasculeError] = [
    BasculeError("It is so.", hint="Do this."),
    errors.InputError("It is so.", hint="Do this."),
    NotFound("branch", "mian", ["main", "hourly"]),
    errors.AlreadyExists("branch", "main", hint="Do this."),
    ProjectFileError("It is so.", file="bascule.toml", line=3, key="model.name", hint="Do this."),
    errors.CheckFailed("It is so.", details=[{"row": 1}], hint="Do this."),
    errors.Conflict("It is so.", paths=["tables/flights"], hint="Do this."),
    errors.Expired("The commit 3f9ab2c1de", "2026-03-01", "main keeps 90d"),
    errors.Held("It is so.", holds=["branch dev (case 7; ana)"], hint="Do this."),
    errors.EnvironmentProblem("It is so.", hint="Do this."),
    errors.MissingExtra("Training", "train"),
    errors.Busy("It is so.", hint="Do this."),
]


def drawn() -> dict[str, tuple[str | None, int | None]]:
    """Return what the docstring draws: each class with its parent and, where it is written, its exit code."""
    found: dict[str, tuple[str | None, int | None]] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^([ │├└─]*)([A-Z]\w+)\s+(?:exit (\d))?", line)
        if match is None or not (match[1] == "    " or "─" in match[1]):
            continue
        depth = len(match[1])
        above = [one for one in above if one[0] < depth]
        found[match[2]] = (above[-1][1] if above else None, int(match[3]) if match[3] else None)
        above.append((depth, match[2]))
    return found


def test_every_public_error_is_drawn() -> None:
    assert set(drawn()) == set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_an_error_is_drawn_below_its_parent_with_its_exit_code(name: str) -> None:
    parent, code = drawn()[name]
    assert (parent or "Exception") == PUBLIC[name].__bases__[0].__name__
    assert code in (None, PUBLIC[name].exit_code)
    assert PUBLIC[name].__doc__


def test_every_error_has_an_example_here() -> None:
    assert {type(one).__name__ for one in EXAMPLES} == set(PUBLIC)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda one: type(one).__name__)
def test_an_error_says_what_and_what_next_and_becomes_json(error: BasculeError) -> None:
    told: dict[str, Any] = error.as_dict()
    assert told["error"] == error.message == str(error)
    assert told["kind"] == type(error).__name__
    assert told["hint"] == error.hint != ""
    assert error.exit_code in (1, 2, 3)


def test_an_unknown_name_is_told_the_nearest() -> None:
    assert NotFound("table", "big", where="ab" * 32).message == "There is no table named 'big' on ababababab."
    assert NotFound("branch", "mian", ["main", "hourly"]).hint == "Did you mean 'main'?"


@pytest.mark.parametrize(
    ("known", "hint"),
    [
        ([], "There is no branch yet."),
        (["a", "b"], "Known: a, b."),
        ([f"x{n}" for n in range(9)], "Known: x0, x1, x2, x3, x4, x5, x6, x7, …."),
    ],
)
def test_what_is_known_is_listed_when_nothing_is_near(known: list[str], hint: str) -> None:
    assert suggestion("windier", known, "branch") == hint


def test_a_mistake_in_a_project_file_has_a_place() -> None:
    error = ProjectFileError("It is so.", file="bascule.toml", line=3, key="model.name")
    assert error.message == "bascule.toml:3: [model.name] It is so."
    assert ProjectFileError("It is so.", file="bascule.toml").message == "bascule.toml: It is so."


def test_kinds_of_errors_for_users_are_made_in_one_place() -> None:
    """A kind that another room makes would escape exit codes and pages; a special case of a kind has its kind's."""
    # What never leaves its own boundary: an answer's HTTP status, and the command line's last sentence.
    bounded = {"cli/failing.py", "serving/http/message.py", "serving/http2/frames.py", "serving/scoring.py"}
    home = Path(errors.__file__).parent
    for file in home.rglob("*.py"):
        if file.relative_to(home).as_posix() in {"errors.py", *bounded}:
            continue
        bases = re.findall(r"^class \w+\(([^)]*)\)", file.read_text(encoding="utf-8"), re.M)
        assert "BasculeError" not in {name.strip() for one in bases for name in one.split(",")}, file
