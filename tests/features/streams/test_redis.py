"""Tiles in Redis: the same values, each batch once, forgotten like any timeline."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from tests.features.conftest import redis_url, valkey
from tests.features.streams.test_tiles import MINUTE, SCHEMA, START, agree, count, tile_values, tiled

from bascule.features import LmdbStore, open_online
from bascule.features.streams.applying import opened

__all__ = ["redis_url", "valkey"]


@pytest.mark.slow
def test_tiles_in_redis(redis_url: str, tmp_path: Path) -> None:
    events = [
        {"k1": "1", "k2": n % 2, "happened": START + timedelta(minutes=n * 7 % 300), "a": n % 5, "x": n / 4, "s": "z"}
        for n in range(400)
    ]
    asked = [
        {"k1": "1", "k2": key, "asked": START + timedelta(minutes=n)} for n in (3, 100, 299, 450) for key in (0, 1, 2)
    ]
    far, near = open_online(redis_url, "main"), LmdbStore(tmp_path, "main")
    values = []
    for store in (far, near):
        features, tiles = tiled(MINUTE, ("5m", "1h", "3h20m"), store)  # type: ignore[arg-type]
        count(tiles, [events[n : n + 90] for n in range(0, 400, 90)])
        with opened() as connection:
            assert not tiles.apply(connection, pa.Table.from_pylist(events[:5], SCHEMA), "log", 2, 3, None)
        values.append(tile_values(features, store, asked))  # type: ignore[arg-type]
    agree(features, *values)
    assert far.forget({"k1": "1", "k2": 1}) == near.forget({"k1": "1", "k2": 1}) > 0
    far.close()
    near.close()
