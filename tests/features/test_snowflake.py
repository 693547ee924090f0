"""Snowflake's SQL, run by fakesnow and held to the double loop. It pins its own sqlglot: it has its own environment."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pytest
from tests.environments import python_with, variables
from tests.features.batched import BATCHED, CASE_EVENTS, CASE_SPINE, assert_oracle, bound, cases
from tests.features.test_point_in_time import Row

from bascule.features.columns import describe
from bascule.features.portable import training_plan, written

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
STORY = Path(__file__).with_name("snowflake_story.py")
RELEASE = "0.12.1"
# fakesnow reads no hexadecimal numbers, as Snowflake's TO_NUMBER does.
VIEWS = tuple(
    msgspec.structs.replace(view, aggregates={k: v for k, v in view.aggregates.items() if k != "about"})
    for view in BATCHED
)
KINDS = {"int64": "bigint", "int32": "int", "bool": "boolean", "double": "double", "string": "varchar"}


@pytest.fixture(scope="module")
def python(pytestconfig: pytest.Config) -> Path:
    """The Python of an environment with fakesnow."""
    packages = (f"fakesnow=={RELEASE}", "snowflake-connector-python<4")
    return python_with(pytestconfig, f"fakesnow-{RELEASE}", packages)


def literal(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, datetime):
        return f"'{value.isoformat(' ', 'microseconds')}'::timestamp_ntz"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else f"'{value}'::double"
    return f"'{value}'" if isinstance(value, str) else str(value).lower()


def filled(name: str, schema: pa.Schema, rows: Sequence[Row]) -> list[str]:
    columns = ", ".join(f"{field.name} {KINDS.get(str(field.type), 'timestamp_ntz')}" for field in schema)
    values = ", ".join(f"({', '.join(literal(row[field.name]) for field in schema)})" for row in rows)
    return [f"create table {name} ({columns})", f"insert into {name} values {values}"]


def test_snowflake_gives_what_the_double_loop_says(python: Path, tmp_path: Path) -> None:
    events, examples = cases(12)
    with duckdb.connect() as connection:
        connection.register("events", pa.Table.from_pylist([], CASE_EVENTS))
        connection.register("spine", pa.Table.from_pylist([], CASE_SPINE))
        known = {name: describe(connection, f"select * from {name}", name) for name in ("events", "spine")}
        plan = training_plan(bound(connection, VIEWS), "select * from spine", known["spine"])
    query, _ = written(plan, "snowflake", known.get, lambda name: f"lab.prod.{name}")
    before = [*filled("events", CASE_EVENTS, events), *filled("spine", CASE_SPINE, examples)]
    story = tmp_path / "story.json"
    story.write_text(json.dumps({"before": before, "query": query}), "utf-8")
    done = subprocess.run(
        [python, STORY, story], capture_output=True, text=True, timeout=90, env=variables(), check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["names"] == list(plan.outputs)
    rows = [dict(zip(said["names"], row, strict=True)) for row in said["rows"]]
    for row in rows:
        row["t"] = row["t"] and datetime.fromisoformat(row["t"])
    assert_oracle(sorted(rows, key=lambda row: row["note"]), events, examples, VIEWS)
