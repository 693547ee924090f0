"""Feature vectors beside Feast's SQLite store and server, and keys materialised beside bare LMDB writes.

    python benchmarks/features.py [--keys 10000000] [--served 100000] [--feast PYTHON] [--only read,http,materialise]

PYTHON is an interpreter of an environment of its own that has Feast 0.67: `python -m venv V && V/bin/pip install feast
uvicorn gunicorn fastapi`. Reads are of 20 features of one view, for 1 and 100 entities. The limit of a read is bare
LMDB gets of values of the same size by exact keys; that of materialising, the same pairs of sorted keys and values
written by LMDB's `putmulti` in one transaction. Feast materialises `--served` keys of 5 features; keys/s are compared.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import lmdb

from bascule.features import Entity, FeatureSet, FeatureView, LmdbStore, OnlineReader, build_feature_set, materialise
from bascule.features.online.vectors import VectorReader
from bascule.history import Workspace
from online import bare_gets

FEATURES = tuple(f"f{n}" for n in range(20))
ENTITY = Entity("user", ("user_id",))
NOW = 1_702_592_000_000_000
COUNTS = (1, 100)
WORKER = """
import sys
from bascule.protocols.openinference.worker import run_worker
run_worker(sys.argv[1], port=0, grpc_port=0)
"""
FEAST = r"""
import json, subprocess, sys, time, random, socket
from datetime import datetime, timedelta, timezone
from pathlib import Path
folder, keys, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
(folder / "feature_store.yaml").write_text(
    "project: bench\nprovider: local\nregistry: registry.db\noffline_store: {type: dask}\n"
    "online_store: {type: sqlite, path: online.db}\nentity_key_serialization_version: 3\n"
)
(folder / "repo.py").write_text('''
from datetime import timedelta
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Float64
user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
source = FileSource(path="rows.parquet", timestamp_field="happened")
few = FeatureView(
    name="few", entities=[user], ttl=timedelta(days=0),
    schema=[Field(name=f"f{n}", dtype=Float64) for n in range(5)],
    source=source,
)
rows = FeatureView(
    name="rows", entities=[user], ttl=timedelta(days=0),
    schema=[Field(name=f"f{n}", dtype=Float64) for n in range(20)],
    source=source,
)
''')
subprocess.run([str(Path(sys.executable).parent / "feast"), "apply"], cwd=folder, check=True, capture_output=True)
from feast import FeatureStore
store = FeatureStore(repo_path=str(folder))
span = datetime(2000, 1, 1, tzinfo=timezone.utc), datetime.now(timezone.utc)
store.materialize(*span, feature_views=["rows"])
begun = time.perf_counter()
store.materialize(*span, feature_views=["few"])
said = {"materialise": time.perf_counter() - begun}
features = [f"rows:f{n}" for n in range(20)]
for count in (1, 100):
    taken = []
    for n in range(rounds if count == 1 else max(rounds // 10, 5)):
        picked = random.Random(n).sample(range(keys), count)
        begun = time.perf_counter()
        store.get_online_features(features, [{"user_id": key} for key in picked]).to_dict()
        taken.append(time.perf_counter() - begun)
    taken.sort()
    said[f"read {count}"] = taken[len(taken) // 2]
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
print(json.dumps(said), flush=True)
server = subprocess.Popen(
    [str(Path(sys.executable).parent / "feast"), "serve", "-p", str(port), "--no-access-log"],
    cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
)
print(port, flush=True)
sys.stdin.readline()
server.terminate()
server.wait()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=10_000_000)
    parser.add_argument("--served", type=int, default=100_000)
    parser.add_argument("--feast", type=Path, help="an interpreter that has Feast")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--only", default="read,http,materialise")
    chosen = parser.parse_args()
    parts = chosen.only.split(",")
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        if "read" in parts or "http" in parts:
            with feast(folder / "feast", chosen) as (said, feast_port):
                serve(folder, chosen, parts, said, feast_port)
        else:
            said = {}
        if "materialise" in parts:
            write(folder, chosen.keys, chosen.served, said)


def serve(folder: Path, chosen: argparse.Namespace, parts: Sequence[str], said: dict, feast_port: int | None) -> None:
    ws = Workspace.create(folder / "workspace")
    store = LmdbStore(ws.online_folder, "main")
    with duckdb.connect() as connection:
        feature_set = source(connection, chosen.served, FEATURES)
        materialise(connection, feature_set, store)
    print(f"{'work':<40}{'p50 µs':>10}{'p99 µs':>10}{'x bare':>9}{'Feast µs':>12}{'Feast x':>10}")
    reader, vectors = OnlineReader(feature_set, store), VectorReader(store, ["rows"])
    bare = bare_gets(folder / "bare", chosen.served, 190)
    for count in COUNTS if "read" in parts else ():
        picked = [random.Random(n).sample(range(chosen.served), count) for n in range(chosen.rounds)]
        limit = timed(lambda keys: bare(keys), picked)
        show(f"bare LMDB gets, {count}", limit, None, None)
        theirs = said.get(f"read {count}")
        found = timed(lambda keys: reader.read([{"user_id": key} for key in keys], [NOW] * len(keys)), picked)
        show(f"as a model reads them, {count}", found, limit, theirs)
        found = timed(lambda keys: vectors.read({"user_id": keys}, NOW), picked)
        show(f"by name, with statuses and times, {count}", found, limit, theirs)
    if "http" in parts:
        served(ws, chosen, feast_port)


def served(ws: Workspace, chosen: argparse.Namespace, feast_port: int | None) -> None:
    command = [sys.executable, "-c", WORKER, str(ws.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        port = int(json.loads(worker.stdout.readline())["url"].rpartition(":")[2])
        for count in COUNTS:
            picked = [random.Random(n).sample(range(chosen.served), count) for n in range(chosen.rounds)]
            theirs = None
            if feast_port is not None:
                theirs = statistics.median(asking(feast_port, picked[: 100 if count == 1 else 20]))
            show(f"over HTTP, {count}", asking(port, picked), None, theirs)
        worker.terminate()


def asking(port: int, picked: Sequence[list[int]]) -> list[float]:
    """Ask on one kept connection. The client reads the bytes; what they say is looked at afterwards."""
    features, taken = [f"rows:{name}" for name in FEATURES], []
    head = b"POST /get-online-features HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for keys in (picked[0], *picked):
            body = json.dumps({"features": features, "entities": {"user_id": keys}}).encode()
            request = head % len(body) + body
            begun = time.perf_counter()
            connection.sendall(request)
            top, found = answer_of(connection)
            taken.append(time.perf_counter() - begun)
            assert b" 200 " in top, found
            assert json.loads(found)["results"][1]["statuses"] == ["PRESENT"] * len(keys)
    return taken[1:]


def answer_of(connection: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(1 << 20)
    top, _, body = data.partition(b"\r\n\r\n")
    size = int(re.search(rb"(?i)content-length: (\d+)", top)[1])
    parts = [body]
    left = size - len(body)
    while left > 0:
        parts.append(connection.recv(1 << 20))
        left -= len(parts[-1])
    return top, b"".join(parts)


def write(folder: Path, keys: int, served: int, said: dict) -> None:
    """Materialise many keys of five features, and write the same pairs by LMDB alone."""
    with duckdb.connect() as connection:
        feature_set = source(connection, keys, FEATURES[:5])
        begun = time.perf_counter()
        report = materialise(connection, feature_set, LmdbStore(folder / "many"))
        ours = time.perf_counter() - begun
        begun = time.perf_counter()
        materialise(connection, feature_set, LmdbStore(folder / "many"))
        again = time.perf_counter() - begun
    assert report.written == keys
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    size = report.views[0].bytes // keys
    env = lmdb.open(str(folder / "limit"), map_size=16 << 30)
    value = b"x" * (size - 35)
    begun = time.perf_counter()
    with env.begin(write=True) as transaction:
        transaction.cursor().putmulti((b"%017d\x10\x01%016d" % (1, key), value) for key in range(keys))
    bare = time.perf_counter() - begun
    print(f"\nmaterialise {keys:,} keys of 5 features: {ours:.1f} s, {keys / ours:,.0f} keys/s, peak {peak:,} MB")
    print(f"again, nothing new: {again:.1f} s")
    print(f"bare LMDB writes of the same pairs: {bare:.1f} s; x bare {ours / bare:.2f}")
    if "materialise" in said:
        theirs = served / said["materialise"]
        print(f"Feast, {served:,} keys of 5 features: {theirs:,.0f} keys/s; Feast x {keys / ours / theirs:,.0f}")


def source(connection: duckdb.DuckDBPyConnection, keys: int, features: Sequence[str]) -> FeatureSet:
    connection.execute("SET TimeZone='UTC'")
    fields = ", ".join(f"random() AS {name}" for name in features)
    connection.execute(
        f"CREATE TABLE events AS SELECT i AS user_id, {fields}, "
        f"make_timestamp(CAST({NOW} - hash(i) % 2592000000000 AS BIGINT)) AS happened FROM range({keys}) r(i)"
    )
    view = FeatureView(name="rows", entity="user", sql="SELECT * FROM events", event_time="happened")
    return build_feature_set(
        connection,
        name="benchmark",
        entities=[ENTITY],
        views=[view],
        population="SELECT user_id, happened AS asked_at FROM events",
        prediction_time="asked_at",
        features=["rows"],
    )


@contextmanager
def feast(folder: Path, chosen: argparse.Namespace) -> Iterator[tuple[dict, int | None]]:
    if chosen.feast is None:
        print("feast: no interpreter was given, left out\n")
        yield {}, None
        return
    folder.mkdir()
    with duckdb.connect() as connection:
        source(connection, chosen.served, FEATURES)
        connection.execute(f"COPY events TO '{folder / 'rows.parquet'}'")
    command = [str(chosen.feast), "-c", FEAST, str(folder), str(chosen.served), str(chosen.rounds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        line = next(one for one in process.stdout if one.startswith("{"))
        port = int(next(one for one in process.stdout if one.strip().isdigit()))
        wait(port)
        yield json.loads(line), port
        process.stdin.write("\n")


def wait(port: int) -> None:
    for _ in range(600):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("Feast's server does not answer")


def timed(work: Callable[[list[int]], object], picked: Sequence[list[int]]) -> list[float]:
    work(picked[0])
    taken = []
    for keys in picked:
        begun = time.perf_counter()
        work(keys)
        taken.append(time.perf_counter() - begun)
    return taken


def show(name: str, taken: list[float], limit: list[float] | None, feast: float | None) -> None:
    middle = statistics.median(taken)
    last = sorted(taken)[int(len(taken) * 0.99)]
    bare = "" if limit is None else f"{middle / statistics.median(limit):>9.1f}"
    theirs = "" if feast is None else f"{feast * 1e6:>12,.0f}{feast / middle:>10,.1f}"
    print(f"{name:<40}{middle * 1e6:>10.1f}{last * 1e6:>10.1f}{bare:>9}{theirs}", flush=True)


if __name__ == "__main__":
    main()
