"""What data are like: a table measured column by column and column against column, and folders of texts and images.

The room owns the measurements (`measuring` puts them together; `folders`, with `images` and `writings`, those of sets
of files), what is concluded from a column's values alone (`meanings`, `identifiers`), and rows that are made up after a
profile (`mocking`). It reads any relation that DuckDB can read and knows nothing of branches: how tables belong
together, and what could be learned from them, is added by the project, which finds the rows and writes what a profile
says.
"""

from bascule.profiles.identifiers import Suspect, suspect
from bascule.profiles.measuring import measure
from bascule.profiles.mocking import mock_rows
from bascule.profiles.results import ColumnProfile, FilesProfile, TableProfile
from bascule.profiles.source import Source

__all__ = ["ColumnProfile", "FilesProfile", "Source", "Suspect", "TableProfile", "measure", "mock_rows", "suspect"]
