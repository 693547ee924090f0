"""A profile of 1,000,000 rows in 20 columns, beside the best-known profiler and the bare engine's own summary.

    python benchmarks/profiling.py [--rows 1000000] [--ydata PYTHON] [--large]

Bascule's line is everything that `bascule profile TABLE --html` does with a table of a workspace: two scans, the counts
of copies and keys, associations, label candidates and leakage, and the page. The limit is DuckDB's `SUMMARIZE` of the same
file: ranges, means, quantiles and distinct values, nothing between columns and no picture. Wall and CPU seconds, and the
peak memory of the process. `--large` profiles 10,000,000 rows in 50 columns instead and alone, for the promise that it stays within
2 GB. The peer needs an interpreter of an environment of its own, for example from

    uv venv /tmp/y && uv pip install --python /tmp/y/bin/python ydata-profiling 'setuptools<81' pyarrow
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb

GAUSS = "sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random())"
SHAPES = [
    GAUSS,
    f"exp({GAUSS})",
    "floor(-ln(1 - random()) * 20)::int",
    f"if(random() < 0.05, null, round({GAUSS}, 3))",
    "'v' || floor(pow(random(), 2) * 30)::int",
    "(random() * 1000000)::int",
    "'c' || floor(pow(random(), 2) * 20000)::int",
    "random() < 0.3",
    "make_timestamp(1372636800000000 + (random() * 2592000000000)::bigint)",
    "if(random() < 0.2, null, 'user' || (random() * 1e7)::int || '@mail.org')",
]
LINE = "print(json.dumps([clock() - begun, time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))"
HEAD = "import json, resource, sys, time\nclock = time.perf_counter\npath = sys.argv[1]\n"

OURS = "bascule: profile and page"
WORK = {
    "limit: DuckDB's SUMMARIZE": f"""
import duckdb
connection = duckdb.connect()
connection.execute("set threads = 2")
begun = clock()
connection.execute(f"summarize from read_parquet('{{path}}/things.parquet')").fetchall()
{LINE}
""",
    OURS: f"""
from pathlib import Path
from bascule.project.place import Place
from bascule.project.profiling import html, profile
begun = clock()
html(profile(Place(Path(path)), "things"))
{LINE}
""",
    "bascule: of a sample of 50,000 rows": f"""
from pathlib import Path
from bascule.project.place import Place
from bascule.project.profiling import html, profile
begun = clock()
html(profile(Place(Path(path)), "things", sample=50_000))
{LINE}
""",
}
PEER = f"""
import pandas
from ydata_profiling import ProfileReport
begun = clock()
frame = pandas.read_parquet(path + "/things.parquet")
ProfileReport(frame, minimal=MINIMAL, progress_bar=False).to_html()
{LINE}
"""


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--ydata", metavar="PYTHON")
    arguments.add_argument("--large", action="store_true")
    asked = arguments.parse_args()
    rows, columns = (10_000_000, 50) if asked.large else (asked.rows, 20)
    with tempfile.TemporaryDirectory() as folder:
        size = generate(Path(folder), rows, columns)
        print(f"{rows:,} rows x {columns} columns, {size / 1e6:.0f} MB of Parquet\n")
        print(f"{'work':<44}{'wall s':>8}{'CPU s':>8}{'peak MB':>9}{'x bascule':>11}")
        work = {OURS: WORK[OURS]} if asked.large else WORK
        found = {name: measured(sys.executable, script, folder) for name, script in work.items()}
        ours = found[OURS]
        for name, figures in found.items():
            tell(name, figures, ours)
        for name, minimal in (
            () if asked.large else (("ydata-profiling", "False"), ("ydata-profiling, minimal", "True"))
        ):
            if not asked.ydata:
                print(f"{name:<44}  skipped: no --ydata")
            else:
                tell(name, measured(asked.ydata, PEER.replace("MINIMAL", minimal), folder), ours)


def generate(folder: Path, rows: int, columns: int) -> int:
    """Write the rows as one Parquet file, and as the table `things` of a workspace."""
    from bascule.history import Workspace
    from bascule.lake import Lake

    path = folder / "things.parquet"
    items = ", ".join(f"{SHAPES[k % len(SHAPES)]} as c{k:02d}" for k in range(columns - 1))
    with duckdb.connect() as connection:
        connection.execute("set threads = 2; select setseed(0.3)")
        query = f"select i as id, {items} from range({rows}) t(i)"
        connection.execute(f"copy ({query}) to '{path}' (format parquet, compression zstd)")
        workspace = Workspace.create(folder)
        Lake(workspace).append("things", connection.sql(f"from read_parquet('{path}')"), key=["id"])
        workspace.close()
    return path.stat().st_size


def measured(python: str, script: str, folder: str) -> tuple[float, float, float]:
    """Run a script in a process of its own: seconds, CPU seconds of the whole process, peak memory in MB."""
    done = subprocess.run(
        [python, "-W", "ignore", "-c", HEAD + script, folder],
        capture_output=True,
        text=True,
        env={**os.environ},
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    wall, cpu, kilobytes = json.loads(done.stdout.strip().splitlines()[-1])
    return wall, cpu, kilobytes / 1024


def tell(name: str, figures: tuple[float, float, float], ours: tuple[float, float, float]) -> None:
    wall, cpu, peak = figures
    print(f"{name:<44}{wall:>8.2f}{cpu:>8.2f}{peak:>9.0f}{wall / ours[0]:>11.2f}", flush=True)


if __name__ == "__main__":
    main()
