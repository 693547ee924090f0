"""What every online store promises, on every backend; and what LMDB's has to take care of."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.errors import EnvironmentProblem
from bascule.features.online import LmdbStore, OnlineStore, Transaction, ViewRecord, open_online
from bascule.features.online.keys import encoder, reversed_time, time_of

NEW = -(2**63)
LAST = 2**63 - 1
TRACK = 17


@pytest.fixture(params=["lmdb", "redis"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store of each backend may be. A new backend joins by a line here."""
    return str(tmp_path / "online") if request.param == "lmdb" else str(request.getfixturevalue("redis_url"))


@pytest.fixture
def open_store(location: str) -> Iterator[Callable[..., OnlineStore]]:
    """What opens a store of one namespace, again and again the same one."""
    opened: list[OnlineStore] = []

    def opening(namespace: str = "main") -> OnlineStore:
        opened.append(open_online(location, namespace))
        return opened[-1]

    yield opening
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[..., OnlineStore]) -> OnlineStore:
    return open_store()


def put(store: OnlineStore, prefix: bytes, entries: dict[int, bytes]) -> None:
    store.write(lambda transaction: transaction.put(prefix, list(entries.items())))


KEYS = ("VARCHAR", "BIGINT", "VARCHAR")


def record(view: str = "weather", entity: str = "origin") -> ViewRecord:
    return ViewRecord(view=view, digest="d" * 64, entity=entity, keys=("origin",), key_types=("VARCHAR",), through=7)


def timeline(store: OnlineStore, key: object = "JFK", part: str = "rows") -> bytes:
    encoded = encoder(["VARCHAR"])([key])
    assert encoded is not None
    return store.track("d" * 64, part) + encoded


def test_the_newest_entry_not_after_a_time(store: OnlineStore) -> None:
    put(store, timeline(store), {-5: b"a", 0: b"b", 10: b"c"})
    put(store, timeline(store, "JFK1"), {3: b"other"})
    with store.snapshot() as snapshot:
        prefix = timeline(store)
        found = [snapshot.newest(prefix, at) for at in (NEW, -6, -5, -1, 0, 9, 10, LAST)]
        assert found == [None, None, b"a", b"a", b"b", b"b", b"c", b"c"]
        assert list(snapshot.between(prefix, -5, 9)) == [(0, b"b"), (-5, b"a")]
        assert list(snapshot.between(prefix, 11, LAST)) == []


def test_cutting_a_timeline(store: OnlineStore) -> None:
    prefix = timeline(store)
    put(store, prefix, dict.fromkeys(range(10), b"x"))
    put(store, timeline(store, "JFJ"), {4: b"before"})
    put(store, timeline(store, "JFL"), {4: b"after"})
    assert store.write(lambda transaction: transaction.cut(prefix, 7)) == 3
    assert store.write(lambda transaction: transaction.cut(prefix, 7)) == 0
    track = store.track("d" * 64, "rows")
    assert store.write(lambda transaction: list(transaction.prefixes(track))) == [
        timeline(store, "JFJ"),
        prefix,
        timeline(store, "JFL"),
    ]
    with store.snapshot() as snapshot:
        assert [at for at, _ in snapshot.between(prefix, NEW, LAST)] == list(range(6, -1, -1))


def test_a_failed_write_leaves_nothing(store: OnlineStore) -> None:
    def work(transaction: Transaction) -> None:
        transaction.put(timeline(store), [(1, b"x")])
        transaction.record(record())
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        store.write(work)
    with store.snapshot() as snapshot:
        assert snapshot.newest(timeline(store), LAST) is None
        assert snapshot.views() == []


def test_a_snapshot_does_not_move(store: OnlineStore) -> None:
    put(store, timeline(store), {1: b"old"})
    with store.snapshot() as snapshot:
        assert snapshot.newest(timeline(store, "LGA"), LAST) is None
        put(store, timeline(store), {1: b"new"})
        assert snapshot.newest(timeline(store), LAST) == b"old"
    with store.snapshot() as snapshot:
        assert snapshot.newest(timeline(store), LAST) == b"new"


def test_an_older_value_never_replaces_a_newer_one(store: OnlineStore) -> None:
    prefix = timeline(store)
    put(store, prefix, {9: b"newer"})
    put(store, prefix, {8: b"older"})
    with store.snapshot() as snapshot:
        assert snapshot.newest_many([(prefix, LAST), (prefix, 8), (prefix, 7)]) == [b"newer", b"older", None]


