# SPDX-License-Identifier: Apache-2.0
"""Options of language models."""

import sqlalchemy as sa
from alembic import op

revision = "0004_model_options"
down_revision = "0003_outgoing"


def upgrade() -> None:
    op.create_table(
        "model_options",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("model", name="pk_model_options"),
    )


def downgrade() -> None:
    op.drop_table("model_options")
