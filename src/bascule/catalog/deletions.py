"""The table of versions of models that were deleted: who, when and why, and what brings them back until they go."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from bascule.catalog.base import metadata

model_deletions = Table(
    "model_deletions",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("model", String(256), nullable=False),
    Column("version", Integer, nullable=False),
    Column("version_id", String(40), nullable=False),  # as its entry has it, whatever the model was called
    Column("branch", String(250), nullable=False),
    Column("commit_id", String(64), nullable=False),  # the commit that took it from the branch
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("held_json", Text, nullable=False),  # what restores it; once it was purged, digests of what went
    Column("purged_at", BigInteger),
    Index(None, "version_id"),
    Index(None, "model", "version"),
)
