"""A small project on disk, to be spoiled by the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

PROJECT = """\
[project]
name = "shop"

[source.orders]
path = "data/orders/*.csv"
key = ["order_id"]
mode = "append"

[source.customers]
path = "data/customers.csv"
key = ["customer_id"]

[contract.orders]
file = "contracts/orders.yaml"

[entity.customer]
keys = ["customer_id"]

[features.customer]
sql = "features/customer.sql"
entity = "customer"

[features.spending]
sql = "features/spending.sql"
entity = "customer"
event_time = "ordered_at"
windows = ["6h", "7d"]
aggregates = { spent = "mean(amount)", orders = "count(*)" }

[features.request]
expressions = { age = "year(asked_at) - customer.born", hour = "hour(asked_at)" }

[training]
population = "features/population.sql"
label = "returned"
prediction_time = "asked_at"
label_time = "returned_at"
features = ["customer", "spending", "request"]
request = ["amount"]
split = { validation = "30d", test = "30d" }

[model]
name = "returns"
search = { trials = 4 }

[gates]
slices = ["amount"]
slice_floor = { metric = "auc", minimum = 0.5 }

[deployment]
name = "returns"
steps = [10, 50, 100]

[monitoring]
drift = { persistence = [3, 5] }

[retrain]
when = "quality.auc < training.auc - 0.03 for 3 of 5 days"
schedule = "0 3 * * 1"
"""
FILES = {
    "contracts/orders.yaml": "kind: DataContract\n",
    "features/customer.sql": "select customer_id, born from customers\n",
    "features/spending.sql": "select customer_id, ordered_at, amount from orders\n",
    "features/population.sql": "select * from orders\n",
}

WriteProject = Callable[..., Path]


@pytest.fixture
def write_project(tmp_path: Path) -> WriteProject:
    """Write the project, with one text in `bascule.toml` replaced by another, and return the file."""

    def write(old: str = "", new: str = "") -> Path:
        assert old in PROJECT
        for name, text in FILES.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        file = tmp_path / "bascule.toml"
        file.write_text(PROJECT.replace(old, new, 1) if old else PROJECT)
        return file

    return write
