"""Drift of 1,000,000 rows in 20 columns, beside one bare scan of the same columns, and beside Evidently and NannyML.

    python benchmarks/drift.py [--rows 1000000] [--evidently PYTHON] [--nannyml PYTHON]

The limit reads every value of the file once (a sum of each number, the length of each text) and nothing more. CPU
seconds of all threads are compared: they are what does not depend on who else uses the machine. Bascule compares with a
stored reference; the line "profile" is what making that reference costs, once for each model. Peers need interpreters
of environments of their own, for example from `uv venv /tmp/e && uv pip install --python /tmp/e/bin/python evidently`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

from bascule.monitoring import DriftRules, build_profile, count_windows, measure_drift

ROUNDS = 5
NUMBERS = [f"n{i:02d}" for i in range(15)]
TEXTS = {"k00": 3, "k01": 8, "k02": 30, "k03": 200, "k04": 2000}
# Six of the twenty columns drift, as in real life by different means.
DRIFT = {"n00": "+ 0.05", "n01": "* 1.2", "n02": "+ 0.3"}

PEERS = {
    "evidently": """
import pandas
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset
reference, current = (pandas.read_parquet(path).drop(columns='event_time') for path in (before, after))
shape = DataDefinition(numerical_columns=list(reference.select_dtypes('number')),
                       categorical_columns=list(reference.select_dtypes(exclude='number')))
begun = clock()
Report([DataDriftPreset()]).run(Dataset.from_pandas(current, shape), Dataset.from_pandas(reference, shape)).dict()
taken = clock() - begun
""",
    "nannyml": """
import nannyml, pandas
reference, current = (pandas.read_parquet(path).drop(columns='event_time') for path in (before, after))
begun = clock()
drift = nannyml.UnivariateDriftCalculator(column_names=list(reference), chunk_number=1,
                                          continuous_methods=['jensen_shannon'], categorical_methods=['jensen_shannon'])
drift.fit(reference).calculate(current)
taken = clock() - begun
""",
}


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rows", type=int, default=1_000_000)
    for peer in PEERS:
        arguments.add_argument(f"--{peer}", metavar="PYTHON")
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.parquet", Path(folder) / "after.parquet"
        connection = duckdb.connect()
        connection.execute("set threads = 2; set TimeZone = 'UTC'")
        generate(connection, before, asked.rows, 0.1, {})
        generate(connection, after, asked.rows, 0.2, DRIFT)
        print(f"{asked.rows:,} rows x 20 columns, {after.stat().st_size / 1e6:.0f} MB of Parquet\n")
        print(f"{'work':<44}{'CPU s':>8}{'wall s':>8}{'x limit':>9}")
        limit = measured(lambda: connection.execute(bare_scan(after)).fetchall())
        tell("limit: one bare scan of the window's file", limit, limit)
        bascule(connection, before, after, limit)
        for peer, script in PEERS.items():
            run_peer(peer, script, getattr(asked, peer), before, after, limit)


def bascule(connection: duckdb.DuckDBPyConnection, before: Path, after: Path, limit: tuple[float, float]) -> None:
    source = f"read_parquet('{after}')"
    columns = [*NUMBERS, *TEXTS]
    profile = build_profile(connection, f"read_parquet('{before}')", columns)

    def drift(by: str) -> int:
        windows = count_windows(connection, source, profile.columns, by=by)
        return sum(one.drifted for window in windows for one in measure_drift(window, profile.columns, DriftRules()))

    tell("bascule: drift, stored reference, 1 window", measured(lambda: drift("month")), limit)
    tell("bascule: drift, stored reference, 30 windows", measured(lambda: drift("day")), limit)
    taken = measured(lambda: build_profile(connection, f"read_parquet('{before}')", columns), rounds=1)
    tell("bascule: profile of the reference", taken, limit)
    (window,) = count_windows(connection, source, profile.columns, by="month")
    found = measure_drift(window, profile.columns, DriftRules(effect=0.02))
    shown = ", ".join(f"{one.column} {one.difference.effect:.3f}" for one in found if one.drifted)
    print(f"{'':<4}drifted by 0.02 or more: {shown}")


def bare_scan(path: Path) -> str:
    sums = [*(f"sum({name})" for name in NUMBERS), *(f"sum(strlen({name}))" for name in TEXTS)]
    return f"select {', '.join(sums)} from read_parquet('{path}')"


def generate(connection: duckdb.DuckDBPyConnection, path: Path, rows: int, seed: float, change: dict[str, str]) -> None:
    """Numbers of five shapes, texts of five sizes; `change` is SQL that is put behind a column."""
    gauss = "sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random())"
    shapes = [
        gauss,
        f"exp({gauss})",
        "random()",
        "floor(-ln(1 - random()) * 20)",
        f"if(random() < 0.02, null, {gauss})",
    ]
    columns = [f"({shapes[i % 5]}) {change.get(name, '')} as {name}" for i, name in enumerate(NUMBERS)]
    power = 2.2 if change else 2
    columns += [f"'v' || floor(pow(random(), {power}) * {size})::int as {name}" for name, size in TEXTS.items()]
    connection.execute(f"select setseed({seed})")
    at = f"make_timestamp(1372636800000000 + (i * (2592000000000 // {rows}))::bigint) as event_time"
    connection.execute(
        f"copy (select {at}, {', '.join(columns)} from range({rows}) t(i)) to '{path}' "
        "(format parquet, compression zstd, row_group_size 122880)"
    )


def measured(work: Callable[[], object], rounds: int = ROUNDS) -> tuple[float, float]:
    """The least CPU and wall seconds of some rounds."""
    taken = []
    for _ in range(rounds):
        times, begun = os.times(), time.perf_counter()
        work()
        after = os.times()
        taken.append((after.user + after.system - times.user - times.system, time.perf_counter() - begun))
    return min(cpu for cpu, _ in taken), min(wall for _, wall in taken)


def run_peer(peer: str, script: str, python: str | None, before: Path, after: Path, limit: tuple[float, float]) -> None:
    if python is None:
        print(f"{peer}: skipped (pass --{peer} PYTHON of an environment that has it)")
        return
    head = "import json, os, time\nbefore, after = " + json.dumps([str(before), str(after)])
    head += "\ndef total(t): return t.user + t.system\n"
    head += "class Clock:\n    def __call__(self): return complex(total(os.times()), time.perf_counter())\n"
    head += "clock = Clock()\n"
    done = subprocess.run(
        [python, "-c", f"{head}{script}\nprint(json.dumps([taken.real, taken.imag]))"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(f"{peer}: failed: {done.stderr.strip().splitlines()[-1]}")
        return
    cpu, wall = json.loads(done.stdout.strip().splitlines()[-1])
    tell(f"{peer}: drift, data in memory", (cpu, wall), limit)


def tell(work: str, taken: tuple[float, float], limit: tuple[float, float]) -> None:
    print(f"{work:<44}{taken[0]:>8.2f}{taken[1]:>8.2f}{taken[0] / max(limit[0], 0.01):>9.1f}", flush=True)


if __name__ == "__main__":
    main()
