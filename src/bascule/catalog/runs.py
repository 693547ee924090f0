"""The tables of tracking: experiments, runs, and what runs and logged models say of themselves.

Runs and logged models are *subjects*, and their parameters, metrics and tags are keyed by numbers that stand for the
subject and for the name: so a hundred thousand runs with fifty metrics each stay a small table, and a filter on a
metric is a range of an index. NaN is kept as 0 with `is_nan`, because SQLite has none.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)

from bascule.catalog.base import metadata

# Numbers of experiments come from other servers too, which make them of 18 digits. SQLite counts only INTEGERs itself.
Wide = BigInteger().with_variant(Integer, "sqlite")

experiments = Table(
    "experiments",
    metadata,
    Column("id", Wide, primary_key=True, autoincrement=True),
    Column("name", String(500), nullable=False, unique=True),
    Column("artifact_location", Text, nullable=False),
    Column("lifecycle", String(10), nullable=False),  # active | deleted
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
)

experiment_tags = Table(
    "experiment_tags",
    metadata,
    Column("experiment_id", Wide, ForeignKey("experiments.id"), primary_key=True),
    Column("key", String(250), primary_key=True),
    Column("value", Text, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", Text, nullable=False),
    Column("kind", String(20), nullable=False),  # pipeline | step | track | retrain | rollout …
    Column("step", String(200)),
    Column("status", String(20), nullable=False),  # running | done | cached | failed | cancelled
    Column("branch", String(250)),
    Column("commit_id", String(64)),  # the Bascule commit it ran on
    Column("result_commit_id", String(64)),  # the Bascule commit it made, if any
    Column("code_commit", String(64)),  # the git commit, if any
    Column("code_dirty", Boolean),
    Column("code_snapshot", String(64)),  # blob: JSON {path: blob digest} of the project's text as it ran
    Column("parent_id", String(40)),
    Column("user_name", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("environment_json", Text, nullable=False, default="{}"),
    Column("error", Text),
    Column("number", Integer),  # in `subjects`; parameters, metrics and tags point to it
    Column("experiment_id", Wide, nullable=False, server_default="0"),
    Column("lifecycle", String(10), nullable=False, server_default="active"),  # active | deleted
    Column("artifact_uri", Text),
    Column("deleted_at", BigInteger),
    Index(None, "started_at"),
    Index(None, "parent_id"),
    Index(None, "number", unique=True),
    Index(None, "experiment_id", "lifecycle", "started_at", "id"),
    Index(None, "step", "started_at"),
)

subjects = Table(
    "subjects",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", String(256), nullable=False, unique=True),  # of a run or of a logged model
    Column("revision", Integer, nullable=False, server_default="0"),  # counts what was written; see `run_documents`
)

names = Table(
    "names",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("name", String(250), nullable=False, unique=True),
    comment="Names of parameters, metrics and tags; a name that came once stays.",
)

metric_contexts = Table(
    "metric_contexts",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("other_id", String(256), nullable=False),  # the logged model of a run's point, the run of a model's
    Column("dataset_name", String(500), nullable=False),
    Column("dataset_digest", String(36), nullable=False),
    UniqueConstraint("other_id", "dataset_name", "dataset_digest"),
    comment="What a metric was measured on, besides its run; none is 0.",
)

metric_points = Table(
    "metric_points",
    metadata,
    Column("subject", Integer, primary_key=True, autoincrement=False),
    Column("name", Integer, primary_key=True, autoincrement=False),
    Column("at", BigInteger, primary_key=True, autoincrement=False),
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("value", Double, primary_key=True),
    Column("is_nan", Boolean, primary_key=True),
    Column("context", Integer, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)

latest_metrics = Table(
    "latest_metrics",
    metadata,
    Column("subject", Integer, primary_key=True, autoincrement=False),
    Column("name", Integer, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("value", Double, nullable=False),
    Column("is_nan", Boolean, nullable=False),
    Column("context", Integer, nullable=False, server_default="0"),
    Index(None, "name", "is_nan", "value", "subject"),
    sqlite_with_rowid=False,
    comment="Of each metric the point with the greatest (step, at, value).",
)

run_params = Table(
    "run_params",
    metadata,
    Column("subject", Integer, primary_key=True, autoincrement=False),
    Column("name", Integer, primary_key=True, autoincrement=False),
    Column("value", Text, nullable=False),
    sqlite_with_rowid=False,
)
# The start of a value is enough to find few: PostgreSQL's indexes hold no long ones.
Index(
    "ix_run_params_value",
    run_params.c.name,
    func.substr(run_params.c.value, text("1"), text("100")),
    run_params.c.subject,
)

run_tags = Table(
    "run_tags",
    metadata,
    Column("subject", Integer, primary_key=True, autoincrement=False),
    Column("name", Integer, primary_key=True, autoincrement=False),
    Column("value", Text, nullable=False),
    sqlite_with_rowid=False,
)
Index("ix_run_tags_value", run_tags.c.name, func.substr(run_tags.c.value, text("1"), text("100")), run_tags.c.subject)

run_documents = Table(
    "run_documents",
    metadata,
    Column("subject", Integer, primary_key=True, autoincrement=False),
    Column("revision", Integer, nullable=False),
    Column("body", Text, nullable=False),
    comment="What lists show of a subject, as one text; it holds while the revision is the subject's.",
)

run_io = Table(
    "run_io",
    metadata,
    Column("run_id", String(40), ForeignKey("runs.id"), primary_key=True),
    Column("direction", String(3), primary_key=True),  # in | out
    Column("path", String(250), primary_key=True),  # history path, or file://…, or training_sets/NAME
    Column("version", String(80), primary_key=True),  # object digest or content digest
    Column("rows", BigInteger),
    Column("bytes", BigInteger),
    Index(None, "path", "version"),
)

datasets = Table(
    "datasets",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("experiment_id", Wide, nullable=False),
    Column("name", String(500), nullable=False),
    Column("digest", String(36), nullable=False),
    Column("source_type", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("schema", Text),
    Column("profile", Text),
    UniqueConstraint("experiment_id", "name", "digest"),
)

dataset_uses = Table(
    "dataset_uses",
    metadata,
    Column("subject", Integer, primary_key=True, autoincrement=False),
    Column("dataset", Integer, primary_key=True, autoincrement=False),
    Column("tags_json", Text, nullable=False),
    Column("context", String(500)),  # the tag mlflow.data.context
    Index(None, "dataset"),
)

model_uses = Table(
    "model_uses",
    metadata,
    Column("subject", Integer, primary_key=True, autoincrement=False),
    Column("model_id", String(64), primary_key=True),
    Column("direction", String(3), primary_key=True),  # in | out
    Column("step", BigInteger, nullable=False, server_default="0"),
)

logged_models = Table(
    "logged_models",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("experiment_id", Wide, nullable=False),
    Column("name", String(500), nullable=False),
    Column("status", String(20), nullable=False),  # PENDING | READY | UPLOAD_FAILED
    Column("model_type", String(500)),
    Column("source_run_id", String(256)),
    Column("artifact_uri", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("lifecycle", String(10), nullable=False),
    Column("deleted_at", BigInteger),
    Index(None, "experiment_id", "lifecycle", "created_at"),
    Index(None, "source_run_id"),
)

journals = Table(
    "journals",
    metadata,
    Column("id", String(40), primary_key=True),  # of the session that wrote it
    Column("run_id", String(40), nullable=False),
    Column("status", String(20), nullable=False),  # running | done | failed | cancelled
    Column("error", Text),
    Column("at", BigInteger, nullable=False),  # of its beginning, then of its end
    Index(None, "run_id"),
    comment="Sessions of tracked scripts. A run is as its sessions are: several processes may write one.",
)

journal_parts = Table(
    "journal_parts",
    metadata,
    Column("journal", String(40), primary_key=True),
    Column("part", String(80), primary_key=True),  # the file of one process
    Column("taken", BigInteger, nullable=False),  # bytes
    comment="How far each journal is in the records. It is written with what the journal says, so that is there once.",
)
