# SPDX-License-Identifier: Apache-2.0
"""The ledger of outgoing connections."""

import sqlalchemy as sa
from alembic import op

revision = "0003_outgoing"
down_revision = "0002_gallery"


def upgrade() -> None:
    op.create_table(
        "outgoing",
        sa.Column(
            "number",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("received_bytes", sa.BigInteger(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("number", name="pk_outgoing"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    op.drop_table("outgoing")
