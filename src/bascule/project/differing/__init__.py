"""Why two runs differ: code, data, environment, parameters and what came of them; and many runs side by side.

Everything is read from the records: the texts of the code that were kept, inputs and outputs with their versions, the
environment. `forms` writes a difference as text or Markdown, `page` as one HTML file.
"""

from bascule.project.differing.difference import FileDifference, Pair, RunsDiff, diff_runs
from bascule.project.differing.forms import markdown, text
from bascule.project.differing.page import html
from bascule.project.differing.table import RunTable, compare_runs, environment_of

__all__ = [
    "FileDifference",
    "Pair",
    "RunTable",
    "RunsDiff",
    "compare_runs",
    "diff_runs",
    "environment_of",
    "html",
    "markdown",
    "text",
]
