"""Files as sources of rows: which files a path means, what is in them, and DuckDB SQL that reads them without loss.

A source is a file, a folder or a glob of CSV, TSV, Parquet or JSON files. Whatever cannot be read rightly is refused
with the file, the line and the value, or set aside with them where a share of that is tolerated; nothing is guessed
silently.
"""

from bascule.lake.sources.quarantine import Quarantine, Rejected
from bascule.lake.sources.scan import Column, SourceScan, read_source

__all__ = ["Column", "Quarantine", "Rejected", "SourceScan", "read_source"]
