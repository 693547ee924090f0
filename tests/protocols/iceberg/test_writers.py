"""Fifty clients at once over HTTP: every append that was answered is there, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pyarrow as pa
import pytest
from pyiceberg.catalog import load_catalog

from bascule.history import Workspace
from bascule.lake import Lake, doctor, engine
from tests.protocols.iceberg.conftest import served

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

WRITERS = 50
# One table takes one commit after the other, so the last of fifty loses up to 49 times before it lands.
PATIENT = {
    "commit.retry.num-retries": "500",
    "commit.retry.min-wait-ms": "200",
    "commit.retry.max-wait-ms": "3000",
    "commit.retry.total-timeout-ms": "300000",
}


@pytest.fixture
def address(workspace: Workspace) -> Iterator[str]:
    with served(workspace) as found:
        yield found


@pytest.mark.parametrize("own", [False, True], ids=["one-table", "own-tables"])
def test_fifty_clients(workspace: Workspace, address: str, own: bool) -> None:
    first = load_catalog("first", type="rest", uri=address)
    first.create_namespace("ops")
    schema = pa.schema([("writer", pa.int64())])
    for number in range(WRITERS if own else 1):
        first.create_table(f"ops.t{number}", schema, properties=PATIENT)
    begun = Barrier(WRITERS)

    def write(number: int) -> None:
        table = load_catalog(f"c{number}", type="rest", uri=address).load_table(f"ops.t{number if own else 0}")
        begun.wait()
        table.append(pa.table({"writer": [number]}))

    with ThreadPoolExecutor(WRITERS) as pool:
        assert list(pool.map(write, range(WRITERS))) == [None] * WRITERS
    lake = Lake(workspace)
    with engine.opened() as connection:
        rows = [
            writer
            for _, value in workspace.history.entries("main", "tables/")
            for (writer,) in connection.sql(f"SELECT writer FROM {lake.scan(value)}").fetchall()
        ]
    assert Counter(rows) == Counter(range(WRITERS))
    assert doctor.check(workspace).problems == ()
