"""A project with one stream and a view that counts it, as people write it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import bascule, folder, start
from tests.project.conftest import refused

import bascule as api
from bascule.features.streams.entries import close_all
from bascule.history import Workspace

__all__ = ["bascule", "folder", "refused", "start"]

BEGIN = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=12)
PROJECT = """
[project]
name = "shop"

[entity.user]
keys = ["user"]

[stream.clicks]
path = "{path}"
columns = {{ user = "text", amount = "number", n = "integer", clicked_at = "time" }}
time = "clicked_at"
lateness = "10m"
land = "{land}"

[features.spending]
sql = "features/spending.sql"
entity = "user"
event_time = "clicked_at"
windows = ["5m", "1h", "1d"]
hop = "1m"
aggregates = {{ clicks = "count(*)", spent = "sum(amount)", newest = "last(n)" }}
"""
SQL = "select user, amount, n, clicked_at from clicks where amount >= 0"


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    close_all()


@pytest.fixture
def shop(folder: Path) -> Callable[..., Path]:
    """Write the project with its stream at a path."""

    def write(path: str = "clicks.jsonl", land: str = "1h", more: str = "") -> Path:
        (folder / "features").mkdir(exist_ok=True)
        (folder / "features" / "spending.sql").write_text(SQL)
        (folder / "bascule.toml").write_text(PROJECT.format(path=path, land=land) + more)
        if not (folder / ".bascule").exists():
            Workspace.create(folder).close()
        return folder

    return write


def event(n: int, **more: Any) -> dict[str, Any]:
    """The nth event: one every second, of seven users; each seventeenth has an amount that the view leaves out."""
    at = (BEGIN + timedelta(seconds=n)).isoformat()
    return {"user": f"u{n % 7}", "amount": -1.0 if n % 17 == 0 else n / 4, "n": n, "clicked_at": at, **more}


def lines(first: int, last: int) -> str:
    return "".join(json.dumps(event(n)) + "\n" for n in range(first, last))


def counted(project: api.OpenProject, at: datetime) -> list[tuple[Any, ...]]:
    """What the online store says of each user, and what the batch SQL over the table says: both must be the same."""
    from bascule.features import LmdbStore, OnlineReader, build_feature_set, training_rows
    from bascule.project.definitions import entities, views
    from bascule.project.tables import opened_tables

    place = project.place
    asked = f"select 'u' || i as user, timestamptz '{at.isoformat()}' as asked from range(7) t(i)"
    with opened_tables(place.workspace, "main", ["clicks"]) as connection:
        found = build_feature_set(
            connection,
            name="m",
            entities=entities(place.file),
            views=views(place.file),
            population=asked,
            prediction_time="asked",
        )
        rows = training_rows(connection, found, asked).to_arrow_table().to_pylist()
    reader = OnlineReader(found, LmdbStore(place.workspace.online_folder, "main"))
    micros = int(at.timestamp() * 1e6)
    online = reader.read([{"user": f"u{i}"} for i in range(7)], [micros] * 7)
    offline = [[row[name] for name in found.features] for row in rows]
    assert online == offline
    return [tuple(row) for row in online]
