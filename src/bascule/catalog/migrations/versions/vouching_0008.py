"""Consent and signatures of model versions, and since when runs, experiments and logged models are deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('model_seals',
    sa.Column('id', sa.String(length=40), nullable=False),
    sa.Column('kind', sa.String(length=10), nullable=False),
    sa.Column('subject', sa.String(length=300), nullable=False),
    sa.Column('digest', sa.String(length=64), nullable=False),
    sa.Column('actor', sa.Text(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('key_id', sa.String(length=64), nullable=True),
    sa.Column('signature', sa.Text(), nullable=True),
    sa.Column('at', sa.BigInteger(), nullable=False),
    sa.Column('revoked_at', sa.BigInteger(), nullable=True),
    sa.Column('revoked_by', sa.Text(), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_model_seals'))
    )
    op.create_index(op.f('ix_model_seals_subject_kind'), 'model_seals', ['subject', 'kind'], unique=False)
    for table in ('experiments', 'runs', 'logged_models'):
        op.add_column(table, sa.Column('deleted_at', sa.BigInteger(), nullable=True))
        # What was deleted before is kept from now on for as long as what is deleted now.
        light = op.get_bind().dialect.name == "sqlite"
        moment = "CAST(strftime('%s', 'now') AS INTEGER)" if light else "CAST(extract(epoch FROM now()) AS BIGINT)"
        op.execute(f"UPDATE {table} SET deleted_at = {moment} * 1000000 WHERE lifecycle = 'deleted'")
