"""The table of what broke while versions were served: a row for each kind of thing that happened to a version."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from bascule.catalog.base import metadata

incidents = Table(
    "incidents",
    metadata,
    Column("model", String(256), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("artifact", String(64), primary_key=True),  # digest of the version's bundle: branches number by themselves
    Column("kind", String(20), primary_key=True),  # crashed | hung | grew | failed | unloadable
    Column("times", BigInteger, nullable=False),
    Column("text", Text, nullable=False),  # of the last time
    Column("first_at", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),
    Column("over_at", BigInteger),  # when it was mended; null while it is not, and where nothing can be
    Index(None, "last_at"),
)
