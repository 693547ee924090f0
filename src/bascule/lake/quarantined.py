"""The record table `quarantine`: what came with a batch and could not be read, with where it stood and why."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pyarrow as pa

from bascule.catalog import now
from bascule.history import Workspace
from bascule.lake.ingested import IngestReport
from bascule.lake.origins.origin import named
from bascule.lake.records import RecordTable
from bascule.lake.sources import Rejected

NAME = "quarantine"
SCHEMA = pa.schema(
    [
        ("table", pa.string()),
        ("branch", pa.string()),
        ("commit", pa.string()),
        ("source", pa.string()),
        ("file", pa.string()),
        ("line", pa.int64()),
        ("column", pa.string()),
        ("reason", pa.string()),
        ("raw", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
    ]
)
AT_ONCE = 10_000


def keep(workspace: Workspace, table: str, branch: str, commit: str, report: IngestReport) -> None:
    """Write down what an ingest set aside, once, however often the same batch is tried.

    Args:
        branch: where the batch is to go.
        commit: the one that wrote the batch.
    """
    origins = {file.name: file.origin for file in report.files}
    address = next((file.origin for file in report.files), "")  # of messages, which have names of their own
    taken = [file.digest for file in report.files if file.rejected]
    segment = named(table, branch, *taken, *(str(one) for one in report.rejected[:1000]), str(len(report.rejected)))
    at = now()

    def batches() -> Iterator[pa.RecordBatch]:
        rest = iter(report.rejected)
        while some := list(islice(rest, AT_ONCE)):
            yield pa.RecordBatch.from_pylist([row(one) for one in some], schema=SCHEMA)

    def row(one: Rejected) -> dict[str, object]:
        where = {"table": table, "branch": branch, "commit": commit, "source": origins.get(one.file, address)}
        what = {"file": one.file, "line": one.line, "column": one.column, "reason": one.reason, "raw": one.raw}
        return {**where, **what, "at": at}

    RecordTable(workspace, NAME, SCHEMA).move_segment(segment, batches())
