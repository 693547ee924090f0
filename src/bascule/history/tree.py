"""A sorted map from paths to digests as a tree of content-addressed nodes, cut by content.

Where a node ends is decided by the hash of its last key (one key in `FANOUT` ends a node), so equal maps are equal
trees however they came about, changing a path rewrites one node a level, and two trees share every node that holds the
same entries. That makes a commit O(what changed), a branch O(1) and a diff O(what differs). The idea is that of
prolly trees (Noms, Dolt) and of the ranges in lakeFS.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import msgspec
from blake3 import blake3

FANOUT = 64
CACHED_NODES = 20_000
EMPTY = ""

# A node is its level (0 = leaf) and its entries: keys ascending, each with a digest as 32 bytes. In an inner node the
# key is the last key below the child.
Entries = list[tuple[str, bytes]]


class Node(msgspec.Struct, array_like=True, frozen=True):
    """One node as it is stored."""

    level: int
    entries: Entries


decode = msgspec.msgpack.Decoder(Node).decode
_encode = msgspec.msgpack.Encoder().encode

Reader = Callable[[str], bytes]
Writer = Callable[[str, bytes], None]


@dataclass(frozen=True, slots=True)
class _Place:
    """A node found on the way down: its last key, its entries and whether it is the last of its level."""

    last_key: str
    entries: Entries
    is_last: bool


class Tree:
    """Reads and rewrites trees over a pair of functions that load and save nodes by hash. Thread-safe for reading."""

    def __init__(self, read: Reader) -> None:
        self._read = read
        self._cache: OrderedDict[str, Node] = OrderedDict()

    def get(self, root: str, key: str) -> str | None:
        """Return the digest at a key, or None. Costs one cached node a level."""
        if root == EMPTY:
            return None
        node = self._node(root)
        while True:
            at = bisect_left(node.entries, key, key=_key)
            if at == len(node.entries):
                return None
            found, value = node.entries[at]
            if node.level == 0:
                return value.hex() if found == key else None
            node = self._node(value.hex())

    def items(self, root: str, prefix: str = "") -> Iterator[tuple[str, str]]:
        """Iterate over the keys that start with a prefix, in order, with their digests."""
        if root != EMPTY:
            yield from self._below(self._node(root), prefix)

    def _below(self, node: Node, prefix: str) -> Iterator[tuple[str, str]]:
        for key, value in node.entries[bisect_left(node.entries, prefix, key=_key) :]:
            if node.level == 0:
                if not key.startswith(prefix):
                    return
                yield key, value.hex()
            else:
                yield from self._below(self._node(value.hex()), prefix)
                if key > prefix and not key.startswith(prefix):
                    return

    def update(self, root: str, changes: Mapping[str, str | None], write: Writer) -> str:
        """Return the root of the map with some keys set (digest) or removed (None)."""
        edits = {key: bytes.fromhex(value) if value else None for key, value in changes.items()}
        if not edits:
            return root
        if root == EMPTY:
            return self._grow(0, sorted((k, v) for k, v in edits.items() if v is not None), write)
        top = self._node(root).level
        for level in range(top + 1):
            edits = self._rewrite(root, level, edits, write)
        return self._shrink(self._grow(top + 1, sorted((k, v) for k, v in edits.items() if v is not None), write))

    def diff(self, before: str, after: str) -> Iterator[tuple[str, str | None, str | None]]:
        """Iterate over the keys whose digests differ, in order: (key, before, after). Equal nodes are not opened."""
        left, right = [before] if before else [], [after] if after else []
        left_entries: dict[str, bytes] = {}
        right_entries: dict[str, bytes] = {}
        level = max((self._node(h).level for h in (*left, *right)), default=0)
        while left or right:
            common = set(left) & set(right)
            left = self._open([h for h in left if h not in common], level, left_entries)
            right = self._open([h for h in right if h not in common], level, right_entries)
            level -= 1
        for key in sorted(left_entries.keys() | right_entries.keys()):
            old, new = left_entries.get(key), right_entries.get(key)
            if old != new:
                yield key, old.hex() if old else None, new.hex() if new else None

    def _open(self, hashes: Iterable[str], level: int, leaves: dict[str, bytes]) -> list[str]:
        below: list[str] = []
        for name in hashes:
            node = self._node(name)
            if node.level < level:  # a lower tree: it waits until the other has come down
                below.append(name)
            elif node.level == 0:
                leaves.update(node.entries)
            else:
                below.extend(value.hex() for _, value in node.entries)
        return below

    def _rewrite(self, root: str, level: int, edits: dict[str, bytes | None], write: Writer) -> dict[str, bytes | None]:
        """Apply edits to one level; return what they mean for the level above."""
        above: dict[str, bytes | None] = {}
        keys = sorted(edits)
        at = 0
        while at < len(keys):
            place = self._locate(root, level, keys[at])
            entries: dict[str, bytes] = {}
            while True:
                above[place.last_key] = None
                entries.update(place.entries)
                end = len(keys) if place.is_last else bisect_right(keys, place.last_key)
                for key in keys[at:end]:
                    value = edits[key]
                    if value is None:
                        entries.pop(key, None)
                    else:
                        entries[key] = value
                at = end
                # A node that lost its last key runs on into the next one, as it would have from the start.
                if place.is_last or not entries or _ends_node(level, max(entries)):
                    break
                place = self._locate(root, level, place.last_key + "\0")
            for chunk in _chunks(level, sorted(entries.items())):
                above[chunk[-1][0]] = bytes.fromhex(self._save(Node(level, chunk), write))
        return above

    def _locate(self, root: str, level: int, key: str) -> _Place:
        node, is_last = self._node(root), True
        while node.level > level:
            at = min(bisect_left(node.entries, key, key=_key), len(node.entries) - 1)
            is_last = is_last and at == len(node.entries) - 1
            node = self._node(node.entries[at][1].hex())
        return _Place(node.entries[-1][0], node.entries, is_last)

    def _grow(self, level: int, entries: Entries, write: Writer) -> str:
        """Build levels upwards until one node holds them all; `entries` belong to `level`."""
        if not entries:
            return EMPTY
        while level == 0 or len(entries) > 1:
            chunks = list(_chunks(level, entries))
            entries = [(chunk[-1][0], bytes.fromhex(self._save(Node(level, chunk), write))) for chunk in chunks]
            level += 1
        return entries[0][1].hex()

    def _shrink(self, root: str) -> str:
        while root and (node := self._node(root)).level > 0 and len(node.entries) == 1:
            root = node.entries[0][1].hex()
        return root

    def _save(self, node: Node, write: Writer) -> str:
        body = _encode(node)
        name = blake3(body).hexdigest()
        write(name, body)
        self._remember(name, node)
        return name

    def _node(self, name: str) -> Node:
        node = self._cache.get(name)
        if node is None:
            node = decode(self._read(name))
            self._remember(name, node)
        return node

    def _remember(self, name: str, node: Node) -> None:
        self._cache[name] = node
        while len(self._cache) > CACHED_NODES:
            self._cache.popitem(last=False)


def _key(entry: tuple[str, bytes]) -> str:
    return entry[0]


def _ends_node(level: int, key: str) -> bool:
    # The level is part of what is hashed, or a key that ends a leaf would end every node above it too.
    return int.from_bytes(blake3(f"{level}\0{key}".encode()).digest(4), "big") < 2**32 // FANOUT


def _chunks(level: int, entries: Entries) -> Iterator[Entries]:
    start = 0
    for at, (key, _) in enumerate(entries):
        if _ends_node(level, key):
            yield entries[start : at + 1]
            start = at + 1
    if start < len(entries):
        yield list(itertools.islice(entries, start, None))
