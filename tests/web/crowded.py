"""A workspace with hundreds of everything, as after a year of many people's work."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from sqlalchemy import insert, select

from bascule.catalog import new_id, now, schema
from bascule.history import Workspace
from bascule.lake import Lake
from bascule.tracking import resume
from tests.server.filled import BO, Filled

COMMITS, BRANCHES, ALERTS, COLUMNS, PATHS, CURVES = 300, 400, 300, 120, 300, 80


def crowd(filled: Filled) -> str:
    """Put them into a filled workspace; returns the id of the commit that changes `PATHS` paths."""
    ws = filled.ws
    for number in range(COMMITS):
        text = f"apiVersion: v3.0.2\nid: busy\nversion: 1.0.{number}\n"
        contract = {"contracts/busy": {"kind": "contract", "table": "busy", "text": text}}
        ws.history.commit("main", contract, message=f"Change the contract of busy, {number}", author=BO)
    changes = {f"contracts/many{n}": {"kind": "contract", "table": f"many{n}", "text": "x"} for n in range(PATHS)}
    large = ws.history.commit("main", changes, message="Agree on many contracts", author=BO)
    for number in range(BRANCHES):
        ws.history.create_branch(f"try/{number:03d}", "main", author=BO)
    values = np.arange(60.0)
    wide = pa.table({"key": pa.array(range(60)), **{f"column_{n:03d}": pa.array(values + n) for n in range(COLUMNS)}})
    Lake(ws).overwrite("wide", wide, branch="main", message="Bring in a wide table", author=BO)
    _alerts(ws)
    _curves(ws, filled.train_run)
    return large.id


def _alerts(ws: Workspace) -> None:
    with ws.catalog.write() as conn:
        like = dict(conn.execute(select(schema.alerts)).mappings().first() or {})
        rows = [
            like | {"id": new_id("alert"), "subject": f"column_{n:03d}", "opened_at": now() + n} for n in range(ALERTS)
        ]
        conn.execute(insert(schema.alerts), rows)


def _curves(ws: Workspace, run_id: str) -> None:
    run = resume(ws, run_id)
    run.metrics([(f"norm_{n:03d}", float(n + step), step) for n in range(CURVES) for step in range(30)])
    run.params({f"option_{n:03d}": str(n) for n in range(200)})
