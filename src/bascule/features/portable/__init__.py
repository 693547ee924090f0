"""Training rows as SQL that any engine can run: one plan, written for Spark and for warehouses.

`plan.py` says what is computed in the least SQL there is (equal keys, row numbers, running sums; no ASOF joins, no
structs, no lists), in DuckDB's dialect; `windows.py` and `ranked.py` are its parts about windows. `dialects.py` and
`functions.py` turn it, and the views' own SQL, into the words of one engine. On DuckDB itself
`features/point_in_time.py` is faster, and is what is used; tests hold both to one oracle.
"""

from bascule.features.portable.dialects import DIALECTS, Columns, written
from bascule.features.portable.plan import Plan, rows_plan, training_plan

__all__ = ["DIALECTS", "Columns", "Plan", "rows_plan", "training_plan", "written"]
