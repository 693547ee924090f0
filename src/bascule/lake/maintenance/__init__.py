"""Maintenance: small files become large ones, what nobody needs any more goes, and what must stay is held.

`compact` rewrites small data files; `collect` deletes what no kept state leads to; `Retention` says what is kept, and
holds stand above it. `docs/decisions/0011-letting-go.md` says how and why.
"""

from bascule.lake.maintenance.collection import Collection, collect, let_go_of_models
from bascule.lake.maintenance.compaction import Compaction, compact, compact_tables
from bascule.lake.maintenance.retention import Retention, Rule
from bascule.lake.maintenance.sweeping import Collected
from bascule.lake.maintenance.telling import Tell

__all__ = [
    "Collected",
    "Collection",
    "Compaction",
    "Retention",
    "Rule",
    "Tell",
    "collect",
    "compact",
    "compact_tables",
    "let_go_of_models",
]