def test_a_writer_sees_what_it_wrote_and_others_do_not(store: OnlineStore) -> None:
    prefix, other = timeline(store), timeline(store, "LGA")
    put(store, prefix, {1: b"a", 2: b"b", 3: b"c"})

    def work(transaction: Transaction) -> None:
        transaction.put(prefix, [(2, b"B"), (4, b"d")])
        transaction.put(prefix, [(4, b"D")])
        transaction.put(other, [(1, b"x")])
        assert transaction.cut_many([(prefix, 3), (other, NEW)]) == 3
        transaction.put(prefix, [(3, b"C")])
        assert list(transaction.between(prefix, NEW, LAST)) == [(3, b"C"), (2, b"B"), (1, b"a")]
        assert list(transaction.prefixes(store.track("d" * 64, "rows"))) == [prefix]
        with store.snapshot() as snapshot:
            assert list(snapshot.between(prefix, NEW, LAST)) == [(3, b"c"), (2, b"b"), (1, b"a")]

    store.write(work)
    with store.snapshot() as snapshot:
        assert list(snapshot.between(prefix, NEW, LAST)) == [(3, b"C"), (2, b"B"), (1, b"a")]
        assert snapshot.newest(other, LAST) is None


def test_what_is_held_is_known_by_definition(store: OnlineStore) -> None:
    store.write(lambda transaction: transaction.record(record()))
    put(store, timeline(store), {1: b"x", 2: b"y"})
    with store.snapshot() as snapshot:
        assert snapshot.view("d" * 64) == record()
        assert snapshot.view("e" * 64) is None


def test_forgetting_removes_one_key_everywhere(open_store: Callable[..., OnlineStore], tmp_path: Path) -> None:
    stores = [open_store(name) for name in ("main", "branch")]
    for store in stores:
        store.write(lambda transaction: transaction.record(record()))
        for key in ("JFK-secret", "LGA"):
            for part in ("rows", "running", "events", "prints"):
                put(store, timeline(store, key, part), {1: b"the secret of " + key.encode(), 2: b"y"})
    secret = {"origin": "JFK-secret"}
    assert stores[0].count(secret) == 16
    assert stores[0].forget(secret) == 16
    assert stores[0].count(secret) == 0
    assert stores[0].forget(secret) == 0
    assert stores[0].forget({"origin": "LGA", "dest": "MIA"}) == 0
    assert stores[0].forget({}) == 0
    assert stores[0].forget({"carrier": "LGA"}) == 0
    for store in stores:
        with store.snapshot() as snapshot:
            assert snapshot.newest(timeline(store, "JFK-secret"), LAST) is None
            assert snapshot.newest(timeline(store, "LGA"), 1) == b"the secret of LGA"
            assert snapshot.view("d" * 64) == record()
    if isinstance(store, LmdbStore):
        left = b"".join(path.read_bytes() for path in (tmp_path / "online").iterdir())
        assert b"the secret of LGA" in left
        assert b"JFK-secret" not in left


def test_forgetting_by_some_of_the_key_columns(store: OnlineStore) -> None:
    held = ViewRecord(view="v", digest="c" * 64, entity="e", keys=("user", "n", "shop"), key_types=KEYS)
    store.write(lambda transaction: transaction.record(held))
    for key in (("ann", 1, "a"), ("ann", 2, "b\0"), ("bob", 1, "ann"), ("ann\0", 1, "a"), ("an", 2, "n")):
        encoded = encoder(KEYS)(key)
        assert encoded is not None
        put(store, store.track("c" * 64, "rows") + encoded, {1: b"x"})
    assert store.count({"user": "ann"}) == store.forget({"user": "ann"}) == 2
    assert store.count({"shop": "a"}) == 1
    assert store.forget({"n": "2", "shop": "n"}) == 1
    assert store.count({"shop": "ann"}) == 1
    assert store.count({"n": "1"}) == 2


def test_namespaces_are_apart(open_store: Callable[..., OnlineStore]) -> None:
    one, other = open_store("main"), open_store("branch")
    put(one, timeline(one), {1: b"x"})
    one.write(lambda transaction: transaction.record(record()))
    with other.snapshot() as snapshot:
        assert snapshot.newest(timeline(other), LAST) is None
        assert snapshot.views() == []


