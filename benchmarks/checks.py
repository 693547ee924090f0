"""Checks on a table: Bascule, its peers, and one bare scan of the same columns as the limit.

    python benchmarks/checks.py [--rows 10000000] [--data FOLDER] [--peers FOLDER]

Prints one table: wall and CPU seconds of the work (after imports), peak memory of the process, and CPU as a multiple of
the limit; of the check after an append also as a share of the full one. Each line is a process of its own over the same Parquet file. A peer runs with the interpreter
`FOLDER/NAME/bin/python` when there is one (default folder: benchmarks/.peers), made for example by

    uv venv benchmarks/.peers/gx && uv pip install --python benchmarks/.peers/gx great-expectations pandas pyarrow

and is skipped with a line that says so otherwise. The memory of the two lines on a lake's table is that of writing the
table as well. Not a test: nothing here asserts a time.
"""

from __future__ import annotations

import argparse
import atexit
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NUMBERS = [f"n{i}" for i in range(8)]
COUNTS = ["c0", "c1", "c2"]
CODES = {"k0": 3, "k1": 8, "k2": 30, "k3": 200}
PEERS = {"gx": "great-expectations pandas pyarrow", "pandera": "'pandera[polars]'", "pointblank": "pointblank polars"}


def make_data(path: Path, rows: int) -> None:
    """Eight doubles with 2 % nulls, three counts, four codes and an id, in row groups of 122,880 rows."""
    import duckdb

    connection = duckdb.connect()
    numbers = ", ".join(
        f"CASE WHEN hash(range, {i}) % 50 = 0 THEN NULL "
        f"ELSE (hash(range * 7, {i}) % 100000) / {1000.0 * (i + 1)} END AS {name}"
        for i, name in enumerate(NUMBERS)
    )
    sizes = [(f"hash(range, {i + 20}) % {10 ** (i + 2)}", name) for i, name in enumerate(COUNTS)]
    counts = ", ".join(f"CAST({value} AS INTEGER) AS {name}" for value, name in sizes)
    codes = ", ".join(f"'{name}_' || (hash(range, '{name}') % {size}) AS {name}" for name, size in CODES.items())
    query = f"SELECT range AS id, {numbers}, {counts}, {codes} FROM range({rows})"
    connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")


def rules(narrow: bool) -> dict[str, list[dict[str, Any]]]:
    """The checks, by column: those that merge into a scan, one of which fails, and three with a query of their own."""

    def ours(check: str, **more: Any) -> dict[str, Any]:
        return {"type": "custom", "engine": "bascule", "implementation": {"check": check, **more}}

    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ["id", *NUMBERS, *COUNTS, *CODES]}
    found["id"] += [ours("not_null")]
    for i, name in enumerate(NUMBERS):
        found[name].append(ours("range", minimum=0, maximum=100.0 / (i + 1)))
    for name in NUMBERS[:3]:
        found[name].append(ours("not_null", tolerate="5 %"))
    found["n3"].append(ours("mean", between=[5, 20]))
    found["n4"].append(ours("std", between=[1, 20]))
    for name in COUNTS:
        found[name].append(ours("range", minimum=0))
    found["c0"].append(ours("range", maximum=98, tolerate=0))  # fails
    for name, size in list(CODES.items())[:2]:
        found[name].append(ours("values", values=[f"{name}_{i}" for i in range(size)]))
    found["k2"].append(ours("pattern", pattern="^k2_[0-9]+$"))
    if narrow:
        found["id"].append(ours("unique"))
        found["n5"].append(ours("median", between=[1, 20]))
        found["k3"].append(ours("distinct", maximum=200))
    return found


def contract_text(narrow: bool) -> str:
    properties = [{"name": name, "quality": quality} for name, quality in rules(narrow).items()]
    schema = [{"name": "t", "properties": properties}]
    return f"apiVersion: v3.1.0\nkind: DataContract\nschema: {json.dumps(schema)}\n"


# Workers: each prepares (imports), then returns what is measured. They print one JSON line.


def limit(path: str) -> Callable[[], str]:
    import duckdb

    connection = duckdb.connect()
    sums = ", ".join(
        [f"sum({name})" for name in ["id", *NUMBERS, *COUNTS]] + [f"sum(strlen({name}))" for name in CODES]
    )
    return lambda: str(connection.execute(f"SELECT {sums} FROM read_parquet('{path}')").fetchone() is not None)


def bascule(path: str, narrow: bool = False) -> Callable[[], str]:
    import duckdb

    from bascule.contracts import Contract, run_checks

    connection = duckdb.connect()
    contract = Contract.parse(contract_text(narrow), "t.yaml")

    def run() -> str:
        report = run_checks(connection, f"read_parquet('{path}')", contract)
        counted = [result for result in report.results if result.kind not in ("column", "columns")]
        return f"{len(counted)} checks, {sum(result.status != 'passed' for result in counted)} failed"

    return run


