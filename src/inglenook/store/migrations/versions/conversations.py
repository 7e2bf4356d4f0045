# SPDX-License-Identifier: Apache-2.0
"""Conversations, their messages, the words to search for in them, and system prompts kept under a name."""

import sqlalchemy as sa
from alembic import op

revision = "0005_conversations"
down_revision = "0004_model_options"

_MOMENT = sa.DateTime(timezone=True)
_LISTED, _TRASHED = sa.text("deleted_at IS NULL"), sa.text("deleted_at IS NOT NULL")

_SQLITE_WORDS = (
    (
        "CREATE VIRTUAL TABLE conversation_words USING fts5("
        "words, content='conversations', content_rowid='number', "
        "detail='none', prefix='2 3', tokenize='unicode61')"
    ),
    (
        "CREATE TRIGGER conversation_words_insert AFTER INSERT ON conversations BEGIN "
        "INSERT INTO conversation_words (rowid, words) VALUES (new.number, new.words); END"
    ),
    (
        "CREATE TRIGGER conversation_words_delete AFTER DELETE ON conversations BEGIN "
        "INSERT INTO conversation_words (conversation_words, rowid, words) "
        "VALUES ('delete', old.number, old.words); END"
    ),
    (
        "CREATE TRIGGER conversation_words_update AFTER UPDATE OF words ON conversations BEGIN "
        "INSERT INTO conversation_words (conversation_words, rowid, words) "
        "VALUES ('delete', old.number, old.words); "
        "INSERT INTO conversation_words (rowid, words) VALUES (new.number, new.words); END"
    ),
)
_POSTGRES_WORDS = (
    "CREATE INDEX conversation_words ON conversations "
    "USING gin (array_to_tsvector(string_to_array(words, ' ')))"
)


def _number() -> sa.Column[int]:
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("number", kind, autoincrement=True, nullable=False)


def upgrade() -> None:
    _conversations()
    _messages()
    op.create_table(
        "presets",
        _number(),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_presets"),
        sa.UniqueConstraint("id", name="uq_presets_id"),
        sa.UniqueConstraint("owner", "name", name="uq_presets_owner_name"),
        sqlite_autoincrement=True,
    )
    for statement in _SQLITE_WORDS if _is_sqlite() else (_POSTGRES_WORDS,):
        op.execute(statement)


def _conversations() -> None:
    op.create_table(
        "conversations",
        _number(),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("shown", sa.String(40), nullable=True),
        sa.Column("pinned", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("archived", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        sa.Column("deleted_at", _MOMENT, nullable=True),
        sa.Column("words", sa.Text(), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("number", name="pk_conversations"),
        sa.UniqueConstraint("id", name="uq_conversations_id"),
        sqlite_autoincrement=True,
    )
    listed, trashed = ["owner", "archived", "pinned", "updated_at", "number"], ["owner", "deleted_at"]
    for name, columns, where in (("listed", listed, _LISTED), ("trashed", trashed, _TRASHED)):
        op.create_index(
            f"ix_conversations_{name}", "conversations", columns, sqlite_where=where, postgresql_where=where
        )


def _messages() -> None:
    whole = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "messages",
        _number(),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("conversation", whole, nullable=False),
        sa.Column("parent", sa.String(40), nullable=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("parts", sa.JSON(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("finish_reason", sa.String(32), nullable=True),
        sa.Column("usage", sa.JSON(), nullable=False),
        sa.Column("timings", sa.JSON(), nullable=False),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("finished_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("number", name="pk_messages"),
        sa.ForeignKeyConstraint(
            ["conversation"],
            ["conversations.number"],
            name="fk_messages_conversation_conversations",
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint("id", name="uq_messages_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_messages_conversation_number", "messages", ["conversation", "number"])
    op.create_index("ix_messages_state", "messages", ["state"])
    op.create_table(
        "message_blobs",
        sa.Column("message", whole, autoincrement=False, nullable=False),
        sa.Column("blob", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("message", "blob", name="pk_message_blobs"),
        sa.ForeignKeyConstraint(
            ["message"], ["messages.number"], name="fk_message_blobs_message_messages", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_message_blobs_blob", "message_blobs", ["blob"])


def _is_sqlite() -> bool:
    return bool(op.get_bind().dialect.name == "sqlite")


def downgrade() -> None:
    if _is_sqlite():
        for name in ("insert", "delete", "update"):
            op.execute(f"DROP TRIGGER conversation_words_{name}")
        op.execute("DROP TABLE conversation_words")
    else:
        op.drop_index("conversation_words", "conversations")
    for table in ("presets", "message_blobs", "messages", "conversations"):
        op.drop_table(table)
