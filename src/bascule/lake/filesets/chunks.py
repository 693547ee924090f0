"""Where a large file is cut into chunks: by its content, so that a change moves no cut but those beside it.

The rule is that of FastCDC: a gear hash of the last 16 bytes runs over the file, and where it has a certain value a
chunk may end; near the wished size more places will do than before it. Python has no loop that is fast enough, so the
hash of every place is computed at once: `h[i] = Σ g(b[i-k]) << k` is a sum of shifted arrays, and doubling the number
of summands takes four additions instead of fifteen. 16 bits are enough for one place in 65,536; which of those counts
is decided by a hash of what stands before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from blake3 import blake3

SMALLEST, WISHED, LARGEST = 128 << 10, 512 << 10, 2 << 20
# Of the places that the gear hash offers (one in 64 KB), every 16th is taken before the wished size, every 4th after.
_BEFORE, _AFTER = 15, 3
_WINDOW = 16
_BEHIND = 64
# What fits beside its copies in a processor's nearer cache.
_BLOCK = 1 << 16
_READ = 16 << 20
_APART = 1 << 10
_MARK = np.uint16(0x5A5A)
_NONE: np.ndarray = np.empty(0, dtype=np.int64)


def chunks(source: BinaryIO) -> Iterator[bytes]:
    """Cut a stream into chunks of 128 KiB to 2 MiB, half a MiB as a rule. Holds at most some 20 MB of it."""
    held, places, whole = b"", _NONE, False
    while not whole:
        fresh = source.read(_READ)
        whole = not fresh
        seen = len(held)
        held = held + fresh if held else fresh
        places = _thinned(np.concatenate([places, _places(held, seen)]))
        start = 0
        while len(held) - start > (0 if whole else LARGEST):
            end = _end(held, start, places)
            yield held[start:end]
            start = end
        # Enough is kept behind for the hash of the places that come.
        held, places = held[start:], places[np.searchsorted(places, start) :] - start


def _end(held: bytes, start: int, places: np.ndarray) -> int:
    """Return where the chunk that begins at `start` ends."""
    latest = min(start + LARGEST, len(held))
    first = int(np.searchsorted(places, start + SMALLEST))
    for place in places[first:].tolist():
        if place >= latest:
            break
        mask = _BEFORE if place - start < WISHED else _AFTER
        if blake3(held[place - _BEHIND : place]).digest(1)[0] & mask == 0:
            return int(place)
    return latest


def _places(data: bytes, begin: int) -> np.ndarray:
    """Return the places from `begin` on, ascending, at which the gear hash of the bytes before lets a chunk end."""
    whole = np.frombuffer(data, dtype=np.uint8)
    found = [_NONE]
    for start in range(begin, len(whole), _BLOCK):
        before = min(start, _WINDOW)
        gear = whole[start - before : start + _BLOCK].astype(np.uint16)
        # Any map from bytes to numbers that is not linear will do; this one needs no table.
        gear = gear * gear * np.uint16(0x9E37) + gear * np.uint16(0x6D2B)
        for shift in (1, 2, 4, 8):
            gear[shift:] += gear[:-shift] << np.uint16(shift)
        found.append(np.flatnonzero(gear[before:] == _MARK) + (start + 1))
    return np.concatenate(found)


def _thinned(places: np.ndarray) -> np.ndarray:
    """Leave out places that follow another one closely, as they do by the million in a run of equal bytes."""
    if len(places) < 2:
        return places
    thinned: np.ndarray = places[np.concatenate([[True], np.diff(places) >= _APART])]
    return thinned
