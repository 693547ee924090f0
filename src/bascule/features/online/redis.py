"""Timelines in Redis or Valkey, for stores that several machines share.

A write has a generation of its own: its entries lie beside the old ones and nobody sees them until one step makes the
generation the head. A reader reads as of the head that it saw first. What a killed writer left is taken back by the
next one, from its journal. One writer a namespace holds a lock, which every one of its steps checks inside Redis.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from types import TracebackType
from typing import Any, TypeVar

import msgspec

from bascule.errors import Busy, EnvironmentProblem
from bascule.features.online import redis_scripts as scripts
from bascule.features.online.keys import NEWEST, reversed_time, time_of
from bascule.features.online.redis_server import HOLD_MS, RedisServer, is_dead, retire, token
from bascule.features.online.store import Entry, ViewRecord
from bascule.features.online.subjects import EVER, TRACK, timelines_of, track_of

T = TypeVar("T")
Look = tuple[bytes, bytes, bytes]
CHUNK = 500
GRACE_S = 10.0  # how long a snapshot may be read for, at least
PATIENCE_S = 30.0
_GENERATIONS = 2**48 - 1
_HEAD = 15  # what stands before a member's value


class RedisStore:
    """An `OnlineStore` in a Redis or Valkey server.

    Args:
        url: `redis://[:PASSWORD@]HOST[:PORT][/DB]`, also `rediss://`, `valkey://` and `unix://`; `?prefix=NAME` keeps
            several workspaces in one database apart.
        namespace: keeps the timelines of one branch apart from those of others.
        seconds: how long an answer is waited for; 5 when not given.

    Raises:
        MissingExtra: the client is not installed.
        InputError: the URL cannot be read.
    """

    far = True

    def __init__(self, url: str, namespace: str = "main", seconds: float | None = None) -> None:
        self.namespace = namespace
        self.server = RedisServer.at(url, seconds)
        name = namespace.encode()
        self.state, self.lock, self.views, self.sweeps = (
            self.server.key(kind, name) for kind in (b"s", b"l", b"v", b"w")
        )

    def snapshot(self) -> RedisSnapshot:
        """Read as of the state at the first look-up; for ten seconds at least, after which it may be refused."""
        return RedisSnapshot(self)

    def track(self, digest: str, part: str) -> bytes:
        """`e` and 16 bytes that stand for the namespace, the definition and the part."""
        return track_of(self.namespace, digest, part)

    def write(self, work: Callable[[RedisTransaction], T]) -> T:
        """Run `work` as the namespace's only writer, and make what it wrote visible in one step.

        Raises:
            Busy: another writer holds the namespace.
            EnvironmentProblem: the server is gone or full. Readers then see the state of before; the next write takes
                back what this one left.
        """
        with _Writer(self) as writer:
            transaction = RedisTransaction(self, writer)
            result = work(transaction)
            transaction.commit()
            return result

    def count(self, subject: Mapping[str, object]) -> int:
        """How many entries an entity has, in all namespaces."""
        found = 0
        for name in self.namespaces():
            with RedisStore(self.server.url, name).snapshot() as snapshot:
                found += sum(1 for prefix in timelines_of(snapshot, subject) for _ in snapshot.between(prefix, *EVER))
        return found

    def forget(self, subject: Mapping[str, object], *, rewrite: bool = False) -> int:
        """Remove an entity's timelines in all namespaces; return the number of entries.

        The server's memory holds them no longer when this returns; its own files do once it has written them anew.
        """
        removed = 0
        for name in self.namespaces():
            store = RedisStore(self.server.url, name)

            def cut(transaction: RedisTransaction) -> int:
                return transaction.cut_many([(prefix, EVER[0]) for prefix in timelines_of(transaction, subject)])

            removed += store.write(cut)
            store.tidy()
        if removed or rewrite:
            self.server.rewrite()
        return removed

    def tidy(self) -> None:
        """Remove at once what older states hold and the newest does not."""
        with _Writer(self) as writer:
            writer.sweep(0.0)

    def namespaces(self) -> list[str]:
        """Those that something was written to."""
        return sorted(name.decode() for name in self.server.call("SMEMBERS", self.server.key(b"n")))

    def close(self) -> None:
        """Give back the connections; the next use opens them again."""
        self.server.close()


class RedisSnapshot:
    """A state of one namespace. `gather` first answers all look-ups that are made, in as few steps as it can."""

    def __init__(self, store: RedisStore, generation: int | None = None) -> None:
        self._store = store
        self._asked = b"" if generation is None else b"%d" % generation
        self._held: dict[str, ViewRecord] | None = None
        self._known: dict[Look, Any] | None = None
        self._missing: dict[Look, None] = {}

    def __enter__(self) -> RedisSnapshot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._known = None

    def newest(self, prefix: bytes, at: int) -> bytes | None:
        """The value of the newest entry not after `at`."""
        found: bytes | None = self._look((prefix, reversed_time(at), b""))
        return None if found is None else found[_HEAD:]

    def newest_time(self, prefix: bytes, at: int) -> int | None:
        """The time of the newest entry not after `at`."""
        found: bytes | None = self._look((prefix, reversed_time(at), b""))
        return None if found is None else time_of(found[:8])

    def newest_many(self, wanted: Sequence[tuple[bytes, int]]) -> list[bytes | None]:
        """What `newest` gives for each, in one step for a thousand."""
        looks = [(prefix, reversed_time(at), b"") for prefix, at in wanted]
        found = [one for start in range(0, len(looks), 1000) for one in self._fetch(looks[start : start + 1000])]
        return [None if one is None else one[_HEAD:] for one in found]

    def between(self, prefix: bytes, first: int, last: int) -> Iterator[Entry]:
        """Entries with first <= time <= last, newest first."""
        for member in self._look((prefix, reversed_time(last), reversed_time(first))) or ():
            yield time_of(member[:8]), member[_HEAD:]

    def gather(self, work: Callable[[], T]) -> T:
        """Run `work` until all that it looks up is known: a first time to see what that is, then on the answers."""
        self._known = {}
        while True:
            self._missing.clear()
            result = work()
            if not self._missing:
                return result
            looks = list(self._missing)
            self._known.update(zip(looks, self._fetch(looks), strict=True))

    def view(self, digest: str) -> ViewRecord | None:
        """What is held of a definition in this namespace."""
        return self._records().get(digest)

    def views(self) -> list[ViewRecord]:
        """What is held in this namespace."""
        return sorted(self._records().values(), key=lambda record: record.view)

    def records(self) -> Iterator[tuple[str, ViewRecord]]:
        """What is held in this namespace, with its name."""
        return iter([(self._store.namespace, record) for record in self.views()])

    def prefixes(self, track: bytes) -> Iterator[bytes]:
        """The timelines of a track, in the order of their entity keys. It looks at all keys of the server."""
        server = self._store.server
        found = sorted(set(server.matching(server.key(track))))  # a scan may name one twice
        for start in range(0, len(found), 1000):
            some = found[start : start + 1000]
            newest = self.newest_many([(prefix, NEWEST) for prefix in some])
            yield from (prefix for prefix, value in zip(some, newest, strict=True) if value is not None)

    def _look(self, look: Look) -> Any:
        if self._known is None:
            return self._fetch([look])[0]
        if look not in self._known:
            self._missing[look] = None
            return None
        return self._known[look]

    def _fetch(self, looks: Sequence[Look]) -> list[Any]:
        server = self._store.server
        arguments = [part for prefix, low, high in looks for part in (server.key(prefix), low, high)]
        answer = server.run(scripts.READ, [self._store.state], [self._asked, *arguments])
        if answer[0] == b"moved":
            raise Busy(f"A state of {server.name} older than {GRACE_S:g} s was read.", hint="Read again.")
        self._asked = answer[0]
        return list(answer[1:])

    def _records(self) -> dict[str, ViewRecord]:
        if self._held is None:
            found = self._store.server.call("HGETALL", self._store.views)
            decode = msgspec.msgpack.Decoder(ViewRecord).decode
            self._held = {digest.decode(): decode(record) for digest, record in found.items()}
        return self._held


class RedisTransaction(RedisSnapshot):
    """What one writer sees: the head and what it has written itself."""

    def __init__(self, store: RedisStore, writer: _Writer) -> None:
        super().__init__(store, writer.generation)
        self._writer = writer
        self._recorded: dict[str, ViewRecord] = {}

    def put(self, prefix: bytes, entries: Sequence[Entry]) -> None:
        """Write entries to one timeline."""
        self.put_many((prefix + reversed_time(at), value) for at, value in entries)

    def put_many(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Write entries of any timelines, some hundreds in each step."""
        key, left = self._store.server.key, iter(items)
        while some := list(islice(left, CHUNK)):
            self._writer.step(
                scripts.PUT, [part for name, value in some for part in (key(name[:-8]), name[-8:], value)]
            )

    def cut(self, prefix: bytes, first: int) -> int:
        """Remove entries with time >= first."""
        return self.cut_many([(prefix, first)])

    def cut_many(self, wanted: Sequence[tuple[bytes, int]]) -> int:
        """Cut each, some hundreds in each step."""
        key, removed = self._store.server.key, 0
        for start in range(0, len(wanted), CHUNK):
            some = wanted[start : start + CHUNK]
            arguments = [part for prefix, first in some for part in (key(prefix), reversed_time(first))]
            removed += sum(self._writer.step(scripts.CUT, arguments))
        return removed

    def record(self, record: ViewRecord) -> None:
        """Write what is held of a definition, with the rest."""
        self._recorded[record.digest] = record

    def commit(self) -> None:
        """Make all of it visible."""
        encode = msgspec.msgpack.encode
        self._writer.commit([part for d, record in self._recorded.items() for part in (d.encode(), encode(record))])

    def _records(self) -> dict[str, ViewRecord]:
        return {**super()._records(), **self._recorded}


