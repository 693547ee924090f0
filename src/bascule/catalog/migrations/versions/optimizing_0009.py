"""What was measured of the engines that might answer for a version."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('optimizations',
    sa.Column('id', sa.String(length=40), nullable=False),
    sa.Column('optimization', sa.String(length=40), nullable=False),
    sa.Column('branch', sa.String(length=250), nullable=False),
    sa.Column('model', sa.String(length=250), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('candidate', sa.String(length=60), nullable=False),
    sa.Column('batch_size', sa.Integer(), nullable=True),
    sa.Column('p50_us', sa.Double(), nullable=True),
    sa.Column('p99_us', sa.Double(), nullable=True),
    sa.Column('throughput', sa.Double(), nullable=True),
    sa.Column('cost_per_million', sa.Double(), nullable=True),
    sa.Column('currency', sa.String(length=20), nullable=True),
    sa.Column('parity', sa.Boolean(), nullable=True),
    sa.Column('worst', sa.Double(), nullable=True),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('size', sa.BigInteger(), nullable=True),
    sa.Column('memory', sa.BigInteger(), nullable=True),
    sa.Column('load_ms', sa.Double(), nullable=True),
    sa.Column('metric', sa.String(length=60), nullable=True),
    sa.Column('metric_value', sa.Double(), nullable=True),
    sa.Column('metric_change', sa.Double(), nullable=True),
    sa.Column('chosen', sa.Boolean(), nullable=False),
    sa.Column('actor', sa.Text(), nullable=False),
    sa.Column('commit_id', sa.String(length=64), nullable=True),
    sa.Column('at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_optimizations'))
    )
    op.create_index(op.f('ix_optimizations_model_version_at'), 'optimizations', ['model', 'version', 'at'], unique=False)
