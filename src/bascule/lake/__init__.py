"""Tables on branches: Iceberg tables whose every state is an object in the history, and what reads and fills them.

The lake owns the workspace's `lake/` folder: data files, table metadata, and the record tables beside the branches. It
ingests files, stages and compares states, answers SQL over any ref, and removes a subject from every state. Rooms above
call it; it knows the history, the catalog and the store, and nothing of contracts, features or models.
"""

from bascule.lake.comparing import ColumnChange, ColumnDiff, Moved, Profile, RowChange, Shift, Sides, TableDiff
from bascule.lake.forgetting import ForgetReport, Forgotten, forget, forget_rows
from bascule.lake.iceberg.datafiles import DataFile
from bascule.lake.ingested import IngestedFile, IngestReport
from bascule.lake.ingestion import ingest, stage_ingest
from bascule.lake.records import RecordTable
from bascule.lake.rowmerge import RowConflict, RowMerge, Unmergeable
from bascule.lake.session import Session
from bascule.lake.sources import SourceScan, read_source
from bascule.lake.tables import Lake

__all__ = [
    "ColumnChange",
    "ColumnDiff",
    "DataFile",
    "ForgetReport",
    "Forgotten",
    "IngestReport",
    "IngestedFile",
    "Lake",
    "Moved",
    "Profile",
    "RecordTable",
    "RowChange",
    "RowConflict",
    "RowMerge",
    "Session",
    "Shift",
    "Sides",
    "SourceScan",
    "TableDiff",
    "Unmergeable",
    "forget",
    "forget_rows",
    "ingest",
    "read_source",
    "stage_ingest",
]
