"""HPACK's Huffman code (RFC 7541, appendix B): texts that other clients packed, unpacked. We never pack."""

from __future__ import annotations

from functools import cache

from bascule.serving.http2.frames import COMPRESSION, Http2Problem

# How many bits each byte's code has, and the end-of-string's. The codes themselves follow: they are canonical.
# fmt: off
BITS = (
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28,
    28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15,
    6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22,
    20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23,
    23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22,
    22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26,
    27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27,
    26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
)
# fmt: on
END = 256
MOST_PADDING = 7

# For each place in the code's tree and each half byte: the place after it, and the byte that was completed, if any.
Step = tuple[int, int]
_NOTHING = -1


def unpacked(data: bytes) -> bytes:
    """Return a text without its code.

    Raises:
        Http2Problem: it ends in the midst of a code, or holds the end of the string.
    """
    steps, ends = _machine()
    place = 0
    found = bytearray()
    for byte in data:
        for half in (byte >> 4, byte & 15):
            step = steps[place][half]
            if step is None:
                raise Http2Problem(COMPRESSION, "a text holds the end of the string")
            place, completed = step
            if completed != _NOTHING:
                found.append(completed)
    if not ends[place]:
        raise Http2Problem(COMPRESSION, "a text ends in the midst of a code")
    return bytes(found)


@cache
def _machine() -> tuple[list[list[Step | None]], list[bool]]:
    """Return the steps, and for each place whether a text may end there: on up to seven ones that begin the end."""
    tree: list[list[int | None]] = [[None, None]]  # a child is a place in the tree, or -1 - byte
    padding = [0]  # places on the way of ones only, by their depth
    for symbol, code, bits in _codes():
        place = 0
        for shift in range(bits - 1, 0, -1):
            bit = code >> shift & 1
            child = tree[place][bit]
            if child is None:
                child = tree[place][bit] = len(tree)
                tree.append([None, None])
            place = child
        tree[place][code & 1] = -1 - symbol
    place = 0
    for _ in range(MOST_PADDING):
        child = tree[place][1]
        assert child is not None
        padding.append(child)
        place = child
    return [[_step(tree, at, half) for half in range(16)] for at in range(len(tree))], [
        at in padding for at in range(len(tree))
    ]


def _step(tree: list[list[int | None]], place: int, half: int) -> Step | None:
    completed = _NOTHING
    for shift in (3, 2, 1, 0):
        child = tree[place][half >> shift & 1]
        assert child is not None
        if child >= 0:
            place = child
        elif child == -1 - END:
            return None
        else:
            completed, place = -1 - child, 0  # the shortest code has five bits: no half byte completes two
    return place, completed


def _codes() -> list[tuple[int, int, int]]:
    """Return (byte, code, bits): codes count up in the order of their lengths, then of the bytes."""
    found = []
    code = bits = 0
    for symbol in sorted(range(END + 1), key=lambda one: (BITS[one], one)):
        code <<= BITS[symbol] - bits
        bits = BITS[symbol]
        found.append((symbol, code, bits))
        code += 1
    return found
