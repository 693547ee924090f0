"""The SQL side of a workspace: schema, migrations, transactions, ids and the audit chain.

The catalog owns one database, SQLite beside the project or PostgreSQL for a company, with one schema. Rooms above read
and write its tables inside the transactions that it hands out; it knows nothing of what the rows mean.
"""

from bascule.catalog import audit, schema
from bascule.catalog.changes import Changes
from bascule.catalog.database import Catalog
from bascule.catalog.ids import acting_as, actor, new_id, now
from bascule.catalog.processes import has_ended, this_process
from bascule.catalog.upsert import upsert

__all__ = [
    "Catalog",
    "Changes",
    "acting_as",
    "actor",
    "audit",
    "has_ended",
    "new_id",
    "now",
    "schema",
    "this_process",
    "upsert",
]
