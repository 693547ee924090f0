"""The tables of traces: what a program did for one request, span by span, and what people and judges say of it.

A trace's tags and metadata are one table with a kind, as both are searched alike. Times of spans are nanoseconds, as
they are sent; `*_at` are microseconds, as everywhere.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, String, Table, Text

from bascule.catalog.base import metadata
from bascule.catalog.runs import Wide

traces = Table(
    "traces",
    metadata,
    Column("id", String(256), primary_key=True),
    Column("experiment_id", Wide, nullable=False),
    Column("branch", String(250)),
    Column("started_at", BigInteger, nullable=False),
    Column("duration_us", BigInteger),
    Column("state", String(20), nullable=False),  # OK | ERROR | IN_PROGRESS | STATE_UNSPECIFIED
    Column("request_preview", Text),
    Column("response_preview", Text),
    Column("client_request_id", Text),
    Column("told", Boolean, nullable=False),  # whether a client said how it went; else its spans do
    Index(None, "experiment_id", "started_at", "id"),
)

trace_facts = Table(
    "trace_facts",
    metadata,
    Column("trace_id", String(256), primary_key=True),
    Column("kind", String(10), primary_key=True),  # tag | metadata
    Column("key", String(250), primary_key=True),
    Column("value", Text, nullable=False),
    Index(None, "kind", "key", "trace_id"),
)

trace_runs = Table(
    "trace_runs",
    metadata,
    Column("trace_id", String(256), primary_key=True),
    Column("run_id", String(256), primary_key=True),
    Index(None, "run_id", "trace_id"),
    comment="Traces that were linked to runs after they were made; a trace made inside a run says so in its metadata.",
)

spans = Table(
    "spans",
    metadata,
    Column("trace_id", String(256), primary_key=True),
    Column("span_id", String(16), primary_key=True),
    Column("parent_id", String(16), nullable=False),  # empty for the root
    Column("name", Text, nullable=False),
    Column("type", String(250), nullable=False),
    Column("status", String(10), nullable=False),  # OK | ERROR | UNSET
    Column("started_ns", BigInteger, nullable=False),
    Column("ended_ns", BigInteger),
    Column("attributes_json", Text, nullable=False),
    Column("more_json", Text, nullable=False),  # events, links, the status' message, kind and state
    Index(None, "trace_id", "started_ns"),
)

trace_assessments = Table(
    "trace_assessments",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("trace_id", String(256), nullable=False),
    Column("kind", String(20), nullable=False),  # feedback | expectation | issue
    Column("name", Text, nullable=False),
    Column("value_json", Text, nullable=False),
    Column("body_json", Text, nullable=False),  # as the client sent it
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index(None, "trace_id", "created_at"),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("branch", String(250), nullable=False),  # whose models it tells of
    Column("name", String(250), nullable=False),
    Column("description", Text),
    Column("url", Text, nullable=False),
    Column("events_json", Text, nullable=False),  # [[entity, action], …]
    Column("secret", Text),  # what signs the deliveries; it is never given back
    Column("status", String(10), nullable=False),  # ACTIVE | DISABLED
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("deleted", Boolean, nullable=False),
    Index(None, "branch", "created_at"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("webhook_id", String(40), nullable=False),
    Column("entity", String(40), nullable=False),
    Column("action", String(20), nullable=False),
    Column("body_json", Text, nullable=False),
    Column("status", String(10), nullable=False),  # waiting | sent | given up
    Column("tries", Integer, nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Column("answer", Text),  # what the receiver said last, or why it could not be reached
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Index(None, "status", "next_at"),
)
