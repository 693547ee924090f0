"""Sessions of tracked scripts, and how far each of their journals is in the records."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('journals',
    sa.Column('id', sa.String(length=40), nullable=False),
    sa.Column('run_id', sa.String(length=40), nullable=False),
    sa.Column('status', sa.String(length=20), nullable=False),
    sa.Column('error', sa.Text(), nullable=True),
    sa.Column('at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_journals')),
    comment='Sessions of tracked scripts. A run is as its sessions are: several processes may write one.'
    )
    op.create_index(op.f('ix_journals_run_id'), 'journals', ['run_id'], unique=False)
    op.create_table('journal_parts',
    sa.Column('journal', sa.String(length=40), nullable=False),
    sa.Column('part', sa.String(length=80), nullable=False),
    sa.Column('taken', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('journal', 'part', name=op.f('pk_journal_parts')),
    comment='How far each journal is in the records. It is written with what the journal says, so that is there once.'
    )
