"""HPACK (RFC 7541): the headers of HTTP/2. What clients send is read in full; what we send is written out plainly."""

from __future__ import annotations

from collections import deque

from bascule.serving.http2.frames import CALM, COMPRESSION, Http2Problem
from bascule.serving.http2.huffman import unpacked

Header = tuple[bytes, bytes]

STATIC: tuple[Header, ...] = (
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
)
PER_HEADER = 32
TABLE_BYTES = 4_096
MOST_REMEMBERED = 256
_MOST_SHIFT = 28


class HeaderReader:
    """Reads the header blocks of one connection, in the order in which they come.

    Args:
        most: bytes that the headers of one request may have, 32 more counted for each.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._table: deque[Header] = deque()
        self._size = 0
        self._allowed = TABLE_BYTES
        self._remembered: dict[bytes, list[Header]] = {}  # blocks that changed nothing, since the table last changed

    def read(self, block: bytes) -> list[Header]:
        """Return the headers of a block. The list is not the caller's to change.

        Raises:
            Http2Problem: the block is not HPACK, or has too many bytes; the connection cannot go on.
        """
        known = self._remembered.get(block)
        if known is not None:
            return known
        found: list[Header] = []
        at = size = 0
        changed = False
        while at < len(block):
            first = block[at]
            if first & 0x80:
                place, at = _integer(block, at, 7)
                header = self._at(place)
            elif first & 0x60 == 0x20:
                at = self._resize(block, at, bool(found))
                changed = True
                continue
            else:
                keep = bool(first & 0x40)
                header, at = self._literal(block, at, 6 if keep else 4)
                if keep:
                    changed = True
                    self._keep(header)
            size += len(header[0]) + len(header[1]) + PER_HEADER
            if size > self._most:
                raise Http2Problem(CALM, f"the headers have more than {self._most:,} bytes")
            found.append(header)
        if changed:
            self._remembered.clear()
        elif len(self._remembered) < MOST_REMEMBERED:
            self._remembered[block] = found
        return found

    def _literal(self, block: bytes, at: int, bits: int) -> tuple[Header, int]:
        place, at = _integer(block, at, bits)
        if place:
            name = self._at(place)[0]
        else:
            name, at = _text(block, at)
        value, at = _text(block, at)
        return (name, value), at

    def _at(self, place: int) -> Header:
        if 0 < place <= len(STATIC):
            return STATIC[place - 1]
        place -= len(STATIC) + 1
        if not 0 <= place < len(self._table):
            raise Http2Problem(COMPRESSION, "a header is named by a place that holds none")
        return self._table[place]

    def _keep(self, header: Header) -> None:
        self._size += len(header[0]) + len(header[1]) + PER_HEADER
        self._table.appendleft(header)
        self._evict()

    def _resize(self, block: bytes, at: int, late: bool) -> int:
        size, at = _integer(block, at, 5)
        if late or size > TABLE_BYTES:
            raise Http2Problem(COMPRESSION, "the header table is given a size that it cannot have")
        self._allowed = size
        self._evict()
        return at

    def _evict(self) -> None:
        while self._size > self._allowed:
            name, value = self._table.pop()
            self._size -= len(name) + len(value) + PER_HEADER


def literal(name: bytes, value: bytes) -> bytes:
    """Return a header as it is written out, kept in no table."""
    return b"\x00" + _sized(name) + _sized(value)


def _sized(text: bytes) -> bytes:
    size = len(text)
    if size < 127:
        return bytes((size,)) + text
    size -= 127
    head = bytearray(b"\x7f")
    while size >= 128:
        head.append(size & 127 | 128)
        size >>= 7
    head.append(size)
    return bytes(head) + text


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    most = (1 << bits) - 1
    value = block[at] & most
    at += 1
    if value < most:
        return value, at
    shift = 0
    while at < len(block):
        byte = block[at]
        at += 1
        value += (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > _MOST_SHIFT:
            raise Http2Problem(COMPRESSION, "a number is too large")
    raise Http2Problem(COMPRESSION, "a header block ends in a number")


def _text(block: bytes, at: int) -> tuple[bytes, int]:
    if at >= len(block):
        raise Http2Problem(COMPRESSION, "a header block ends before a text")
    packed = block[at] & 0x80
    size, at = _integer(block, at, 7)
    end = at + size
    if end > len(block):
        raise Http2Problem(COMPRESSION, "a header block ends in a text")
    text = block[at:end]
    return (unpacked(text) if packed else text), end
