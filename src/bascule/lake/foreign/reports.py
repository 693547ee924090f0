"""What engines say of their scans and commits, kept as a record table: `select * from engine_reports`."""

from __future__ import annotations

import pyarrow as pa

from bascule.catalog import now
from bascule.history import Workspace
from bascule.lake.foreign.landing import State
from bascule.lake.foreign.names import Identifier
from bascule.lake.records import RecordTable

REPORTS = "engine_reports"
SCHEMA = pa.schema(
    [
        pa.field("at", pa.timestamp("us", "UTC")),
        pa.field("author", pa.string()),
        pa.field("ref", pa.string()),
        pa.field("commit_id", pa.string()),
        pa.field("table_name", pa.string()),
        pa.field("snapshot_id", pa.int64()),
        pa.field("kind", pa.string()),
        pa.field("report_json", pa.string()),
    ]
)


def keep(
    workspace: Workspace, table: Identifier, state: State, who: str, kind: str, snapshot: int | None, report: bytes
) -> None:
    """Add a report.

    Args:
        report: the JSON text that came.
    """
    row = {
        "at": now(),
        "author": who,
        "ref": state.ref,
        "commit_id": state.commit.id,
        "table_name": table.local,
        "snapshot_id": snapshot,
        "kind": kind,
        "report_json": report.decode(),
    }
    RecordTable(workspace, REPORTS, SCHEMA).append(pa.Table.from_pylist([row], schema=SCHEMA))