def lake(path: str, appended: bool) -> Callable[[], str]:
    """All checks of the same rows as a table of a lake: in full, or after they were checked and 1 % more came."""
    import duckdb

    from bascule.history import Workspace
    from bascule.lake import Lake
    from bascule.project.checking import check_table

    scratch = tempfile.mkdtemp(dir=Path(path).parent)
    atexit.register(shutil.rmtree, scratch)  # after the clock has stopped
    workspace, connection = Workspace.create(Path(scratch)), duckdb.connect()
    tables = Lake(workspace)
    tables.append("t", connection.sql(f"SELECT * FROM read_parquet('{path}')"))
    contract = {"text": contract_text(narrow=True), "file": "t.yaml"}

    def read(name: str) -> Any:
        return contract if name.startswith("contracts/") else workspace.history.read("main", name)

    def run() -> str:
        report = check_table(workspace, "t", read)
        assert report is not None
        counted = [result for result in report.results if result.kind not in ("column", "columns")]
        return f"{report.rows:,} rows, {sum(result.status != 'passed' for result in counted)} failed"

    if appended:
        run()
        rows = int(connection.execute(f"SELECT count(*) FROM read_parquet('{path}')").fetchall()[0][0])
        more = f"SELECT * REPLACE (id + {rows} AS id) FROM read_parquet('{path}') LIMIT {rows // 100}"
        tables.append("t", connection.sql(more))

    return run


def bascule_profile(path: str) -> Callable[[], str]:
    import duckdb

    from bascule.contracts import profile

    connection = duckdb.connect()
    relation = f"read_parquet('{path}')"
    return lambda: f"{len(profile(connection, relation).columns)} columns"


def gx(path: str) -> Callable[[], str]:
    import great_expectations as ge
    import great_expectations.expectations as gxe
    import pandas

    context = ge.get_context(mode="ephemeral")
    definition = context.data_sources.add_pandas("p").add_dataframe_asset("a").add_batch_definition_whole_dataframe("b")
    suite = context.suites.add(ge.ExpectationSuite(name="s"))
    build = {
        "not_null": lambda c, r: gxe.ExpectColumnValuesToNotBeNull(column=c, mostly=0.95 if "tolerate" in r else 1),
        "range": lambda c, r: gxe.ExpectColumnValuesToBeBetween(
            column=c, min_value=r.get("minimum"), max_value=r.get("maximum")
        ),
        "mean": lambda c, r: gxe.ExpectColumnMeanToBeBetween(
            column=c, min_value=r["between"][0], max_value=r["between"][1]
        ),
        "std": lambda c, r: gxe.ExpectColumnStdevToBeBetween(
            column=c, min_value=r["between"][0], max_value=r["between"][1]
        ),
        "median": lambda c, r: gxe.ExpectColumnMedianToBeBetween(
            column=c, min_value=r["between"][0], max_value=r["between"][1]
        ),
        "values": lambda c, r: gxe.ExpectColumnValuesToBeInSet(column=c, value_set=r["values"]),
        "pattern": lambda c, r: gxe.ExpectColumnValuesToMatchRegex(column=c, regex=r["pattern"]),
        "unique": lambda c, r: gxe.ExpectColumnValuesToBeUnique(column=c),
        "distinct": lambda c, r: gxe.ExpectColumnUniqueValueCountToBeBetween(column=c, max_value=r["maximum"]),
    }
    for column, quality in rules(narrow=True).items():
        for rule in quality:
            suite.add_expectation(build[rule["implementation"]["check"]](column, rule["implementation"]))

    def run() -> str:
        frame = pandas.read_parquet(path)
        found = definition.get_batch(batch_parameters={"dataframe": frame}).validate(suite, result_format="SUMMARY")
        return f"{len(found.results)} checks, {sum(not result.success for result in found.results)} failed"

    return run


def pandera(path: str) -> Callable[[], str]:
    import pandera.polars as pa
    import polars

    def checks_of(quality: list[dict[str, Any]]) -> dict[str, Any]:
        found: list[Any] = []
        null, unique = True, False
        for rule in (item["implementation"] for item in quality):
            kind, ends = rule["check"], rule.get("between", [None, None])
            if kind == "not_null" and "tolerate" not in rule:
                null = False
            elif kind == "not_null":
                found.append(pa.Check(lambda d: d.lazyframe.select(polars.col(d.key).is_null().mean() < 0.05)))
            elif kind == "unique":
                unique = True
            elif kind == "range":
                found += [pa.Check.ge(rule["minimum"])] if "minimum" in rule else []
                found += [pa.Check.le(rule["maximum"])] if "maximum" in rule else []
            elif kind == "values":
                found.append(pa.Check.isin(rule["values"]))
            elif kind == "pattern":
                found.append(pa.Check.str_matches(rule["pattern"]))
            else:
                measure = {"mean": "mean", "std": "std", "median": "median", "distinct": "n_unique"}[kind]
                low, high = ends if kind != "distinct" else (0, rule["maximum"])
                found.append(
                    pa.Check(
                        lambda d, measure=measure, low=low, high=high: d.lazyframe.select(
                            getattr(polars.col(d.key), measure)().is_between(low, high)
                        )
                    )
                )
        return {"checks": found, "nullable": null, "unique": unique}

    types = {
        "id": int,
        **dict.fromkeys(NUMBERS, float),
        **dict.fromkeys(COUNTS, polars.Int32),
        **dict.fromkeys(CODES, str),
    }
    schema = pa.DataFrameSchema(
        {name: pa.Column(types[name], **checks_of(found)) for name, found in rules(narrow=True).items()}
    )

    def run() -> str:
        try:
            schema.validate(polars.read_parquet(path), lazy=True)
        except pa.errors.SchemaErrors as error:
            return f"{len(error.schema_errors)} failed"
        return "passed"

    return run


