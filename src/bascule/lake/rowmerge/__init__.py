"""Merging two states of a table row by row, when both changed other rows than those at its end.

`deltas` finds out by the key what each side did and where the two exclude each other; `files` says which data files can
be kept as they are; `merge` puts the merged state together.
"""

from bascule.lake.rowmerge.deltas import RowConflict, Side
from bascule.lake.rowmerge.merge import RowMerge, Unmergeable, has_key, merge_rows

__all__ = ["RowConflict", "RowMerge", "Side", "Unmergeable", "has_key", "merge_rows"]
