"""The manifest of a set: its entries, sorted by path, cut into segments by content.

As in `history.tree`, where a segment ends is decided by a hash of its last path, so equal sets are cut equally and a
change rewrites one segment of some 500 entries; all others are shared between versions. A node lists some 64 segments,
and the root lists the nodes. Each reference says the digest of the *content* below it (paths, modes, digests of files),
so that two versions are compared without opening what they share, and wherever their bytes are. Segments, nodes and
root of a version lie in one pack.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, pairwise
from typing import Annotated, Any

import msgspec
from blake3 import blake3
from msgspec import Meta

from bascule.errors import EnvironmentProblem
from bascule.lake.filesets.entries import KIND, PREFIX, Count, Digest, Entry, Object
from bascule.lake.filesets.packs import PackWriter, damaged, read_items, read_span
from bascule.store import BlobStore

SEGMENT, NODE = 512, 64
VERSION = 1
CACHED = 64
LARGEST_PART = 1 << 28

Edit = tuple[str, Entry | None]


class Ref(msgspec.Struct, array_like=True):
    """A segment or a node.

    Attributes:
        last: the last path below it.
        content: the identity of the content below it.
        digest: BLAKE3 of its bytes as they are stored.
        pack: where it is; empty in a node means the node's own pack.
        files, bytes: below it.
    """

    last: str
    content: Digest
    digest: Digest
    files: Count
    bytes: Count
    pack: Annotated[Digest, Meta(max_length=32)] = b""
    offset: Count = 0
    length: Count = 0


class Root(msgspec.Struct, array_like=True):
    """The root as it is stored."""

    version: int
    nodes: list[Ref]


_encode = msgspec.msgpack.Encoder().encode
_entries = msgspec.msgpack.Decoder(list[Entry]).decode
_refs = msgspec.msgpack.Decoder(list[Ref]).decode
_root = msgspec.msgpack.Decoder(Root).decode


class Manifest:
    """One version of a set, read as far as it is asked for.

    Args:
        value: its object; None for a set without files.
        where: what it is called in messages.
    """

    def __init__(self, store: BlobStore, value: Mapping[str, Any] | None, where: str = "") -> None:
        self.store, self.value = store, value
        self.where = where or "A file set"
        self._nodes: list[Ref] | None = None
        self._parts: OrderedDict[Digest, list[Any]] = OrderedDict()

    @property
    def nodes(self) -> list[Ref]:
        """The references of the root."""
        if self._nodes is None:
            self._nodes = self._read_root() if self.value else []
        return self._nodes

    def segments(self, nodes: Iterable[Ref] | None = None) -> Iterator[Ref]:
        """Iterate over the references of the segments, in order."""
        below = self.nodes if nodes is None else nodes
        for node, body in read_items(self.store, below, self.where):
            yield from self._node(node, body)

    def entries(self, segments: Iterable[Ref] | None = None) -> Iterator[Entry]:
        """Iterate over the entries in order, or those of some segments. Their paths are not checked here.

        Raises:
            EnvironmentProblem: a part is missing or damaged.
        """
        below = self.segments() if segments is None else segments
        return chain.from_iterable(self._segment(ref, body) for ref, body in read_items(self.store, below, self.where))

    def find(self, path: str) -> Entry | None:
        """Return the entry of a path, or None. Reads one node and one segment, of which the last ones are kept."""
        node = next((ref for ref in self.nodes if path <= ref.last), None)
        if node is None:
            return None
        segment = next(ref for ref in self._kept(node, self._node) if path <= ref.last)
        return next((entry for entry in self.entries_of(segment) if entry.path == path), None)

    def entries_of(self, segment: Ref) -> list[Entry]:
        """Return the entries of one segment, of which the last ones that were asked for are kept."""
        found: list[Entry] = self._kept(segment, self._segment)
        return found

    def below(self, prefix: str) -> Iterator[Entry]:
        """Iterate over the entries whose paths begin so, in order; segments without such are not read."""
        nodes = _covering(self.nodes, prefix)
        for entry in self.entries(_covering(self.segments(nodes), prefix)):
            if entry.path.startswith(prefix):
                yield entry

    def packs(self) -> Iterator[Digest]:
        """Iterate over the packs in which the manifest itself is."""
        if self.value:
            yield bytes.fromhex(self.value["manifest"])
        yield from (ref.pack for ref in self.nodes)
        yield from (ref.pack for ref in self.segments())

    # Inside ----------------------------------------------------------------------------------------------------------

    def _kept(self, ref: Ref, read: Any) -> list[Any]:
        found = self._parts.get(ref.digest)
        if found is None:
            found = read(ref, read_span(self.store, ref.pack, ref.offset, ref.length, self.where))
            self._parts[ref.digest] = found
            while len(self._parts) > CACHED:
                self._parts.popitem(last=False)
        else:
            self._parts.move_to_end(ref.digest)
        return found

    def _read_root(self) -> list[Ref]:
        assert self.value is not None
        pack, offset, length = (self.value[name] for name in ("manifest", "offset", "length"))
        body = read_span(self.store, bytes.fromhex(pack), offset, length, self.where)
        root = self._decoded(_root, body, bytes.fromhex(pack))
        if root.version != VERSION:
            raise EnvironmentProblem(
                f"{self.where} has a manifest of version {root.version}; this Bascule reads {VERSION}.",
                hint="Install a newer Bascule.",
            )
        return self._resolved(root.nodes, bytes.fromhex(pack))

    def _node(self, ref: Ref, body: bytes) -> list[Ref]:
        found: list[Ref] = self._decoded(_refs, self._verified(ref, body), ref.pack)
        self._in_order(ref, [one.last for one in found])
        return self._resolved(found, ref.pack)

    def _segment(self, ref: Ref, body: bytes) -> list[Entry]:
        found: list[Entry] = self._decoded(_entries, self._verified(ref, body), ref.pack)
        self._in_order(ref, [one.path for one in found])
        return found

    def _verified(self, ref: Ref, body: bytes) -> bytes:
        if blake3(body).digest() != ref.digest:
            raise damaged("The manifest", ref.pack, self.where, self.store)
        return body

    def _in_order(self, ref: Ref, keys: list[str]) -> None:
        ascending = all(a < b for a, b in pairwise(keys))
        if not keys or keys[-1] != ref.last or not ascending:
            raise damaged("The order of the manifest", ref.pack, self.where, self.store)

    def _decoded(self, decode: Any, body: bytes, pack: Digest) -> Any:
        try:
            opened = zlib.decompressobj()
            data = opened.decompress(body, LARGEST_PART)
            if opened.unconsumed_tail:
                raise ValueError("too large")
            return decode(data)
        except (zlib.error, msgspec.DecodeError, ValueError) as error:
            raise damaged("The manifest", pack, self.where, self.store) from error

    def _resolved(self, refs: list[Ref], own: Digest) -> list[Ref]:
        for ref in refs:
            ref.pack = ref.pack or own
        return refs


def _covering(refs: Iterable[Ref], prefix: str) -> Iterator[Ref]:
    """Iterate over the references that can have paths with a prefix below them."""
    for ref in refs:
        if ref.last >= prefix:
            yield ref
            if ref.last[: len(prefix)] > prefix:
                return


class ManifestWriter:
    """Writes the next version of a manifest: what did not change is referred to, not written."""

    def __init__(self, base: Manifest) -> None:
        self.base = base
        self._packs = PackWriter(base.store)
        self._refs: list[Ref] = []
        self._tail: list[Entry] = []

    @property
    def bytes(self) -> int:
        """How many bytes were written."""
        return self._packs.bytes

    def write(self, edits: Iterator[Edit]) -> Object | None:
        """Apply edits, in the order of their paths, and return the object of the new version; None without files.

        Without edits it is the version that there was.

        When it is returned, everything it refers to of the manifest is durable.
        """
        try:
            edit = next(edits, None)
            if edit is None:
                return dict(self.base.value) if self.base.value else None
            segments = list(self.base.segments())
            for at, segment in enumerate(segments):
                is_open = at == len(segments) - 1 and not _ends(segment.last, SEGMENT)
                touched = edit is not None and (is_open or edit[0] <= segment.last)
                if not touched and not self._tail:
                    self._refs.append(segment)
                    continue
                for entry in self.base.entries([segment]):
                    while edit is not None and edit[0] < entry.path:
                        self._put(edit[1])
                        edit = next(edits, None)
                    if edit is not None and edit[0] == entry.path:
                        self._put(edit[1])
                        edit = next(edits, None)
                    else:
                        self._put(entry)
            while edit is not None:
                self._put(edit[1])
                edit = next(edits, None)
            self._cut()
            return self._finish()
        finally:
            self._packs.close()

    def empty(self) -> Object:
        """Write the manifest of no file and return its object: of a version all of whose files were forgotten."""
        root = Ref("", b"", b"", 0, 0)
        try:
            self._packs.add(zlib.compress(_encode(Root(VERSION, [])), 1), root)
            self._packs.finish()
        finally:
            self._packs.close()
        return _object(root, blake3(b"").hexdigest())

    def _put(self, entry: Entry | None) -> None:
        if entry is not None:
            self._tail.append(entry)
            if _ends(entry.path, SEGMENT):
                self._cut()

    def _cut(self) -> None:
        if not self._tail:
            return
        entries, self._tail = self._tail, []
        named = b"".join(b"%b\0%d%b" % (e.path.encode(), e.mode, e.digest) for e in entries)
        size = sum(entry.size for entry in entries)
        body = zlib.compress(_encode(entries), 1)
        ref = Ref(entries[-1].path, blake3(named).digest(), blake3(body).digest(), len(entries), size)
        self._packs.add(body, ref)
        self._refs.append(ref)

    def _finish(self) -> Object | None:
        if not self._refs:
            return None
        had = {_identity(list(refs)): node for node, refs in self._old_nodes()}
        nodes = [self._node(refs, had) for refs in _cut_refs(self._refs)]
        content = blake3(b"".join(node.content for node in nodes)).hexdigest()
        root = Ref("", b"", b"", sum(node.files for node in nodes), sum(node.bytes for node in nodes))
        self._packs.settle()
        self._packs.add(zlib.compress(_encode(Root(VERSION, nodes)), 1), root)
        self._packs.finish()
        return _object(root, content)

    def _old_nodes(self) -> Iterator[tuple[Ref, list[Ref]]]:
        for node in self.base.nodes:
            yield node, list(self.base.segments([node]))

    def _node(self, refs: list[Ref], had: Mapping[Digest, Ref]) -> Ref:
        if (old := had.get(_identity(refs))) is not None:
            return old
        content = blake3(b"".join(ref.content for ref in refs)).digest()
        self._packs.settle()  # whatever has no name now is in the open pack, which is the node's own
        body = zlib.compress(_encode(refs), 1)
        files, size = sum(ref.files for ref in refs), sum(ref.bytes for ref in refs)
        node = Ref(refs[-1].last, content, blake3(body).digest(), files, size)
        self._packs.add(body, node)
        return node


def _object(root: Ref, content: str) -> Object:
    return {
        "kind": KIND,
        "manifest": root.pack.hex(),
        "offset": root.offset,
        "length": root.length,
        "digest": content,
        "files": root.files,
        "bytes": root.bytes,
    }


def _identity(refs: list[Ref]) -> Digest:
    return blake3(b"".join(b"%b%b%d," % (ref.digest, ref.pack, ref.offset) for ref in refs)).digest()


def _cut_refs(refs: list[Ref]) -> Iterator[list[Ref]]:
    start = 0
    for at, ref in enumerate(refs):
        if _ends(f"\0{ref.last}", NODE) or at == len(refs) - 1:
            yield refs[start : at + 1]
            start = at + 1


def _ends(path: str, one_in: int) -> bool:
    # A CRC is fast and its bits depend on each other linearly; the product mixes them.
    return (zlib.crc32(path.encode()) * 0x9E3779B1 & 0xFFFFFFFF) < 0x100000000 // one_in


def diff(before: Manifest, after: Manifest) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Iterate over the entries that differ between two versions, in the order of their paths.

    Nodes and segments with the same content are not opened.
    """
    left, right = _without_common(before.nodes, after.nodes)
    left, right = _without_common(list(before.segments(left)), list(after.segments(right)))
    olds, news = before.entries(left), after.entries(right)
    old, new = next(olds, None), next(news, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old.path < new.path):
            yield old, None
            old = next(olds, None)
        elif old is None or new.path < old.path:
            yield None, new
            new = next(news, None)
        else:
            if not old.same(new):
                yield old, new
            old, new = next(olds, None), next(news, None)


def _without_common(left: list[Ref], right: list[Ref]) -> tuple[list[Ref], list[Ref]]:
    common = {(ref.content, ref.last) for ref in left} & {(ref.content, ref.last) for ref in right}
    return (
        [ref for ref in left if (ref.content, ref.last) not in common],
        [ref for ref in right if (ref.content, ref.last) not in common],
    )


def manifest_of(store: BlobStore, value: Mapping[str, Any] | None, name: str = "") -> Manifest:
    """Return the manifest of an object."""
    return Manifest(store, value, f"{PREFIX}{name}" if name else "")
