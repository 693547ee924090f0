"""A small project that is like a real one: parcels leave depots, and rain and distance make some of them late."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

BEGIN = datetime(2025, 3, 1, tzinfo=UTC)
DEPOTS = {"north": 1987, "south": 2004, "east": 2016}
DAYS = 60
A_DAY = 40  # orders
HEAD = ("order_id", "depot", "ordered_at", "delivered_at", "distance", "weight", "minutes_late")
WEATHER_HEAD = ("depot", "observed_at", "rain", "wind")

PROJECT = """\
[project]
name = "parcels"

[source.orders]
path = "data/orders/*.csv"
key = ["order_id"]
mode = "append"

[source.weather]
path = "data/weather.csv"
key = ["depot", "observed_at"]

[source.depots]
path = "data/depots.csv"
key = ["depot"]

[contract.orders]
file = "contracts/orders.yaml"

[entity.depot]
keys = ["depot"]

[features.weather]
sql = "features/weather.sql"
entity = "depot"
event_time = "observed_at"
ttl = "6h"

[features.house]
sql = "features/house.sql"
entity = "depot"

[features.lateness]
sql = "features/arrived.sql"
entity = "depot"
event_time = "delivered_at"
windows = ["1d", "7d"]
aggregates = { late = "mean(late)", parcels = "count(*)" }

[features.asked]
expressions = { hour = "hour(prediction_time)", age = "year(prediction_time) - house.opened" }

[training]
population = "features/population.sql"
label = "minutes_late > 15"
prediction_time = "prediction_time"
label_time = "delivered_at"
features = ["weather", "house", "lateness", "asked"]
request = ["depot", "distance", "weight"]
split = { validation = "10d", test = "15d" }

[model]
name = "delays"
search = { trials = 1 }
seed = 7

[gates]
metric = "log_loss"
better_than_current = false
slices = ["depot"]

[deployment]
name = "delays"

[monitoring]
by = "day"
"""

CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: orders
name: orders
version: 1.0.0
status: active
schema:
  - name: orders
    physicalType: table
    properties:
      - name: order_id
        logicalType: string
        primaryKey: true
        primaryKeyPosition: 1
      - name: depot
        logicalType: string
        required: true
        quality:
          - metric: invalidValues
            arguments: {validValues: [north, south, east]}
            mustBe: 0
      - name: ordered_at
        logicalType: timestamp
        required: true
      - name: distance
        logicalType: number
        required: true
        logicalTypeOptions: {minimum: 0, maximum: 200}
"""

SQL = {
    "weather": "select depot, observed_at, rain, wind from weather\n",
    "house": "select depot, opened from depots\n",
    "arrived": "select depot, delivered_at, cast(minutes_late > 15 as integer) as late\n"
    "from orders where minutes_late is not null;\n",
    "population": "-- One row for each order; the question is asked when it is ordered.\n"
    "select order_id, depot, distance, weight, ordered_at as prediction_time, delivered_at, minutes_late\n"
    "from orders\n",
}

Row = tuple[object, ...]
Weather = dict[tuple[str, int], tuple[float, float]]


def write_project(folder: Path, days: int = DAYS) -> Path:
    """Write the project: two batches of orders, hourly weather, and what is known of the depots."""
    chance = random.Random(7)
    weather = hourly(days, chance)
    rows = orders(range(days), weather, chance)
    half = len(rows) // 2
    hours = [(depot, moment(BEGIN + timedelta(hours=hour)), *found) for (depot, hour), found in weather.items()]
    for name, text in {
        "bascule.toml": PROJECT,
        "contracts/orders.yaml": CONTRACT,
        **{f"features/{view}.sql": sql for view, sql in SQL.items()},
        "data/orders/1.csv": csv(HEAD, rows[:half]),
        "data/orders/2.csv": csv(HEAD, rows[half:]),
        "data/weather.csv": csv(WEATHER_HEAD, hours),
        "data/depots.csv": csv(("depot", "opened"), DEPOTS.items()),
    }.items():
        write(folder / name, text)
    return folder


def hourly(days: int, chance: random.Random) -> Weather:
    """Return rain and wind by depot and hour: rain comes in spells."""
    found = {}
    for depot in DEPOTS:
        wet = False
        for hour in range(days * 24):
            wet = chance.random() < (0.85 if wet else 0.08)
            rain = round(chance.uniform(1, 9), 1) if wet else 0.0
            found[depot, hour] = (rain, round(chance.uniform(0, 30), 1))
    return found


def orders(days: Iterable[int], weather: Weather, chance: random.Random) -> list[Row]:
    """Return the orders of some days. Middling distances go through town: they are late in the rain."""
    found: list[Row] = []
    for day in days:
        for place in range(A_DAY):
            depot = chance.choice(list(DEPOTS))
            at = BEGIN + timedelta(days=day, minutes=place * 30 + chance.randrange(30))
            rain = weather[depot, day * 24 + at.hour][0]
            distance = round(chance.uniform(1, 100), 1)
            risk = 0.1 + 0.45 * (30 < distance < 70) + 0.3 * (rain > 0)
            late = chance.randrange(16, 90) if chance.random() < risk else chance.randrange(-10, 15)
            arrived = at + timedelta(minutes=60 + late)
            weight = round(chance.uniform(0.1, 20), 1)
            found.append((f"o{day:03}-{place:02}", depot, moment(at), moment(arrived), distance, weight, late))
    return found


def moment(at: datetime) -> str:
    """Return a time as the files write it."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows as the text of a CSV file."""
    return "".join(",".join("" if v is None else str(v) for v in row) + "\n" for row in (head, *rows))


def write(path: Path, text: str | bytes) -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path
