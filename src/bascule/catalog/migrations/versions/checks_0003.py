"""What checks measured, as numbers, and their states over data files."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('check_results') as batch:
        batch.add_column(sa.Column('value', sa.Double(), nullable=True))
        batch.add_column(sa.Column('looked_at', sa.String(length=10), nullable=True))
    op.create_table('check_states',
    sa.Column('part', sa.String(length=64), nullable=False),
    sa.Column('measure', sa.String(length=64), nullable=False),
    sa.Column('scope', sa.String(length=64), nullable=False),
    sa.Column('state_json', sa.Text(), nullable=False),
    sa.Column('at', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('part', 'measure', name=op.f('pk_check_states')),
    comment='What checks measured of data files, so that a check after an append reads the append. May be deleted.'
    )
    op.create_index(op.f('ix_check_states_scope'), 'check_states', ['scope'], unique=False)
