"""Comparing two states of a table: columns, rows, and the values in them.

`schemas` says how the columns differ, `changed` which data files have to be read, `matching` which rows differ,
`profiles` and `shift` what happened to the values, and `diffs` puts it together.
"""

from bascule.lake.comparing.diffs import RowChange, TableDiff, compare
from bascule.lake.comparing.profiles import Profile
from bascule.lake.comparing.schemas import ColumnChange, column_changes
from bascule.lake.comparing.shift import Moved, Shift
from bascule.lake.comparing.values import ColumnDiff, Sides

__all__ = [
    "ColumnChange",
    "ColumnDiff",
    "Moved",
    "Profile",
    "RowChange",
    "Shift",
    "Sides",
    "TableDiff",
    "column_changes",
    "compare",
]
