"""Tracking by numbers: experiments, subjects, names, and what runs and logged models say of themselves.

Metrics, parameters and tags that were kept by text move over; nothing of them is lost.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('dataset_uses',
    sa.Column('subject', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('dataset', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('tags_json', sa.Text(), nullable=False),
    sa.Column('context', sa.String(length=500), nullable=True),
    sa.PrimaryKeyConstraint('subject', 'dataset', name=op.f('pk_dataset_uses'))
    )
    op.create_index(op.f('ix_dataset_uses_dataset'), 'dataset_uses', ['dataset'], unique=False)
    op.create_table('datasets',
    sa.Column('id', sa.Integer(), autoincrement=True, nullable=False),
    sa.Column('experiment_id', sa.Integer(), nullable=False),
    sa.Column('name', sa.String(length=500), nullable=False),
    sa.Column('digest', sa.String(length=36), nullable=False),
    sa.Column('source_type', sa.Text(), nullable=False),
    sa.Column('source', sa.Text(), nullable=False),
    sa.Column('schema', sa.Text(), nullable=True),
    sa.Column('profile', sa.Text(), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_datasets')),
    sa.UniqueConstraint('experiment_id', 'name', 'digest', name=op.f('uq_datasets_experiment_id_name_digest'))
    )
    op.create_table('experiments',
    sa.Column('id', sa.Integer(), autoincrement=True, nullable=False),
    sa.Column('name', sa.String(length=500), nullable=False),
    sa.Column('artifact_location', sa.Text(), nullable=False),
    sa.Column('lifecycle', sa.String(length=10), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('updated_at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_experiments')),
    sa.UniqueConstraint('name', name=op.f('uq_experiments_name'))
    )
    op.create_table('latest_metrics',
    sa.Column('subject', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('name', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('at', sa.BigInteger(), nullable=False),
    sa.Column('step', sa.BigInteger(), nullable=False),
    sa.Column('value', sa.Double(), nullable=False),
    sa.Column('is_nan', sa.Boolean(), nullable=False),
    sa.Column('context', sa.Integer(), server_default='0', nullable=False),
    sa.PrimaryKeyConstraint('subject', 'name', name=op.f('pk_latest_metrics')),
    comment='Of each metric the point with the greatest (step, at, value).',
    sqlite_with_rowid=False
    )
    op.create_index(op.f('ix_latest_metrics_name_is_nan_value_subject'), 'latest_metrics', ['name', 'is_nan', 'value', 'subject'], unique=False)
    op.create_table('logged_models',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('experiment_id', sa.Integer(), nullable=False),
    sa.Column('name', sa.String(length=500), nullable=False),
    sa.Column('status', sa.String(length=20), nullable=False),
    sa.Column('model_type', sa.String(length=500), nullable=True),
    sa.Column('source_run_id', sa.String(length=256), nullable=True),
    sa.Column('artifact_uri', sa.Text(), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('updated_at', sa.BigInteger(), nullable=False),
    sa.Column('lifecycle', sa.String(length=10), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_logged_models')),
    sa.UniqueConstraint('number', name=op.f('uq_logged_models_number'))
    )
    op.create_index(op.f('ix_logged_models_experiment_id_lifecycle_created_at'), 'logged_models', ['experiment_id', 'lifecycle', 'created_at'], unique=False)
    op.create_index(op.f('ix_logged_models_source_run_id'), 'logged_models', ['source_run_id'], unique=False)
    op.create_table('metric_contexts',
    sa.Column('number', sa.Integer(), autoincrement=True, nullable=False),
    sa.Column('other_id', sa.String(length=256), nullable=False),
    sa.Column('dataset_name', sa.String(length=500), nullable=False),
    sa.Column('dataset_digest', sa.String(length=36), nullable=False),
    sa.PrimaryKeyConstraint('number', name=op.f('pk_metric_contexts')),
    sa.UniqueConstraint('other_id', 'dataset_name', 'dataset_digest', name=op.f('uq_metric_contexts_other_id_dataset_name_dataset_digest')),
    comment='What a metric was measured on, besides its run; none is 0.'
    )
    op.create_table('metric_points',
    sa.Column('subject', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('name', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('at', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('step', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('value', sa.Double(), nullable=False),
    sa.Column('is_nan', sa.Boolean(), nullable=False),
    sa.Column('context', sa.Integer(), server_default='0', nullable=False),
    sa.PrimaryKeyConstraint('subject', 'name', 'at', 'step', 'value', 'is_nan', name=op.f('pk_metric_points')),
    sqlite_with_rowid=False
    )
    op.create_table('model_uses',
    sa.Column('subject', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('model_id', sa.String(length=64), nullable=False),
    sa.Column('direction', sa.String(length=3), nullable=False),
    sa.Column('step', sa.BigInteger(), server_default='0', nullable=False),
    sa.PrimaryKeyConstraint('subject', 'model_id', 'direction', name=op.f('pk_model_uses'))
    )
    op.create_table('names',
    sa.Column('number', sa.Integer(), autoincrement=True, nullable=False),
    sa.Column('name', sa.String(length=250), nullable=False),
    sa.PrimaryKeyConstraint('number', name=op.f('pk_names')),
    sa.UniqueConstraint('name', name=op.f('uq_names_name')),
    comment='Names of parameters, metrics and tags; a name that came once stays.'
    )
    op.create_table('run_documents',
    sa.Column('subject', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('revision', sa.Integer(), nullable=False),
    sa.Column('body', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('subject', name=op.f('pk_run_documents')),
    comment="What lists show of a subject, as one text; it holds while the revision is the subject's."
    )
    op.create_table('run_params',
    sa.Column('subject', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('name', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('value', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('subject', 'name', name=op.f('pk_run_params')),
    sqlite_with_rowid=False
    )
    op.create_table('run_tags',
    sa.Column('subject', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('name', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('value', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('subject', 'name', name=op.f('pk_run_tags')),
    sqlite_with_rowid=False
    )
    op.create_table('subjects',
    sa.Column('number', sa.Integer(), autoincrement=True, nullable=False),
    sa.Column('id', sa.String(length=256), nullable=False),
    sa.Column('revision', sa.Integer(), server_default='0', nullable=False),
    sa.PrimaryKeyConstraint('number', name=op.f('pk_subjects')),
    sa.UniqueConstraint('id', name=op.f('uq_subjects_id'))
    )
    op.create_table('experiment_tags',
    sa.Column('experiment_id', sa.Integer(), nullable=False),
    sa.Column('key', sa.String(length=250), nullable=False),
    sa.Column('value', sa.Text(), nullable=False),
    sa.ForeignKeyConstraint(['experiment_id'], ['experiments.id'], name=op.f('fk_experiment_tags_experiment_id')),
    sa.PrimaryKeyConstraint('experiment_id', 'key', name=op.f('pk_experiment_tags'))
    )
    op.add_column('runs', sa.Column('number', sa.Integer(), nullable=True))
    op.add_column('runs', sa.Column('experiment_id', sa.Integer(), server_default='0', nullable=False))
    op.add_column('runs', sa.Column('lifecycle', sa.String(length=10), server_default='active', nullable=False))
    op.add_column('runs', sa.Column('artifact_uri', sa.Text(), nullable=True))
    op.create_index(op.f('ix_runs_experiment_id_lifecycle_started_at_id'), 'runs', ['experiment_id', 'lifecycle', 'started_at', 'id'], unique=False)
    op.create_index(op.f('ix_runs_number'), 'runs', ['number'], unique=True)
    for table in ("run_params", "run_tags"):
        start = sa.func.substr(sa.column("value"), sa.text("1"), sa.text("100"))
        op.create_index(f"ix_{table}_value", table, ["name", start, "subject"])
    _move()
    for table in ("metrics", "params", "tags"):
        op.drop_table(table)


def _move() -> None:
    """Give runs and names their numbers, and bring over what was said of runs."""
    run = op.get_bind().exec_driver_sql
    run(
        "INSERT INTO experiments (id, name, artifact_location, lifecycle, created_at, updated_at) "
        "VALUES (0, 'Default', 'mlflow-artifacts:/0', 'active', 0, 0)"
    )
    run("INSERT INTO subjects (id) SELECT id FROM runs ORDER BY started_at, id")
    run("UPDATE runs SET number = (SELECT number FROM subjects WHERE subjects.id = runs.id)")
    run(
        "INSERT INTO names (name) SELECT key FROM metrics UNION SELECT key FROM params UNION SELECT key FROM tags"
    )
    numbered = "JOIN subjects s ON s.id = old.run_id JOIN names n ON n.name = old.key"
    run(
        "INSERT INTO metric_points (subject, name, at, step, value, is_nan) "
        f"SELECT s.number, n.number, old.at, old.step, old.value, false FROM metrics old {numbered}"
    )
    run(
        "INSERT INTO latest_metrics (subject, name, at, step, value, is_nan) "
        "SELECT subject, name, at, step, value, is_nan FROM (SELECT *, row_number() OVER "
        "(PARTITION BY subject, name ORDER BY step DESC, at DESC, value DESC) AS place FROM metric_points) ranked "
        "WHERE place = 1"
    )
    for table in ("params", "tags"):
        run(
            f"INSERT INTO run_{table} (subject, name, value) "
            f"SELECT s.number, n.number, old.value FROM {table} old {numbered}"
        )
