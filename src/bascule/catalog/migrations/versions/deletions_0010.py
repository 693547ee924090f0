"""Which versions of models were deleted, and what brings them back until they are purged."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('model_deletions',
    sa.Column('id', sa.String(length=40), nullable=False),
    sa.Column('model', sa.String(length=256), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('version_id', sa.String(length=40), nullable=False),
    sa.Column('branch', sa.String(length=250), nullable=False),
    sa.Column('commit_id', sa.String(length=64), nullable=False),
    sa.Column('actor', sa.Text(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('at', sa.BigInteger(), nullable=False),
    sa.Column('held_json', sa.Text(), nullable=False),
    sa.Column('purged_at', sa.BigInteger(), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_model_deletions'))
    )
    op.create_index(op.f('ix_model_deletions_version_id'), 'model_deletions', ['version_id'], unique=False)
    op.create_index(op.f('ix_model_deletions_model_version'), 'model_deletions', ['model', 'version'], unique=False)
