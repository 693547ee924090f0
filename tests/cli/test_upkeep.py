"""What a collection says of itself, of one and of many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bascule.cli.upkeep import _collected
from bascule.history import Workspace
from bascule.lake.maintenance import Collection

COUNTS = {"runs": 1, "models": 2, "experiments": 0, "points": 4, "kept": 1}


def collected(commits: int, *, dry_run: bool = False) -> str:
    return _collected(Collection(dry_run, 0, (), 0, 0, 0, 0, commits, 0, ("dev",), tracking=COUNTS))


def test_one_and_many_are_told_apart() -> None:
    text = collected(1)
    assert "1 commit was let go" in text
    assert "Branch dev was deleted" in text
    assert "were let go: 1 run, 2 logged models, 4 points." in text
    assert "1 deleted run or model stays: kept states of models came from there (`bascule retention`" in text
    assert "2 commits were let go" in collected(2)
    assert "Branch dev would be deleted" in collected(1, dry_run=True)


def test_a_span_that_is_negative_is_told_as_one(bascule: Any, folder: Path) -> None:
    Workspace.create(folder).close()
    for asked in ("set main --keep -1d", "set main --idle -1d"):
        said = bascule("retention", *asked.split())
        assert (said.code, "is '-1d', which is not a span of time: it is negative" in said.err) == (2, True), said
    assert "it is negative" in bascule("gc", "--grace", "-1h").err
