"""The numbers by which CatBoost knows texts: the low half of CityHash64, version 1, of their UTF-8.

A CatBoost file holds no texts of its categories, only these numbers. So a text that the model reads as a category has
its number as its code, whether or not the model ever saw it, and `texts_of` gives a text of each number back: another
one, which is the same to the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_MOST_KEPT, _LONGEST_KEPT = 1 << 16, 256  # characters: what strangers send must not fill the memory
_ALL = (1 << 64) - 1
_K0, _K1, _K2, _K3 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F, 0xC949D7C7509E6557
_MULTIPLIER = 0x9DDFEA08EB382D69
_INVERSE = np.uint64(pow(_MULTIPLIER, -1, 1 << 64))
_TAIL = b"=bascule"  # ends each text of `texts_of`; any eight bytes would do


class TextHashes(dict[str, float]):
    """Texts to their numbers, as a `dict` that knows all texts: short ones that were asked for last are kept."""

    def __missing__(self, text: str) -> float:
        """Return the number of a text, in [0, 2^32)."""
        found = float(hash_of(text))
        if len(text) <= _LONGEST_KEPT:
            if len(self) >= _MOST_KEPT:
                self.clear()
            self[text] = found
        return found

    def get(self, text: str, default: object = None) -> float:
        """Return the number of a text; there is one of each."""
        return self[text]


def hash_of(text: str) -> int:
    """Return the number, in [0, 2^32), by which CatBoost knows a text."""
    return _city(text.encode("utf-8", "surrogatepass")) & 0xFFFFFFFF


def texts_of(numbers: np.ndarray) -> list[bytes]:
    """Return a text of 16 bytes for each of some numbers: one whose hash is that number.

    The hash of 16 bytes is a chain of steps that can each be taken back, from the number to the first eight bytes.

    Args:
        numbers: whole, in [0, 2^32).
    """
    last = int.from_bytes(_TAIL, "little")
    other = np.uint64(_rotated(last + 16 & _ALL, 16))
    wanted = (np.asarray(numbers).astype(np.uint64) ^ np.uint64(last)) * _INVERSE
    mixed = (wanted ^ wanted >> np.uint64(47)) * _INVERSE ^ other
    first = (mixed ^ mixed >> np.uint64(47)) * _INVERSE ^ other
    return [one.to_bytes(8, "little") + _TAIL for one in first.tolist()]


def _rotated(value: int, by: int) -> int:
    return (value >> by | value << 64 - by) & _ALL


def _mixed(value: int) -> int:
    return value ^ value >> 47


def _joined(low: int, high: int) -> int:
    """Return one number of two."""
    first = _mixed((low ^ high) * _MULTIPLIER & _ALL)
    return _mixed((high ^ first) * _MULTIPLIER & _ALL) * _MULTIPLIER & _ALL


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _city(data: bytes) -> int:
    size = len(data)
    if size > 64:
        return _long(data)
    if size > 32:
        return _to_64(data)
    if size > 16:
        a, b = _word(data, 0) * _K1 & _ALL, _word(data, 8)
        c, d = _word(data, size - 8) * _K2 & _ALL, _word(data, size - 16) * _K0
        low = _rotated(a - b & _ALL, 43) + _rotated(c, 30) + d
        return _joined(low & _ALL, a + _rotated(b ^ _K3, 20) - c + size & _ALL)
    if size > 8:
        a, b = _word(data, 0), _word(data, size - 8)
        return _joined(a, _rotated(b + size & _ALL, size)) ^ b
    if size >= 4:
        a, b = int.from_bytes(data[:4], "little"), int.from_bytes(data[-4:], "little")
        return _joined(size + (a << 3), b)
    if size:
        y, z = data[0] + (data[size >> 1] << 8), size + (data[-1] << 2)
        return _mixed((y * _K2 ^ z * _K3) & _ALL) * _K2 & _ALL
    return _K2


def _to_64(data: bytes) -> int:
    size = len(data)
    a = _word(data, 0) + (size + _word(data, size - 16)) * _K0
    first = _half(a & _ALL, _word(data, 24), _word(data, 8), _word(data, 16))
    a = _word(data, 16) + _word(data, size - 32)
    second = _half(a & _ALL, _word(data, size - 8), _word(data, size - 24), _word(data, size - 16))
    mixed = _mixed((first[0] + second[1]) * _K2 + (second[0] + first[1]) * _K0 & _ALL)
    return _mixed(mixed * _K0 + first[1] & _ALL) * _K2 & _ALL


def _half(a: int, z: int, one: int, two: int) -> tuple[int, int]:
    b, c = _rotated(a + z & _ALL, 52), _rotated(a, 37)
    a = a + one & _ALL
    c += _rotated(a, 7)
    a = a + two & _ALL
    return a + z & _ALL, b + _rotated(a, 31) + c & _ALL


def _seeded(words: Sequence[int], a: int, b: int) -> tuple[int, int]:
    w, x, y, z = words
    c = a = a + w & _ALL
    b = _rotated(b + a + z & _ALL, 21)
    a = a + x + y & _ALL
    return a + z & _ALL, b + _rotated(a, 44) + c & _ALL


def _long(data: bytes) -> int:
    size = len(data)
    words = [_word(data, at) for at in range(0, size - 7, 8)]
    last = [_word(data, size - at) for at in range(64, 0, -8)]
    x, y, z = words[0], last[6] ^ _K1, last[1] ^ _K0
    v, w = _seeded(last[:4], size, y), _seeded(last[4:], size * _K1 & _ALL, _K0)
    z = z + _mixed(v[1]) * _K1 & _ALL
    x = _rotated(z + x & _ALL, 39) * _K1 & _ALL
    y = _rotated(y, 33) * _K1 & _ALL
    for at in range(0, size - 1 >> 6 << 3, 8):
        x = _rotated(x + y + v[0] + words[at + 2] & _ALL, 37) * _K1 & _ALL ^ w[1]
        y = _rotated(y + v[1] + words[at + 6] & _ALL, 42) * _K1 & _ALL ^ v[0]
        z = _rotated(z ^ w[0], 33)
        v = _seeded(words[at : at + 4], v[1] * _K1 & _ALL, x + w[0] & _ALL)
        w = _seeded(words[at + 4 : at + 8], z + w[1] & _ALL, y)
        z, x = x, z
    return _joined(
        _joined(v[0], w[0]) + _mixed(y) * _K1 + z & _ALL,
        _joined(v[1], w[1]) + x & _ALL,
    )
