"""The table of what people vouch for with a version's digest: consent to load it, and signatures."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, String, Table, Text

from bascule.catalog.base import metadata

model_seals = Table(
    "model_seals",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("kind", String(10), nullable=False),  # trust | sign
    Column("subject", String(300), nullable=False),  # models/delays@3
    Column("digest", String(64), nullable=False),  # of all files of the version
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("key_id", String(64)),
    Column("signature", Text),
    Column("at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    Column("revoked_by", Text),
    Index(None, "subject", "kind"),
)
