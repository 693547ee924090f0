"""What images are like: sizes, modes, brightness, sharpness, and which look alike. Needs Pillow."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bascule.errors import MissingExtra

# Two images look alike when so few of the 64 bits of their hashes differ.
NEAR = 4
SIDE = 256


@dataclass
class Images:
    """What was measured of some images, each list as long as `paths`."""

    paths: list[str] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)
    heights: list[float] = field(default_factory=list)
    brightness: list[float] = field(default_factory=list)
    sharpness: list[float] = field(default_factory=list)
    hashes: list[int] = field(default_factory=list)
    modes: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    unreadable: list[tuple[str, str]] = field(default_factory=list)


def look(files: Iterable[tuple[str, bytes]]) -> Images:
    """Measure images.

    Brightness is the mean of the grey values, 0 to 1; sharpness the variance of their Laplacian at a side of at most
    256 pixels (low for what is blurred). The hash is the difference hash: of 9 by 8 grey values, whether each is
    brighter than its right neighbour (N. Krawetz, 2013).

    Args:
        files: paths and contents. What is no image, is cut off, or would take too much memory is told as unreadable.

    Raises:
        MissingExtra: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("Looking at images", "images") from None
    found = Images()
    for path, content in files:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                warnings.simplefilter("ignore", UserWarning)
                with Image.open(io.BytesIO(content)) as image:
                    _measure(found, path, image)
        except (
            OSError,
            ValueError,
            SyntaxError,
            Image.DecompressionBombError,
            Image.DecompressionBombWarning,
        ) as error:
            reason = "it is no image" if type(error).__name__ == "UnidentifiedImageError" else str(error)[:120]
            found.unreadable.append((path, reason))
    return found


def alike(hashes: list[int]) -> list[list[int]]:
    """Return groups of places whose hashes differ in at most four bits from that of another of the group.

    An image of one colour has no hash to compare (0), so it looks like none.
    """
    values = np.array(hashes, dtype=np.uint64)
    places = np.flatnonzero(values != 0)
    parent = list(range(len(hashes)))

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    for at, place in enumerate(places):
        rest = places[at + 1 :]
        for other in rest[np.bitwise_count(values[rest] ^ values[place]) <= NEAR]:
            parent[root(int(other))] = root(int(place))
    groups: dict[int, list[int]] = {}
    for place in places:
        groups.setdefault(root(int(place)), []).append(int(place))
    return sorted((group for group in groups.values() if len(group) > 1), key=lambda group: (-len(group), group))


def _measure(found: Images, path: str, image: Any) -> None:
    width, height, mode, kind = image.width, image.height, image.mode, image.format
    image.draft("L", (SIDE, SIDE))  # a JPEG is decoded small
    grey = image.convert("L")
    small = grey.copy()
    small.thumbnail((SIDE, SIDE))
    values: NDArray[np.float64] = np.asarray(small, dtype=np.float64)
    found.paths.append(path)
    found.widths.append(width)
    found.heights.append(height)
    found.modes[mode] += 1
    found.formats[kind or "unknown"] += 1
    found.brightness.append(float(values.mean()) / 255)
    found.sharpness.append(_laplacian(values))
    nine = np.asarray(grey.resize((9, 8)), dtype=np.int16)
    found.hashes.append(int("".join("1" if one else "0" for one in (nine[:, :-1] > nine[:, 1:]).ravel()), 2))


def _laplacian(values: NDArray[np.float64]) -> float:
    if min(values.shape) < 3:
        return 0.0
    middle = values[1:-1, 1:-1]
    around = values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:]
    return float((around - 4 * middle).var())
