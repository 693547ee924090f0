"""Run in fakesnow's own environment: makes tables, runs a query as Snowflake would, and prints its rows as JSON."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path

import fakesnow
import snowflake.connector


def plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, bool | int | float | str | None) else float(str(value))


story = json.loads(Path(sys.argv[1]).read_text("utf-8"))
with fakesnow.patch(), snowflake.connector.connect(database="lab", schema="prod") as connection:
    cursor = connection.cursor()
    for statement in story["before"]:
        cursor.execute(statement)
    cursor.execute(story["query"])
    names = [column[0] for column in cursor.description]
    rows = [[plain(value) for value in row] for row in cursor.fetchall()]
print(json.dumps({"names": names, "rows": rows}))
