"""The SQL schema of a workspace: the history's tables and the records.

One schema for SQLite and PostgreSQL. Times are integers: microseconds since 1970-01-01T00:00:00Z. Ids are text and sort
by time (`catalog.ids`). Columns that hold JSON are named `*_json` and hold UTF-8 text, so that both engines and DuckDB
read them alike. Records are append-only; the few columns that change (`status`, `finished_at`, `head`) are listed here:
`refs.head`, `runs.status/finished_at/error`, `jobs.status/…`, `record_tables.metadata`, `alerts.status/closed_at`,
`holds.released_at/released_by`, `model_deletions.held_json/purged_at` and, while an alert is open,
`alerts.subject/value/threshold/window_end/detail_json`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from bascule.catalog.base import metadata
from bascule.catalog.deletions import model_deletions
from bascule.catalog.incidents import incidents
from bascule.catalog.runs import (
    dataset_uses,
    datasets,
    experiment_tags,
    experiments,
    journal_parts,
    journals,
    latest_metrics,
    logged_models,
    metric_contexts,
    metric_points,
    model_uses,
    names,
    run_documents,
    run_io,
    run_params,
    run_tags,
    runs,
    subjects,
)
from bascule.catalog.seals import model_seals
from bascule.catalog.traces import (
    spans,
    trace_assessments,
    trace_facts,
    trace_runs,
    traces,
    webhook_deliveries,
    webhooks,
)

__all__ = [
    "dataset_uses",
    "datasets",
    "experiment_tags",
    "experiments",
    "incidents",
    "journal_parts",
    "journals",
    "latest_metrics",
    "logged_models",
    "metadata",
    "metric_contexts",
    "metric_points",
    "model_deletions",
    "model_seals",
    "model_uses",
    "names",
    "run_documents",
    "run_io",
    "run_params",
    "run_tags",
    "runs",
    "spans",
    "subjects",
    "trace_assessments",
    "trace_facts",
    "trace_runs",
    "traces",
    "webhook_deliveries",
    "webhooks",
]

# The history -----------------------------------------------------------------------------------------------------

nodes = Table(
    "nodes",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("body", LargeBinary, nullable=False),
    comment="Content-addressed parts of the history: tree nodes and the JSON objects at their leaves.",
)

commits = Table(
    "commits",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("parent", String(64)),
    Column("parent2", String(64)),
    Column("root", String(64), nullable=False),
    Column("author", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("meta_json", Text, nullable=False),
    Index(None, "parent"),
    Index(None, "created_at"),
)

refs = Table(
    "refs",
    metadata,
    Column("name", String(250), primary_key=True),
    Column("kind", String(10), nullable=False),  # branch | tag
    Column("head", String(64), nullable=False),
    Column("protected", Boolean, nullable=False, default=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

ref_log = Table(
    "ref_log",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("ref", String(250), nullable=False),
    Column("before", String(64)),
    Column("after", String(64)),
    Column("actor", Text, nullable=False),
    Column("action", String(40), nullable=False),  # create | commit | merge | revert | delete | …
    Column("at", BigInteger, nullable=False),
    Index(None, "ref", "at"),
)

expirations = Table(
    "expirations",
    metadata,
    Column("name", String(64), primary_key=True),  # a commit's id, or an object's digest
    Column("kind", String(10), nullable=False),  # commit | state | content
    Column("path", String(250), nullable=False),  # of an object; empty for a commit
    Column("reason", Text, nullable=False),  # the rule that no longer kept it
    Column("at", BigInteger, nullable=False),
    comment="States whose data were let go. The commits and objects themselves stay; no name may lead to them again.",
)

holds = Table(
    "holds",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("kind", String(10), nullable=False),  # branch | tag | commit | path
    Column("subject", String(250), nullable=False),  # the ref's name, the commit's id, or a path of the history
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("released_at", BigInteger),
    Column("released_by", Text),
    comment="Legal holds: what they name is neither collected nor forgotten while they last.",
)

# The records -----------------------------------------------------------------------------------------------------

step_cache = Table(
    "step_cache",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("step", String(200), nullable=False),
    Column("terms_json", Text, nullable=False),  # what the key was made of: {term: digest or value}
    Column("receipt_json", Text, nullable=False),
    Column("run_id", String(40), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index(None, "step", "created_at"),
)

training_sets = Table(
    "training_sets",
    metadata,
    Column("id", String(64), primary_key=True),  # digest of its bytes and definition
    Column("name", String(250), nullable=False),
    Column("blob", String(64), nullable=False),  # Parquet in the store
    Column("rows", BigInteger, nullable=False),
    Column("columns_json", Text, nullable=False),
    Column("spec_json", Text, nullable=False),  # population, features, label, split, cut-off
    Column("split_json", Text, nullable=False),  # {train|validation|test: {rows, from, to}}
    Column("commit_id", String(64), nullable=False),
    Column("run_id", String(40)),
    Column("created_at", BigInteger, nullable=False),
    Index(None, "name", "created_at"),
)

check_results = Table(
    "check_results",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("run_id", String(40)),
    Column("commit_id", String(64)),  # the state that was checked
    Column("subject", String(250), nullable=False),  # tables/flights
    Column("check_name", String(250), nullable=False),
    Column("column_name", String(250)),
    Column("severity", String(10), nullable=False),  # info | warning | critical
    Column("status", String(10), nullable=False),  # passed | failed | error
    Column("observed", Text),
    Column("expected", Text),
    Column("failed_rows", BigInteger),
    Column("total_rows", BigInteger),
    Column("sample_json", Text),  # some failing rows
    Column("at", BigInteger, nullable=False),
    Column("value", Double),  # what the check measured: a number, or the share of failing rows
    Column("looked_at", String(10)),  # table | refused | batch
    Index(None, "subject", "at"),
    Index(None, "commit_id"),
)

check_states = Table(
    "check_states",
    metadata,
    Column("part", String(64), primary_key=True),  # a data file and how it is read, or a table
    Column("measure", String(64), primary_key=True),  # what was measured of it
    Column("scope", String(64), nullable=False),  # the table's uuid
    Column("state_json", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index(None, "scope"),
    comment="What checks measured of data files, so that a check after an append reads the append. May be deleted.",
)

evaluations = Table(
    "evaluations",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("run_id", String(40)),
    Column("model", String(250), nullable=False),
    Column("model_version_id", String(40), nullable=False),
    Column("training_set", String(64), nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("report_json", Text, nullable=False),  # metrics, intervals, slices, calibration, gates
    Column("at", BigInteger, nullable=False),
    Index(None, "model", "at"),
    Index(None, "model_version_id"),
)

model_versions = Table(
    "model_versions",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("model", String(250), nullable=False),
    Column("version", Integer, nullable=False),  # counted once per model over all branches, never reused
    Column("artifact", Text, nullable=False),  # a blob's digest, or where the files of a model from outside lie
    Column("run_id", String(40)),
    Column("created_at", BigInteger, nullable=False),
    Index(None, "model", "version", unique=True),
)

optimizations = Table(
    "optimizations",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("optimization", String(40), nullable=False),  # one bascule optimize: a row for each candidate and size
    Column("branch", String(250), nullable=False),
    Column("model", String(250), nullable=False),
    Column("version", Integer, nullable=False),
    Column("candidate", String(60), nullable=False),
    Column("batch_size", Integer),  # rows of a request; null for what was not measured
    Column("p50_us", Double),
    Column("p99_us", Double),
    Column("throughput", Double),  # rows a second
    Column("cost_per_million", Double),
    Column("currency", String(20)),
    Column("parity", Boolean),  # answers as the original; null for what does not apply
    Column("worst", Double),
    Column("reason", Text, nullable=False),
    Column("size", BigInteger),
    Column("memory", BigInteger),
    Column("load_ms", Double),
    Column("metric", String(60)),
    Column("metric_value", Double),
    Column("metric_change", Double),
    Column("chosen", Boolean, nullable=False),
    Column("actor", Text, nullable=False),
    Column("commit_id", String(64)),  # of the choice; null when nothing was changed
    Column("at", BigInteger, nullable=False),
    Index(None, "model", "version", "at"),
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("subject", String(250), nullable=False),  # models/delays@3, or a merge
    Column("decision", String(20), nullable=False),  # approved | refused | forced
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index(None, "subject"),
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("branch", String(250), nullable=False),
    Column("monitor", String(250), nullable=False),
    Column("measure", String(100), nullable=False),  # drift | prediction_drift | quality | service | …
    Column("subject", String(250), nullable=False),  # column, metric or slice: the worst of detail_json's `members`
    Column("severity", String(10), nullable=False),
    Column("status", String(10), nullable=False),  # firing | resolved
    Column("value", Double),
    Column("threshold", Double),
    Column("window_start", BigInteger),
    Column("window_end", BigInteger),
    Column("detail_json", Text, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("closed_at", BigInteger),
    Index(None, "monitor", "opened_at"),
)

monitor_points = Table(
    "monitor_points",
    metadata,
    Column("branch", String(250), primary_key=True),
    Column("monitor", String(250), primary_key=True),
    Column("measure", String(100), primary_key=True),
    Column("subject", String(250), primary_key=True),
    Column("window_start", BigInteger, primary_key=True),
    Column("window_end", BigInteger, nullable=False),
    Column("value", Double),
    Column("low", Double),
    Column("high", Double),
    Column("rows", BigInteger, nullable=False),
    Column("model_version", Integer, nullable=False, default=0),
    Column("detail_json", Text, nullable=False, default="{}"),
    Column("computed_at", BigInteger, nullable=False),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("branch", String(250), nullable=False),
    Column("deployment", String(250), nullable=False),
    Column("action", String(30), nullable=False),  # start | advance | promote | hold | rollback
    Column("actor", Text, nullable=False),
    Column("from_json", Text, nullable=False),  # traffic before
    Column("to_json", Text, nullable=False),  # traffic after
    Column("evidence_json", Text, nullable=False),
    Column("commit_id", String(64)),
    Column("at", BigInteger, nullable=False),
    Index(None, "deployment", "at"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("kind", String(40), nullable=False),  # retrain | …
    Column("branch", String(250), nullable=False),
    Column("spec_json", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("dedupe_key", String(250)),
    Column("status", String(20), nullable=False),  # scheduled | waiting | running | done | failed
    Column("claimed_by", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    Column("result_json", Text),
    Index(None, "status", "created_at"),
    Index(None, "dedupe_key", unique=True),
)

record_tables = Table(
    "record_tables",
    metadata,
    Column("name", String(250), primary_key=True),  # predictions | ground_truth | …
    Column("object_json", Text, nullable=False),  # a table object, as the history holds them
    Column("updated_at", BigInteger, nullable=False),
    comment="High-volume records that are Iceberg tables of their own, outside the branches.",
)

record_segments = Table(
    "record_segments",
    metadata,
    Column("record_table", String(250), primary_key=True),
    Column("segment", String(250), primary_key=True),
    Column("rows", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    comment="Log segments that have been moved into a record table: each is moved exactly once.",
)

audit = Table(
    "audit",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", String(60), nullable=False),  # commit | merge | deploy | rollback | forget | predict-config | …
    Column("subject", Text, nullable=False),
    Column("detail_json", Text, nullable=False),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index(None, "at"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", Text, nullable=False),
    Column("digest", String(128), nullable=False),  # BLAKE3 keyed by nothing but the token's 256 random bits
    Column("role", String(20), nullable=False),  # reader | writer | deployer | admin
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    Index(None, "digest", unique=True),
)

settings = Table(
    "settings",
    metadata,
    Column("key", String(250), primary_key=True),
    Column("value", Text, nullable=False),
)
