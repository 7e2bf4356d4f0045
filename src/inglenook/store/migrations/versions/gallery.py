# SPDX-License-Identifier: Apache-2.0
"""The gallery: favourites, tags, a trash, privacy, and words to search for."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

from inglenook.store.text import search_document

revision = "0002_gallery"
down_revision = "0001_jobs_pictures_footprints"

_MOMENT = sa.DateTime(timezone=True)
_LISTED, _TRASHED = sa.text("deleted_at IS NULL"), sa.text("deleted_at IS NOT NULL")
_FAVOURITES = sa.text("deleted_at IS NULL AND favourite")
_LISTED_BY = [
    *("owner", "number", "favourite", "mode", "has_lora", "width", "height", "created_at", "source"),
    *("is_public", "public_until", "model"),
]
_INDEXES = (
    ("ix_pictures_listed", _LISTED_BY, _LISTED),
    ("ix_pictures_by_model", ["owner", "model", "number"], _LISTED),
    ("ix_pictures_favourites", ["owner", "number"], _FAVOURITES),
    ("ix_pictures_trashed", ["owner", "number", "deleted_at"], _TRASHED),
)
_FILLED_AT_ONCE = 1000

_SQLITE_WORDS = (
    (
        "CREATE VIRTUAL TABLE picture_words USING fts5("
        "words, content='pictures', content_rowid='number', "
        "detail='none', prefix='2 3', tokenize='unicode61')"
    ),
    "INSERT INTO picture_words (picture_words) VALUES ('rebuild')",
    (
        "CREATE TRIGGER picture_words_insert AFTER INSERT ON pictures BEGIN "
        "INSERT INTO picture_words (rowid, words) VALUES (new.number, new.words); END"
    ),
    (
        "CREATE TRIGGER picture_words_delete AFTER DELETE ON pictures BEGIN "
        "INSERT INTO picture_words (picture_words, rowid, words) "
        "VALUES ('delete', old.number, old.words); END"
    ),
    (
        "CREATE TRIGGER picture_words_update AFTER UPDATE OF words ON pictures BEGIN "
        "INSERT INTO picture_words (picture_words, rowid, words) VALUES ('delete', old.number, old.words); "
        "INSERT INTO picture_words (rowid, words) VALUES (new.number, new.words); END"
    ),
)
_POSTGRES_WORDS = (
    "CREATE INDEX picture_words ON pictures USING gin (array_to_tsvector(string_to_array(words, ' ')))"
)


def upgrade() -> None:
    for column in _added():
        op.add_column("pictures", column)
    _fill(op.get_bind())
    op.drop_index("ix_pictures_owner_number", "pictures")
    for name, columns, where in _INDEXES:
        op.create_index(name, "pictures", columns, sqlite_where=where, postgresql_where=where)
    op.create_table(
        "picture_tags",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column(
            "picture",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("owner", "tag", "picture", name="pk_picture_tags"),
        sa.ForeignKeyConstraint(
            ["picture"], ["pictures.number"], name="fk_picture_tags_picture_pictures", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_picture_tags_picture", "picture_tags", ["picture"])
    for statement in _SQLITE_WORDS if _is_sqlite() else (_POSTGRES_WORDS,):
        op.execute(statement)


def _added() -> list[sa.Column[Any]]:
    """New each time: a column belongs to the statement that was made with it."""
    return [
        sa.Column("source", sa.String(16), nullable=False, server_default="made"),
        sa.Column("favourite", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("tags", sa.Text(), nullable=False, server_default=""),
        sa.Column("deleted_at", _MOMENT, nullable=True),
        sa.Column("is_public", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("public_until", _MOMENT, nullable=True),
        sa.Column("mode", sa.String(16), nullable=True),
        sa.Column("has_lora", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("words", sa.Text(), nullable=False, server_default=""),
    ]


def _is_sqlite() -> bool:
    return bool(op.get_bind().dialect.name == "sqlite")


def _fill(connection: sa.Connection) -> None:
    """What the new columns say of the pictures that are there."""
    number = sa.column("number", sa.BigInteger())
    pictures = sa.table(
        "pictures",
        number,
        *(sa.column(name, sa.Text()) for name in ("model", "prompt", "mode", "words")),
        sa.column("has_lora", sa.Boolean()),
        sa.column("parameters", sa.JSON()),
    )
    column = pictures.c
    last = -1
    while True:
        query = sa.select(number, column.model, column.prompt, column.parameters).where(number > last)
        rows = connection.execute(query.order_by(number).limit(_FILLED_AT_ONCE)).all()
        for row in rows:
            values = _read_off(row.model, row.prompt, row.parameters)
            connection.execute(sa.update(pictures).where(number == row.number).values(**values))
        if len(rows) < _FILLED_AT_ONCE:
            return
        last = rows[-1].number


def _read_off(model: str, prompt: str, parameters: Any) -> dict[str, Any]:
    known = json.loads(parameters) if isinstance(parameters, str) else parameters
    known = known if isinstance(known, dict) else {}
    mode = known.get("mode")
    return {
        "mode": mode[:16] if isinstance(mode, str) and mode else None,
        "has_lora": bool(known.get("loras")),
        "words": search_document(prompt, str(known.get("negative_prompt") or ""), model),
    }


def downgrade() -> None:
    if _is_sqlite():
        for name in ("insert", "delete", "update"):
            op.execute(f"DROP TRIGGER picture_words_{name}")
        op.execute("DROP TABLE picture_words")
    else:
        op.drop_index("picture_words", "pictures")
    op.drop_table("picture_tags")
    for name, _, _ in _INDEXES:
        op.drop_index(name, "pictures")
    for column in _added():
        op.drop_column("pictures", column.name)
    op.create_index("ix_pictures_owner_number", "pictures", ["owner", "number"])