def test_the_map_grows_while_others_read(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, map_size=1 << 16)
    prefix, done, errors = timeline(store), threading.Event(), []

    def read() -> None:
        try:
            while not done.is_set():
                with store.snapshot() as snapshot:
                    assert len({value for _, value in snapshot.between(prefix, NEW, LAST)}) <= 1
                time.sleep(0.002)  # or three busy threads leave the writer no turn
        except BaseException as error:
            errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for size in (10, 100, 1000, 5000):
        put(store, prefix, dict.fromkeys(range(size), b"%d" % size))
    done.set()
    for reader in readers:
        reader.join()
    assert errors == []
    with store.snapshot() as snapshot:
        assert sum(1 for _ in snapshot.between(prefix, NEW, LAST)) == 5000


def in_child(work: Callable[[], None]) -> int | None:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(60)
    return process.exitcode


def test_a_child_reads_and_writes_after_a_fork(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, map_size=1 << 16)
    put(store, timeline(store), {1: b"parent"})

    def work() -> None:
        with store.snapshot() as snapshot:
            assert snapshot.newest(timeline(store), LAST) == b"parent"
        # More than the parent's map holds: it has to adopt the new size.
        put(store, timeline(store), dict.fromkeys(range(2, 3000), b"child" * 100))

    assert in_child(work) == 0
    with store.snapshot() as snapshot:
        assert snapshot.newest(timeline(store), LAST) == b"child" * 100
        assert snapshot.newest(timeline(store), 1) == b"parent"


