"""Leaks of a kept training set: features that know the label, and splits that share entities or examples."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import bascule as api
from bascule.errors import CheckFailed
from bascule.history import Workspace
from bascule.lake import Lake

Bascule = Callable[..., Any]
BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
PROJECT = """
[project]
name = "shop"

[entity.user]
keys = ["user"]

[features.mean]
sql = "mean.sql"
entity = "user"
event_time = "seen_at"

[features.told]
sql = "told.sql"
entity = "user"
event_time = "seen_at"
"""


@pytest.fixture
def shop(folder: Path) -> api.OpenProject:
    """300 visits of 30 users."""
    (folder / "bascule.toml").write_text(PROJECT)
    (folder / "mean.sql").write_text(
        "select user, seen_at, avg(spent) over (partition by user) as whole, spent from visits"
    )
    (folder / "told.sql").write_text("select user, seen_at, bought::int as answer from visits")
    Workspace.create(folder).close()
    project = api.open(folder)
    rows = [
        {
            "visit": n,
            "user": f"u{n % 30}",
            "seen_at": BEGIN + timedelta(hours=n),
            "spent": float(n * 7919 % 10007),
            "bought": n * 7919 % 13 < 5,
        }
        for n in range(300)
    ]
    Lake(project.workspace).append("visits", rows)
    return project


def pairs(rows: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Where each visit that is there twice is."""
    place = {row["visit"]: n for n, row in enumerate(rows)}
    return [(place[visit], place[visit + 1000]) for visit in place if visit + 1000 in place]


@pytest.mark.slow
def test_each_leak_is_found_by_name(shop: api.OpenProject, bascule: Bascule) -> None:
    asked: dict[str, Any] = {"prediction_time": "seen_at", "name": "visits"}
    query = "select user, seen_at, bought, visit from visits"
    made = shop.get_training_set(
        query, ["mean", "told"], label="bought", maturity="1h", split="folds", group=["visit"], **asked
    )
    found = shop.check_training_set(made.name)
    by_reason = {(one.reason, one.name) for one in found.leaks}
    assert ("outcome", "told.answer") in by_reason  # the very answer, at the very moment
    assert ("target", "told.answer") in by_reason
    assert ("future", "mean.whole") in by_reason  # a mean over all of history
    assert not {reason for reason, name in by_reason if name == "mean.spent"}
    assert [one.reason for one in found.overlaps] == []  # each visit is in one fold; it is the entity here

    # By a random split, users are on both sides; the row numbers lead to them.
    twice = f"{query} union all select user, seen_at, bought, visit + 1000 from visits where visit % 10 = 0"
    made = shop.get_training_set(twice, ["mean.spent"], label="bought", split="folds", group=["visit"], **asked)
    rows = made.to_arrow().to_pylist()
    [doubled] = shop.check_training_set(made.name).overlaps
    assert (doubled.reason, doubled.columns) == ("duplicates", ("mean__spent", "label"))
    assert doubled.rows == sum(rows[n]["fold"] != rows[m]["fold"] for n, m in pairs(rows)) > 5
    assert [rows[a]["visit"] % 1000 for a, _ in doubled.examples] == [
        rows[b]["visit"] % 1000 for _, b in doubled.examples
    ]
    made = shop.get_training_set(twice, ["mean.spent"], label="bought", split="time", **asked)
    rows = made.to_arrow().to_pylist()
    found = shop.check_training_set(made.name)
    of_train = {row["user"] for row in rows if row["split"] == "train"}
    held = [place for place, row in enumerate(rows) if row["split"] == "test" and row["user"] in of_train]
    [shared] = [one for one in found.overlaps if (one.reason, one.of, one.split) == ("entities", "train", "test")]
    assert (shared.rows, shared.share, shared.columns) == (len(held), 1.0, ("user",))
    assert [place for place, _ in shared.examples] == held[:5]
    for place, other in shared.examples:
        assert rows[other]["split"] == "train"
        assert rows[other]["user"] == rows[place]["user"]
    apart = shop.get_training_set(query, ["mean.spent"], label="bought", split="entity", **asked)
    assert not [one for one in shop.check_training_set(apart.name).overlaps if one.reason == "entities"]
    with pytest.raises(CheckFailed, match="are of an entity that train has"):
        shop.check_training_set(made.name, refuse=["entities"])
    told = bascule("training-set", "check", made.name, "--refuse", "all", "--json")
    assert told.code == 1
    assert bascule("training-set", "check", apart.name, "--refuse", "outcome").code == 0
    shop.close()


@pytest.mark.slow
def test_a_project_keeps_its_splits_apart(trained: Path, refused: Any, bascule: Bascule) -> None:
    file = trained / "bascule.toml"
    text = file.read_text()
    name = api.open().sql("select name from training_sets")[0]["name"]
    found = bascule("training-set", "check", name, "--json").json()
    assert {(one["reason"], one["of"], one["split"]) for one in found["overlaps"]} >= {("entities", "train", "test")}
    split = 'split = { validation = "10d", test = "15d"'
    file.write_text(text.replace(split, f"{split}, entities_apart = true"))
    refused("run", code=1, words=("its splits share", "of an entity that train has, too"))
    file.write_text(text.replace(split, f"{split}, duplicates = 0.0"))
    assert bascule("run").code == 0
