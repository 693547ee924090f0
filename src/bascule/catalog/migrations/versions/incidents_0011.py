"""What broke while versions were served: how often, why, since when."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('incidents',
    sa.Column('model', sa.String(length=256), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('artifact', sa.String(length=64), nullable=False),
    sa.Column('kind', sa.String(length=20), nullable=False),
    sa.Column('times', sa.BigInteger(), nullable=False),
    sa.Column('text', sa.Text(), nullable=False),
    sa.Column('first_at', sa.BigInteger(), nullable=False),
    sa.Column('last_at', sa.BigInteger(), nullable=False),
    sa.Column('over_at', sa.BigInteger(), nullable=True),
    sa.PrimaryKeyConstraint('model', 'version', 'artifact', 'kind', name=op.f('pk_incidents'))
    )
    op.create_index(op.f('ix_incidents_last_at'), 'incidents', ['last_at'], unique=False)
