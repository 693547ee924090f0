"""Packs: blobs that hold many small things one after the other. They are written whole and read by range.

So a store is asked once for thousands of files, and an object store that charges and waits by the request is fast.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from bascule.errors import EnvironmentProblem, NotFound
from bascule.lake.filesets.entries import Digest
from bascule.store import BlobStore

# A pack is closed when it has so many bytes or things; the count bounds what waits for its name.
PACK, MOST = 32 << 20, 20_000
# One read takes at most so much, and steps over a gap rather than ask twice.
SPAN, GAP = 8 << 20, 64 << 10
UPLOADS, AHEAD = 2, 4


class Placed(Protocol):
    """What lies in a pack."""

    pack: Digest
    offset: int
    length: int


_Item = TypeVar("_Item", bound=Placed)


class PackWriter:
    """Puts things into packs, and packs into a store, in the background.

    A thing's `pack` is set when its pack is durable. Use it from one thread.

    Args:
        closed: called when a pack is closed; what is added from then on is in a later one.
        named: called with a pack's name and its things when it is durable, in the order in which they were closed.
    """

    def __init__(
        self,
        store: BlobStore,
        *,
        closed: Callable[[], None] = lambda: None,
        named: Callable[[Digest, Sequence[Placed]], None] = lambda digest, things: None,
    ) -> None:
        self.store, self.bytes = store, 0
        self._closed, self._named = closed, named
        self._parts, self._size, self._things = list[bytes](), 0, list[Placed]()
        self._alike: list[tuple[Placed, Placed]] = []
        self._uploads = ThreadPoolExecutor(UPLOADS, thread_name_prefix="packs")
        self._waiting: deque[tuple[list[Placed], Future[str]]] = deque()

    def add(self, data: bytes, thing: Placed) -> None:
        """Put the bytes of a thing behind the others, and say so in it."""
        thing.offset, thing.length = self._size, len(data)
        self._size += len(data)
        self._parts.append(data)
        self._things.append(thing)
        # Closed after and not before: what a thing says of itself, it says of the pack that it is in.
        if self._size >= PACK or len(self._things) >= MOST:
            self.close_pack()

    def again(self, thing: Placed, like: Placed) -> None:
        """Say of a thing that it is where another one is, whose pack may have no name yet."""
        thing.offset, thing.length, thing.pack = like.offset, like.length, like.pack
        if like.length and not like.pack:
            self._alike.append((thing, like))

    def close_pack(self) -> None:
        """Begin to store the pack that is open."""
        if not self._things:
            return
        parts, things = self._parts, self._things
        self.bytes += self._size
        self._parts, self._size, self._things = [], 0, []
        self._closed()
        self._wait(UPLOADS - 1)
        self._waiting.append((things, self._uploads.submit(_put, self.store, parts)))

    def settle(self) -> None:
        """Wait until every closed pack is durable and has its name."""
        self._wait(0)

    def finish(self) -> None:
        """Wait until all is durable. Raises what the store raised."""
        self.close_pack()
        self.settle()

    def close(self) -> None:
        """Give up what is not stored; what is on its way is waited for, and told."""
        self._uploads.shutdown(wait=True, cancel_futures=True)
        while self._waiting:
            things, future = self._waiting.popleft()
            if not future.cancelled() and future.exception() is None:
                self._name(things, future.result())

    def _wait(self, most: int) -> None:
        while len(self._waiting) > most:
            things, future = self._waiting.popleft()
            self._name(things, future.result())

    def _name(self, things: list[Placed], name: str) -> None:
        digest = bytes.fromhex(name)
        for thing in things:
            thing.pack = digest
        for thing, like in self._alike:
            thing.pack = like.pack
        self._alike = [pair for pair in self._alike if not pair[1].pack]
        self._named(digest, things)


def _put(store: BlobStore, parts: list[bytes]) -> str:
    # Joined here, in the background: so much is copied without the interpreter's lock.
    data = b"".join(parts)
    parts.clear()
    return store.put(data)


@dataclass(frozen=True, slots=True)
class Span(Generic[_Item]):
    """Things of one pack that are read at once: from `begin` to `end`."""

    pack: Digest
    begin: int
    end: int
    items: list[_Item]


def spans(items: Iterable[_Item]) -> Iterator[Span[_Item]]:
    """Gather things, in the order they come, into reads. Things of another pack, or far behind, begin a new one."""
    span: Span[_Item] | None = None
    for item in items:
        end = item.offset + item.length
        if span is not None and item.pack == span.pack and span.begin <= item.offset <= span.end + GAP:
            furthest = max(end, span.end)
            if furthest - span.begin <= SPAN:
                span.items.append(item)
                if furthest > span.end:
                    span = Span(span.pack, span.begin, furthest, span.items)
                continue
        if span is not None:
            yield span
        span = Span(item.pack, item.offset, end, [item])
    if span is not None:
        yield span


def read_items(store: BlobStore, items: Iterable[_Item], where: str) -> Iterator[tuple[_Item, bytes]]:
    """Read things from their packs, in order, a few reads ahead. Their bytes are not verified.

    Args:
        where: what they belong to, for the message.

    Raises:
        EnvironmentProblem: a pack is missing or too short.
    """
    for span, data in _ahead(store, spans(items), where):
        for item in span.items:
            begin = item.offset - span.begin
            yield item, data[begin : begin + item.length]


def _ahead(store: BlobStore, planned: Iterator[Span[_Item]], where: str) -> Iterator[tuple[Span[_Item], bytes]]:
    first = next(planned, None)
    if first is None:
        return
    second = next(planned, None)
    if second is None:  # no pool for a single read
        yield first, read_span(store, first.pack, first.begin, first.end - first.begin, where)
        return
    with ThreadPoolExecutor(AHEAD, thread_name_prefix="reads") as pool:
        waiting: deque[tuple[Span[_Item], Future[bytes]]] = deque()
        try:
            for span in _chained(first, second, planned):
                waiting.append(
                    (span, pool.submit(read_span, store, span.pack, span.begin, span.end - span.begin, where))
                )
                if len(waiting) > AHEAD:
                    done, future = waiting.popleft()
                    yield done, future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _chained(*parts: Span[_Item] | Iterator[Span[_Item]]) -> Iterator[Span[_Item]]:
    for part in parts:
        if isinstance(part, Span):
            yield part
        else:
            yield from part


def read_span(store: BlobStore, pack: Digest, offset: int, length: int, where: str) -> bytes:
    """Read a part of a pack. Raises `EnvironmentProblem` that says what it was needed for."""
    if not length:
        return b""
    try:
        return store.read(pack.hex(), offset, length)
    except NotFound:
        raise missing(pack, where, store) from None


def missing(blob: Digest, where: str, store: BlobStore) -> EnvironmentProblem:
    """Return the error for a blob that a set needs and the store has not."""
    return EnvironmentProblem(
        f"{where} cannot be read: the blob {blob.hex()[:16]} that it needs is not in {store.url.split('?')[0]}.",
        hint=WAY_BACK,
    )


def damaged(what: str, blob: Digest, where: str, store: BlobStore) -> EnvironmentProblem:
    """Return the error for bytes that are not those which were stored."""
    return EnvironmentProblem(
        f"{what} in {where} is damaged: the blob {blob.hex()[:16]} in {store.url.split('?')[0]} "
        "does not hold what was stored.",
        hint=WAY_BACK,
    )


WAY_BACK = (
    "Restore the blob from a copy of the store, or add the files again from where they came; "
    "`bascule doctor` lists what is missing, `bascule files list NAME --at main~1` what an earlier commit has."
)
