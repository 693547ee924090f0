"""Packed contents: looked into within bounds, and packed anew in the same form without what leaves them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import IO, Any

import pyarrow as pa

from bascule.sizes import format_size

# Texts shrink to a tenth or a fiftieth; what unpacks to more than this is made to fill a memory.
RATIO = 250
SMALL, MOST = 64 << 20, 512 << 20  # what may come out of any file, and out of the largest
PASSED = 1 << 30  # what may come out of any table, of which only a part is held at a time
MEMBERS = 10_000
DEPTH = 3  # a .csv.gz in a .tar.gz
CHUNK = 1 << 20
ZIP, TAR = "zip", "tar"
MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\x00": "xz",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": ZIP,
    **dict.fromkeys([b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"], "zlib"),
}
HEADER = 4096  # bytes of a .gz, in which the name of its file stands after the first ten
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    pa.ArrowException,
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)


class Unread(Exception):
    """Contents could not be looked into; the text is why, and names nobody."""


class Room:
    """How many bytes may still come out of a file and of all that is packed in it."""

    def __init__(self, packed: int) -> None:
        """Make the room that a file of so many bytes has."""
        self.most = self.left = min(MOST, max(SMALL, packed * RATIO))
        self._seen, self._to_see = 0, max(PASSED, packed * RATIO)

    def take(self, count: int) -> None:
        """Use some of it; raise `Unread` when there is not so much."""
        self.left -= count
        if self.left < 0:
            raise Unread(f"unpacks to more than {format_size(self.most)}")

    def see(self, count: int) -> None:
        """Note bytes that are looked at in passing; raise `Unread` when a file of its size cannot have so many."""
        self._seen += count
        if self._seen > self._to_see:
            raise Unread(f"unpacks to more than {format_size(self._to_see)}")

    def again(self) -> None:
        """Begin to look at it anew."""
        self._seen = 0


def packing(data: bytes) -> str:
    """Return how contents are packed, by their first bytes; empty when they are not."""
    if data[257:262] == b"ustar":
        return TAR
    return next((kind for magic, kind in MAGIC.items() if data.startswith(magic)), "")


def repacked(data: bytes, room: Room, clean: Callable[[bytes], bytes], named: Callable[[str], str]) -> bytes:
    """Return packed contents with what is in them cleaned; as they are when nothing of it changes.

    Args:
        room: what may come out.
        clean: gives the contents of a member without what is to leave.
        named: gives the name of a member without it.

    Raises:
        Unread: they are damaged, encrypted or a bomb.
    """
    kind = packing(data)
    try:
        if kind == ZIP:
            return _zip(data, room, clean, named)
        if kind == TAR:
            return _tar(data, room, clean, named)
        plain = unpacked(data, kind, room)
    except DAMAGE as error:
        if kind == "zlib":  # a text may begin so, too
            raise Unread("") from None
        why = "is encrypted" if "encrypted" in str(error) else "is damaged, or packed in a way that is not known"
        raise Unread(why) from None
    after = clean(plain)
    head = data[10:HEADER].decode("latin-1") if kind == "gzip" else ""
    if after == plain and named(head) == head:
        return data
    return _packed(after, kind)


def unpacked(data: bytes, kind: str, room: Room) -> bytes:
    """Return what one compressed stream of a kind holds."""
    source: Any = io.BytesIO(data)
    if kind == "zlib":
        return inflated(data, room)
    if kind == "gzip":
        return _all(gzip.GzipFile(fileobj=source), room)
    if kind == "bz2":
        return _all(bz2.BZ2File(source), room)
    if kind == "xz":
        return _all(lzma.LZMAFile(source), room)
    return _all(pa.CompressedInputStream(pa.BufferReader(data), kind), room)


def _packed(data: bytes, kind: str) -> bytes:
    if kind == "gzip":
        return gzip.compress(data, 6, mtime=0)
    if kind == "zlib":
        return zlib.compress(data)
    if kind == "bz2":
        return bz2.compress(data)
    return lzma.compress(data) if kind == "xz" else bytes(pa.compress(data, codec=kind, asbytes=True))


def _all(source: IO[bytes] | Any, room: Room) -> bytes:
    found = bytearray()
    with source:
        while chunk := source.read(CHUNK):  # what comes is counted: what a header says may be a lie
            room.take(len(chunk))
            found += chunk
    return bytes(found)


def inflated(data: bytes, room: Room, *, raw: bool = False) -> bytes:
    """Return what a stream of zlib holds, or one of bare deflate."""
    unpacking, found = zlib.decompressobj(-zlib.MAX_WBITS if raw else zlib.MAX_WBITS), bytearray()
    while not unpacking.eof:
        chunk = unpacking.decompress(data, CHUNK)
        if not chunk and not unpacking.unconsumed_tail and not unpacking.eof:
            raise EOFError
        room.take(len(chunk))
        found += chunk
        data = unpacking.unconsumed_tail
    if unpacking.unused_data and not raw:  # writers of Avro leave a part of the sum behind it
        raise ValueError("something follows")
    return bytes(found)


def _zip(data: bytes, room: Room, clean: Callable[[bytes], bytes], named: Callable[[str], str]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as before:
        infos = before.infolist()
        if len(infos) > MEMBERS:
            raise Unread(f"holds more than {MEMBERS:,} files")
        fresh: dict[int, bytes] = {}
        said = clean(before.comment) != before.comment
        for n, info in enumerate(infos):
            body = _all(before.open(info), room)
            after = clean(body)
            if after != body:
                fresh[n] = after
            said |= named(info.filename) != info.filename
            said |= any(clean(part) != part for part in (info.comment, info.extra))
        if not fresh and not said:
            return data
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w") as target:
            target.comment = clean(before.comment)
            for n, info in enumerate(infos):
                new = zipfile.ZipInfo(named(info.filename), info.date_time)
                new.compress_type, new.create_system = info.compress_type, info.create_system
                new.external_attr, new.comment = info.external_attr, clean(info.comment)
                target.writestr(new, fresh[n] if n in fresh else before.read(info))
    return sink.getvalue()


def _tar(data: bytes, room: Room, clean: Callable[[bytes], bytes], named: Callable[[str], str]) -> bytes:
    sink, changed = io.BytesIO(), False
    with (
        tarfile.open(fileobj=io.BytesIO(data), mode="r:") as before,
        tarfile.open(fileobj=sink, mode="w:", format=tarfile.PAX_FORMAT) as after,
    ):
        for n, info in enumerate(before):
            if n >= MEMBERS:
                raise Unread(f"holds more than {MEMBERS:,} files")
            source = before.extractfile(info) if info.isreg() else None
            body = _all(source, room) if source is not None else b""
            kept = clean(body)
            told = {name: named(getattr(info, name)) for name in ("name", "linkname", "uname", "gname")}
            headers = {key: named(text) for key, text in info.pax_headers.items() if key not in ("path", "linkpath")}
            changed |= kept != body or any(getattr(info, name) != text for name, text in told.items())
            changed |= any(headers[key] != info.pax_headers[key] for key in headers)
            for name, text in told.items():
                setattr(info, name, text)
            info.pax_headers, info.size = headers, len(kept)
            after.addfile(info, io.BytesIO(kept))
    return sink.getvalue() if changed else data
