"""Missing values: how many, and which columns miss theirs in the same rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bascule.profiles.results import Missing, Together

MOST_PATTERNS = 12
MOST_PAIRS = 12
MOST_COLUMNS = 64
STRONG = 0.3


def together(cells: int, missing: Mapping[str, int], absent: Mapping[str, NDArray[np.bool_]]) -> Missing:
    """Describe the missing values of a table.

    Args:
        cells: missing ones of all rows. missing: of each column of the table.
        absent: for columns that miss values, whether each row of the sample misses its own.
    """
    names = [name for name in absent if absent[name].any()][:MOST_COLUMNS]
    columns = sum(1 for rows in missing.values() if rows)
    rows = len(next(iter(absent.values()))) if absent else 0
    if not names:
        return Missing(cells=cells, columns=columns, rows_sampled=rows)
    flags = np.column_stack([absent[name] for name in names])
    weights = (1 << np.arange(len(names), dtype=np.uint64)).astype(np.uint64)
    found = Counter((flags.astype(np.uint64) * weights).sum(1).tolist())
    patterns = tuple(
        Together(tuple(name for place, name in enumerate(names) if bits >> place & 1), count)
        for bits, count in sorted(found.items(), key=lambda one: (-one[1], one[0]))[:MOST_PATTERNS]
    )
    return Missing(cells=cells, columns=columns, rows_sampled=rows, patterns=patterns, pairs=_pairs(names, flags))


def _pairs(names: list[str], flags: NDArray[np.bool_]) -> tuple[tuple[str, str, float], ...]:
    """Return how strongly two columns miss values in the same rows (phi), where neither always does."""
    varying = [place for place in range(len(names)) if 0 < flags[:, place].sum() < len(flags)]
    if len(varying) < 2:
        return ()
    phi: NDArray[np.float64] = np.corrcoef(flags[:, varying].astype(np.float64), rowvar=False)
    pairs = [
        (names[varying[i]], names[varying[j]], round(float(phi[i, j]), 4))
        for i in range(len(varying))
        for j in range(i + 1, len(varying))
        if abs(phi[i, j]) >= STRONG
    ]
    return tuple(sorted(pairs, key=lambda one: -abs(one[2]))[:MOST_PAIRS])