@pytest.mark.slow
def test_a_child_forked_in_the_middle_of_a_read_is_told(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    put(store, timeline(store), {1: b"x"})

    def work() -> None:
        with pytest.raises(EnvironmentProblem, match="forked"), store.snapshot():
            pass

    with store.snapshot() as snapshot:
        assert in_child(work) == 0
        assert snapshot.newest(timeline(store), LAST) == b"x"


WRITER = """
import sys
from bascule.features.online import open_online
store = open_online(sys.argv[1])
prefixes = [store.track("d" * 64, part) + b"key" for part in ("rows", "running", "events")]
print("ready", flush=True)
n = int(sys.argv[2])
while True:
    n += 1
    def work(transaction):
        for prefix in prefixes:
            transaction.put(prefix, [(at, b"%d" % n) for at in range(300)])
    store.write(work)
    print(n, flush=True)
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_whole_transactions(store: OnlineStore, location: str) -> None:
    prefixes = [store.track("d" * 64, part) + b"key" for part in ("rows", "running", "events")]
    written = 0
    for attempt in range(6):
        command = [sys.executable, "-c", WRITER, location, str(written)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            time.sleep(0.03 + 0.017 * attempt)
            os.kill(writer.pid, signal.SIGKILL)
            said = [int(line) for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        with store.snapshot() as snapshot:
            found = [[value for _, value in snapshot.between(prefix, NEW, LAST)] for prefix in prefixes]
        assert len({tuple(values) for values in found}) == 1
        assert len(set(found[0])) <= 1
        assert len(found[0]) in (0, 300)
        newest = int(found[0][0]) if found[0] else 0
        assert newest >= (said[-1] if said else written), "an acknowledged write is lost"
        written = newest
    assert written > 0


READERS = """
import sys
from bascule.features.online import open_online
store = open_online(sys.argv[1])
prefixes = [store.track("d" * 64, part) + b"key" for part in ("rows", "running", "events")]
seen = set()
while len(seen) < 3:
    with store.snapshot() as snapshot:
        found = [{value for _, value in snapshot.between(prefix, -(2**63), 2**63 - 1)} for prefix in prefixes]
    whole = set().union(*found)
    assert len(whole) <= 1 and len(set(map(len, found))) == 1, found
    seen |= whole
print("whole", flush=True)
"""


@pytest.mark.slow
def test_readers_in_other_processes_see_a_batch_whole_or_not_at_all(store: OnlineStore, location: str) -> None:
    readers = [
        subprocess.Popen([sys.executable, "-c", READERS, location], stdout=subprocess.PIPE, text=True) for _ in "123"
    ]
    prefixes = [store.track("d" * 64, part) + b"key" for part in ("rows", "running", "events")]
    n, until = 0, time.monotonic() + 60
    while any(reader.poll() is None for reader in readers) and time.monotonic() < until:
        n += 1

        def work(transaction: Transaction, said: bytes = b"%d" % n) -> None:
            for prefix in prefixes:
                transaction.put(prefix, [(at, said) for at in range(100)])

        store.write(work)
    assert [reader.communicate()[0] for reader in readers] == ["whole\n"] * 3


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match="could not be opened"):
        LmdbStore(tmp_path / "file" / "online").snapshot().__enter__()


READER = """
import sys
from bascule.features.online import LmdbStore
store = LmdbStore(sys.argv[1])
prefixes = [store.track("d" * 64, "rows") + bytes.fromhex(key) for key in sys.argv[2:]]
for line in sys.stdin:
    with store.snapshot() as snapshot:
        print([snapshot.newest(prefix, 5) for prefix in prefixes], flush=True)
"""


@pytest.mark.slow
def test_readers_go_over_when_the_file_is_rewritten(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    store.write(lambda transaction: transaction.record(record()))
    put(store, timeline(store, "gone"), {1: b"x"})
    put(store, timeline(store), {1: b"here"})
    keys = [timeline(store, key)[TRACK:].hex() for key in ("JFK", "gone")]
    command = [sys.executable, "-c", READER, str(tmp_path), *keys]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        reader.stdin.write("read\n")
        assert reader.stdout.readline() == "[b'here', b'x']\n"
        assert store.forget({"origin": "gone"}) == 1
        put(store, timeline(store), {2: b"newer"})
        reader.stdin.write("read\n")
        assert reader.stdout.readline() == "[b'newer', None]\n"
        reader.stdin.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "timelines-1.mdb", "timelines-1.mdb-lock"]


@given(st.lists(st.tuples(st.text(max_size=4), st.integers(-(2**63), 2**64 - 1)), min_size=2, max_size=2))
def test_keys_are_unambiguous_and_ordered(pairs: list[tuple[str, int]]) -> None:
    encode = encoder(["VARCHAR", "BIGINT"])
    first, second = (encode(pair) for pair in pairs)
    assert first is not None
    assert second is not None
    assert (first == second) == (pairs[0] == pairs[1])
    assert (first < second) == ((pairs[0][0].encode(), pairs[0][1]) < (pairs[1][0].encode(), pairs[1][1]))
    assert first == second or not second.startswith(first)


def test_keys_of_every_type() -> None:
    assert encoder(["VARCHAR"])([None]) is None
    assert encoder(["VARCHAR", "VARCHAR"])(["1", "11"]) != encoder(["VARCHAR", "VARCHAR"])(["11", "1"])
    assert encoder(["BIGINT"])([2**80]) is None
    assert encoder(["DOUBLE"])([0.0]) == encoder(["DOUBLE"])([-0.0])
    ordered = [float("-inf"), -1.5, -1e-300, 0.0, 1e-300, 2.0, float("inf"), float("nan")]
    encoded = [encoder(["DOUBLE"])([x]) or b"" for x in ordered]
    assert encoded == sorted(encoded)
    long = [encoder(["VARCHAR"])(["x" * 1000 + end]) or b"" for end in ("a", "b")]
    assert long[0] != long[1]
    assert max(map(len, long)) < 400


@given(st.integers(NEW, LAST), st.integers(NEW, LAST))
def test_times_sort_backwards(a: int, b: int) -> None:
    assert (reversed_time(a) > reversed_time(b)) == (a < b)
    assert time_of(b"key" + reversed_time(a)) == a


FILLER = """
import resource, signal, sys
from bascule.errors import EnvironmentProblem
from bascule.features.online import LmdbStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
store = LmdbStore(sys.argv[1])
prefix = store.track("d" * 64, "rows") + b"key"
try:
    store.write(lambda transaction: transaction.put(prefix, [(at, b"x" * 1000) for at in range(5000)]))
except EnvironmentProblem as error:
    print(error.message)
"""


@pytest.mark.slow
def test_a_disk_that_is_full_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    prefix = store.track("d" * 64, "rows") + b"key"
    put(store, prefix, {1: b"kept"})
    store.close()
    command = [sys.executable, "-c", FILLER, str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "could not be written" in said.stdout
    with store.snapshot() as snapshot:
        assert list(snapshot.between(prefix, NEW, LAST)) == [(1, b"kept")]
    put(store, prefix, {2: b"more"})