def pointblank(path: str) -> Callable[[], str]:
    import pointblank as pb
    import polars

    def run() -> str:
        found = pb.Validate(polars.read_parquet(path))
        for column, quality in rules(narrow=True).items():
            for rule in (item["implementation"] for item in quality):
                kind = rule["check"]
                if kind == "not_null":
                    found = found.col_vals_not_null(column)
                elif kind == "range" and "minimum" in rule and "maximum" in rule:
                    found = found.col_vals_between(column, rule["minimum"], rule["maximum"], na_pass=True)
                elif kind == "range":
                    add = found.col_vals_ge if "minimum" in rule else found.col_vals_le
                    found = add(column, rule.get("minimum", rule.get("maximum")), na_pass=True)
                elif kind == "values":
                    found = found.col_vals_in_set(column, rule["values"])
                elif kind == "pattern":
                    found = found.col_vals_regex(column, rule["pattern"])
                elif kind == "unique":
                    found = found.rows_distinct(columns_subset=[column])
        done = found.interrogate()
        return f"{len(done.validation_info)} of the checks that it has"

    return run


WORKERS: dict[str, Callable[[str], Callable[[], str]]] = {
    "limit": limit,
    "bascule": bascule,
    "bascule-narrow": lambda path: bascule(path, narrow=True),
    "lake": lambda path: lake(path, appended=False),
    "appended": lambda path: lake(path, appended=True),
    "profile": bascule_profile,
    "gx": gx,
    "pandera": pandera,
    "pointblank": pointblank,
}


def work(name: str, path: str) -> None:
    run = WORKERS[name](path)
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    note = run()
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"wall": wall, "cpu": cpu, "mb": after.ru_maxrss / 1024, "note": note}))


def measure(name: str, interpreter: str, path: Path, rounds: int) -> dict[str, Any] | str:
    """Run a line in processes of its own; wall and CPU seconds are the medians."""
    found = [once(name, interpreter, path) for _ in range(rounds)]
    for said in found:
        if isinstance(said, str):
            return said
    told = [said for said in found if not isinstance(said, str)]
    return {**told[0], **{key: statistics.median(said[key] for said in told) for key in ("wall", "cpu", "mb")}}


def once(name: str, interpreter: str, path: Path) -> dict[str, Any] | str:
    done = subprocess.run(
        [interpreter, __file__, "--worker", name, str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return f"failed: {done.stderr.strip().splitlines()[-1][:80]}"
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


SLOW = {"gx", "profile"}
LINES = [
    ("one bare scan (limit)", "limit"),
    ("Bascule, checks that merge", "bascule"),
    ("Bascule, and unique, median, distinct", "bascule-narrow"),
    ("Bascule, all of them on a lake's table", "lake"),
    ("Bascule, again after 1 % more came", "appended"),
    ("Bascule, profile of every column", "profile"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3, help="of all lines but the slow ones; medians are told")
    parser.add_argument("--data", type=Path, help="keep the data here and use it again")
    parser.add_argument("--peers", type=Path, default=Path(__file__).parent / ".peers")
    parser.add_argument("--worker", nargs=2, metavar=("NAME", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(*options.worker)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.data or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"checks-{options.rows}.parquet"
        if not path.exists():
            make_data(path, options.rows)
        compare(path, options)


def compare(path: Path, options: argparse.Namespace) -> None:
    print(f"{options.rows:,} rows × 16 columns, {path.stat().st_size / 1e6:,.0f} MB of Parquet\n")
    print(f"{'':40}{'wall s':>8}{'CPU s':>8}{'MB':>8}{'× limit':>9}")
    base = full = 0.0
    peers = [(name, name, str(options.peers / name / "bin" / "python")) for name in PEERS]
    for title, name, interpreter in [(title, name, sys.executable) for title, name in LINES] + peers:
        if not Path(interpreter).exists():
            print(f"{title:40}skipped: no {interpreter} (uv pip install {PEERS[name]})")
            continue
        found = measure(name, interpreter, path, 1 if name in SLOW else options.rounds)
        if isinstance(found, str):
            print(f"{title:40}{found}")
            continue
        base = base or found["cpu"]
        ratio = found["cpu"] / base
        full = found["cpu"] if name == "lake" else full
        if name == "appended" and full:
            found["note"] += f": {100 * found['cpu'] / full:.1f} % of the full check"
        print(f"{title:40}{found['wall']:8.2f}{found['cpu']:8.2f}{found['mb']:8.0f}{ratio:9.1f}  {found['note']}")


if __name__ == "__main__":
    main()
