"""Finding personal data in a table, and writing what was found into its contract.

Detectors are patterns and check digits (`identifiers`), what columns are called (`naming`), and by option a language
model (`language`). `scan` counts the evidence of each in a sample of rows and never keeps a value; `tagged` writes
classifications and tags into the contract's text, whose comments stay.
"""

from bascule.contracts.personal.scanning import ColumnFinding, Evidence, judge, scan
from bascule.contracts.personal.tagging import tagged

__all__ = ["ColumnFinding", "Evidence", "judge", "scan", "tagged"]
