"""`bascule forget`: the subject leaves everything, what learned from it is named, and a killed one is finished."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from bascule.catalog.schema import settings, training_sets
from bascule.history import Workspace
from bascule.project import forgetting

Bascule = Callable[..., Any]
WHO = ("orders", "order_id=o001-01")


def left(folder: Path) -> dict[str, int]:
    """Return how many rows of the subject each place holds."""
    workspace = Workspace.open(folder)
    found = {}
    with workspace.catalog.read() as conn:
        for blob in conn.execute(select(training_sets.c.blob)).scalars():
            ids = pq.read_table(str(workspace.store.local_path(blob)))["order_id"].to_pylist()
            found["training sets"] = ids.count("o001-01")
    workspace.close()
    return found


def count(bascule: Bascule, ref: str = "main") -> int:
    said = bascule("sql", f"select count(*) as n from orders@{ref} where order_id = 'o001-01'", "--json")
    return int(said.json()[0]["n"])


@pytest.mark.slow
def test_a_subject_leaves_every_place(trained: Path, bascule: Bascule) -> None:
    assert bascule("tag", "before").code == 0
    assert (count(bascule), left(trained)) == (1, {"training sets": 1})
    dry = bascule("forget", *WHO, "--dry-run", "--json").json()
    assert dry["models"] == ["delays@1"]
    assert count(bascule) == 1

    said = bascule("forget", *WHO, "--reason", "asked for")
    assert said.code == 0
    assert "delays@1 learned from them" in said.out
    assert (count(bascule), count(bascule, "before"), left(trained)) == (0, 0, {"training sets": 0})
    log = bascule("audit", "log", "--json").json()
    assert "asked for" in log[0]["detail_json"]
    assert "o001-01" not in str(log)
    assert bascule("doctor", "--deep").code == 0


@pytest.mark.slow
def test_models_are_named_although_the_first_attempt_was_killed(
    trained: Path, bascule: Bascule, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(forgetting, "from_online", die)
        assert bascule("forget", *WHO).code == 130
    assert left(trained) == {"training sets": 0}
    assert "delays@1 learned from them" in bascule("forget", *WHO).out
    assert "learned" not in bascule("forget", *WHO).out
    workspace = Workspace.open(trained)
    with workspace.catalog.read() as conn:
        kept = conn.execute(select(settings.c.key)).scalars().all()
    workspace.close()
    assert not [key for key in kept if key.startswith("forgetting:")]