class _Writer:
    """The one writer of a namespace: its lock, its generation, and what it leaves behind."""

    def __init__(self, store: RedisStore) -> None:
        self.generation = 0
        self._store, self._server = store, store.server
        self._token = token()
        self._done = threading.Event()
        self._beat = threading.Thread(target=self._hold, name="hold-redis", daemon=True)

    def __enter__(self) -> _Writer:
        try:
            left = self._acquire()
            self._beat.start()
            if left:
                self._undo(int(left))
            self.sweep(GRACE_S)
            self.generation = int(self._server.run(scripts.START, [self._store.lock, self._store.state], [self._token]))
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.generation:
                with suppress(EnvironmentProblem):  # the server is gone: the next writer takes it back
                    self._undo(self.generation)
        finally:
            self._leave()

    def step(self, script: str, arguments: Sequence[bytes]) -> Any:
        """Write some of it."""
        return self._run(script, self.generation, arguments)

    def commit(self, records: Sequence[bytes]) -> None:
        """Make the generation the head."""
        store, key = self._store, self._server.key
        keys = [store.lock, store.state, self._journal(self.generation), store.views, key(b"n"), store.sweeps]
        said = [b"%d" % self.generation, store.namespace.encode(), b"%d" % (time.time() * 1000)]
        self._server.run(scripts.COMMIT, keys, [self._token, *said, *records])
        self.generation = 0

    def sweep(self, grace: float) -> None:
        """Remove what is hidden by states that are older than `grace` seconds."""
        before = (time.time() - grace) * 1000
        found = self._server.call("HGETALL", self._store.sweeps)
        for generation in sorted(int(one) for one, at in found.items() if float(at) <= before):
            while self._run(scripts.SWEEP, generation, [b"%d" % generation]):
                pass
            self._server.call("HDEL", self._store.sweeps, b"%d" % generation)

    def _undo(self, generation: int) -> None:
        while self._run(scripts.UNDO, generation, []):
            pass
        self._server.call("UNLINK", self._stale(generation))
        self._server.call("HDEL", self._store.state, "attempt")
        self.generation = 0

    def _run(self, script: str, generation: int, arguments: Sequence[bytes]) -> Any:
        name = self._stale(generation) if script is scripts.SWEEP else self._journal(generation)
        keys = [self._store.lock, name, self._store.state if script is scripts.SWEEP else self._stale(generation)]
        return self._server.run(script, keys, [self._token, (_GENERATIONS - generation).to_bytes(6, "big"), *arguments])

    def _journal(self, generation: int) -> bytes:
        return self._server.key(b"j", self._store.namespace.encode(), b"%d" % generation)

    def _stale(self, generation: int) -> bytes:
        return self._server.key(b"o", self._store.namespace.encode(), b"%d" % generation)

    def _acquire(self) -> bytes:
        """Take the lock, also from a writer of this machine that is dead; return the generation that it left."""
        until = time.monotonic() + PATIENCE_S
        while True:
            answer = self._server.run(
                scripts.BEGIN, [self._store.lock, self._store.state], [self._token, b"%d" % HOLD_MS]
            )
            if answer[0] == b"ours":
                return bytes(answer[1])
            if answer[0] is not None and is_dead(answer[0]):
                self._server.run(scripts.LEAVE, [self._store.lock], [answer[0]])
            elif time.monotonic() > until:
                raise Busy(
                    f"Another process writes to branch {self._store.namespace!r} of {self._server.name}.",
                    hint="Try again when it has ended.",
                )
            else:
                time.sleep(0.05)

    def _hold(self) -> None:
        while not self._done.wait(HOLD_MS / 4000):
            with suppress(EnvironmentProblem):
                self._server.run(scripts.HOLD, [self._store.lock], [self._token, b"%d" % HOLD_MS])

    def _leave(self) -> None:
        self._done.set()
        retire(self._token)
        with suppress(EnvironmentProblem):
            self._server.run(scripts.LEAVE, [self._store.lock], [self._token])
        if self._beat.ident is not None:
            self._beat.join()


__all__ = ["TRACK", "RedisSnapshot", "RedisStore", "RedisTransaction"]
