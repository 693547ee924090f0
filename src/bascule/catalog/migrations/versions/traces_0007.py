"""Traces with their spans and assessments, and webhooks with their deliveries; experiments' numbers of 64 bits."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0005"
branch_labels = None
depends_on = None

WIDE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table('spans',
    sa.Column('trace_id', sa.String(length=256), nullable=False),
    sa.Column('span_id', sa.String(length=16), nullable=False),
    sa.Column('parent_id', sa.String(length=16), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('type', sa.String(length=250), nullable=False),
    sa.Column('status', sa.String(length=10), nullable=False),
    sa.Column('started_ns', sa.BigInteger(), nullable=False),
    sa.Column('ended_ns', sa.BigInteger(), nullable=True),
    sa.Column('attributes_json', sa.Text(), nullable=False),
    sa.Column('more_json', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('trace_id', 'span_id', name=op.f('pk_spans'))
    )
    op.create_index(op.f('ix_spans_trace_id_started_ns'), 'spans', ['trace_id', 'started_ns'], unique=False)
    op.create_table('trace_assessments',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('trace_id', sa.String(length=256), nullable=False),
    sa.Column('kind', sa.String(length=20), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('value_json', sa.Text(), nullable=False),
    sa.Column('body_json', sa.Text(), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('updated_at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_trace_assessments'))
    )
    op.create_index(op.f('ix_trace_assessments_trace_id_created_at'), 'trace_assessments', ['trace_id', 'created_at'], unique=False)
    op.create_table('trace_facts',
    sa.Column('trace_id', sa.String(length=256), nullable=False),
    sa.Column('kind', sa.String(length=10), nullable=False),
    sa.Column('key', sa.String(length=250), nullable=False),
    sa.Column('value', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('trace_id', 'kind', 'key', name=op.f('pk_trace_facts'))
    )
    op.create_index(op.f('ix_trace_facts_kind_key_trace_id'), 'trace_facts', ['kind', 'key', 'trace_id'], unique=False)
    op.create_table('trace_runs',
    sa.Column('trace_id', sa.String(length=256), nullable=False),
    sa.Column('run_id', sa.String(length=256), nullable=False),
    sa.PrimaryKeyConstraint('trace_id', 'run_id', name=op.f('pk_trace_runs')),
    comment='Traces that were linked to runs after they were made; a trace made inside a run says so in its metadata.'
    )
    op.create_index(op.f('ix_trace_runs_run_id_trace_id'), 'trace_runs', ['run_id', 'trace_id'], unique=False)
    op.create_table('traces',
    sa.Column('id', sa.String(length=256), nullable=False),
    sa.Column('experiment_id', WIDE, nullable=False),
    sa.Column('branch', sa.String(length=250), nullable=True),
    sa.Column('started_at', sa.BigInteger(), nullable=False),
    sa.Column('duration_us', sa.BigInteger(), nullable=True),
    sa.Column('state', sa.String(length=20), nullable=False),
    sa.Column('request_preview', sa.Text(), nullable=True),
    sa.Column('response_preview', sa.Text(), nullable=True),
    sa.Column('client_request_id', sa.Text(), nullable=True),
    sa.Column('told', sa.Boolean(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_traces'))
    )
    op.create_index(op.f('ix_traces_experiment_id_started_at_id'), 'traces', ['experiment_id', 'started_at', 'id'], unique=False)
    op.create_table('webhook_deliveries',
    sa.Column('id', sa.String(length=40), nullable=False),
    sa.Column('webhook_id', sa.String(length=40), nullable=False),
    sa.Column('entity', sa.String(length=40), nullable=False),
    sa.Column('action', sa.String(length=20), nullable=False),
    sa.Column('body_json', sa.Text(), nullable=False),
    sa.Column('status', sa.String(length=10), nullable=False),
    sa.Column('tries', sa.Integer(), nullable=False),
    sa.Column('next_at', sa.BigInteger(), nullable=False),
    sa.Column('answer', sa.Text(), nullable=True),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('finished_at', sa.BigInteger(), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_webhook_deliveries'))
    )
    op.create_index(op.f('ix_webhook_deliveries_status_next_at'), 'webhook_deliveries', ['status', 'next_at'], unique=False)
    op.create_table('webhooks',
    sa.Column('id', sa.String(length=40), nullable=False),
    sa.Column('branch', sa.String(length=250), nullable=False),
    sa.Column('name', sa.String(length=250), nullable=False),
    sa.Column('description', sa.Text(), nullable=True),
    sa.Column('url', sa.Text(), nullable=False),
    sa.Column('events_json', sa.Text(), nullable=False),
    sa.Column('secret', sa.Text(), nullable=True),
    sa.Column('status', sa.String(length=10), nullable=False),
    sa.Column('created_at', sa.BigInteger(), nullable=False),
    sa.Column('updated_at', sa.BigInteger(), nullable=False),
    sa.Column('deleted', sa.Boolean(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_webhooks'))
    )
    op.create_index(op.f('ix_webhooks_branch_created_at'), 'webhooks', ['branch', 'created_at'], unique=False)
    if op.get_bind().dialect.name == "postgresql":  # SQLite's integers have 64 bits and its texts any length
        op.alter_column('experiments', 'id', type_=sa.BigInteger())
        op.execute("ALTER SEQUENCE experiments_id_seq AS bigint")
        for table in ("experiment_tags", "runs", "datasets", "logged_models"):
            op.alter_column(table, 'experiment_id', type_=sa.BigInteger())
    with op.batch_alter_table('model_versions') as batch:
        batch.alter_column('artifact', existing_type=sa.String(length=64), type_=sa.Text(), existing_nullable=False)
