# SPDX-License-Identifier: Apache-2.0
"""Conversations, messages and presets in the database.

Every conversation has its words beside it, title and texts alike, as the gallery has them: SQLite keeps an
FTS5 index over them by triggers, PostgreSQL a GIN index over an expression.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from inglenook.base.ids import BlobId, ConversationId, MessageId, PersonId, PresetId
from inglenook.chat.conversations.model import Conversation, Message, MessageState, Part, Preset, Role
from inglenook.chat.conversations.parameters import parameters_of
from inglenook.store.columns import Line, Moment, json_column, metadata, number_column
from inglenook.store.database import Database
from inglenook.store.text import search_words

MAX_SEARCHED = 32
"""Words of a search that are looked for; the rest is not."""
MAX_WORDS = 20_000
MAX_WORD_CHARS = 500_000
"""Of one conversation, in the index: PostgreSQL takes a megabyte."""

_table = sa.Table(
    "conversations",
    metadata,
    number_column(),
    sa.Column("id", sa.String(40), nullable=False),
    sa.Column("owner", sa.Text(), nullable=False),
    sa.Column("title", Line(), nullable=False),
    sa.Column("model", Line(), nullable=False),
    sa.Column("system", Line(), nullable=False),
    json_column("parameters"),
    sa.Column("shown", sa.String(40), nullable=True),
    sa.Column("pinned", sa.Boolean(), nullable=False, server_default=sa.false()),
    sa.Column("archived", sa.Boolean(), nullable=False, server_default=sa.false()),
    sa.Column("created_at", Moment(), nullable=False),
    sa.Column("updated_at", Moment(), nullable=False),
    sa.Column("deleted_at", Moment(), nullable=True),
    sa.Column("words", sa.Text(), nullable=False, server_default=""),
    sa.UniqueConstraint("id"),
    sqlite_autoincrement=True,
)
_column = _table.c
_listed, _trashed = _column.deleted_at.is_(None), _column.deleted_at.is_not(None)
# The migration says the same for PostgreSQL; said here, it would import that dialect everywhere (2.5 MB).
sa.Index(
    "ix_conversations_listed",
    *(_column.owner, _column.archived, _column.pinned, _column.updated_at, _column.number),
    sqlite_where=_listed,
)
sa.Index(
    "ix_conversations_trashed",
    *(_column.owner, _column.deleted_at),
    sqlite_where=_trashed,
)

_messages = sa.Table(
    "messages",
    metadata,
    number_column(),
    sa.Column("id", sa.String(40), nullable=False),
    sa.Column("conversation", _column.number.type, nullable=False),
    sa.Column("parent", sa.String(40), nullable=True),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    json_column("parts"),
    sa.Column("model", Line(), nullable=False),
    sa.Column("finish_reason", sa.String(32), nullable=True),
    json_column("usage"),
    json_column("timings"),
    json_column("error", nullable=True),
    sa.Column("created_at", Moment(), nullable=False),
    sa.Column("finished_at", Moment(), nullable=True),
    sa.ForeignKeyConstraint(["conversation"], ["conversations.number"], ondelete="CASCADE"),
    sa.UniqueConstraint("id"),
    sa.Index(None, "conversation", "number"),
    sa.Index(None, "state"),
    sqlite_autoincrement=True,
)
_blobs = sa.Table(
    "message_blobs",
    metadata,
    sa.Column("message", _column.number.type, nullable=False, autoincrement=False),
    sa.Column("blob", sa.String(64), nullable=False),
    sa.PrimaryKeyConstraint("message", "blob"),
    sa.ForeignKeyConstraint(["message"], ["messages.number"], ondelete="CASCADE"),
    sa.Index(None, "blob"),
)
"""Which messages need which files, so that none goes that is needed."""

_presets = sa.Table(
    "presets",
    metadata,
    number_column(),
    sa.Column("id", sa.String(40), nullable=False),
    sa.Column("owner", sa.Text(), nullable=False),
    sa.Column("name", Line(), nullable=False),
    sa.Column("text", Line(), nullable=False),
    sa.UniqueConstraint("id"),
    sa.UniqueConstraint("owner", "name"),
    sqlite_autoincrement=True,
)

_KEPT = tuple(one.name for one in fields(Conversation))
_READ = sa.select(*(_column[name] for name in _KEPT))
_SAID = tuple(one.name for one in fields(Message))
_READ_SAID = sa.select(*(_messages.c[name] for name in _SAID))


class ConversationRecords:
    """The tables of conversations and messages. Everything blocks."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    def insert(self, conversation: Conversation, messages: Sequence[Message] = ()) -> None:
        """With all its messages, in one transaction."""
        words = _joined("", conversation.title, *(message.text for message in messages))
        row = {name: getattr(conversation, name) for name in _KEPT}
        row["parameters"] = conversation.parameters.as_json()
        with self._database.write() as connection:
            added = connection.execute(sa.insert(_table).values(**row, words=words))
            assert added.inserted_primary_key is not None
            number = int(added.inserted_primary_key[0])
            for message in messages:
                _insert_message(connection, number, message)

    def get(self, conversation: ConversationId, owner: PersonId) -> Conversation | None:
        """Also one that lies in the trash."""
        query = _READ.where(_column.id == conversation, _column.owner == owner)
        found = self._many(query)
        return found[0] if found else None

    def listing(
        self,
        owner: PersonId,
        *,
        limit: int,
        before: ConversationId | None = None,
        search: str = "",
        archived: bool | None = False,
        trashed: bool = False,
    ) -> list[Conversation]:
        """Pinned ones first, then those that were spoken in last.

        Args:
            before: only those after this one in that order.
            archived: None for all.
        """
        query = _READ.where(_column.owner == owner, _trashed if trashed else _listed)
        if archived is not None and not trashed:
            query = query.where(_column.archived if archived else ~_column.archived)
        if search.strip():
            words = search_words(search)[:MAX_SEARCHED]
            if not words:
                return []
            query = _MATCHES[self._database.dialect](query, words, not search[-1:].isalnum())
        if before is not None:
            query = query.where(_after(before, owner))
        order = (_column.pinned.desc(), _column.updated_at.desc(), _column.number.desc())
        return self._many(query.order_by(*order).limit(limit))

    def count(self, owner: PersonId, *, trashed: bool = False, archived: bool | None = None) -> int:
        query = sa.select(sa.func.count()).where(_column.owner == owner, _trashed if trashed else _listed)
        if archived is not None:
            query = query.where(_column.archived if archived else ~_column.archived)
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def set(self, conversation: ConversationId, owner: PersonId, **values: Any) -> bool:
        """Set columns of one that is not in the trash; False when there is none."""
        if "parameters" in values:
            values["parameters"] = values["parameters"].as_json()
        where = (_column.id == conversation, _column.owner == owner, _listed)
        with self._database.write() as connection:
            moved = connection.execute(sa.update(_table).where(*where).values(**values)).rowcount == 1
            if moved and "title" in values:
                _rewrite_words(connection, conversation)
            return bool(moved)

    def trash(self, conversation: ConversationId, owner: PersonId, when: datetime | None) -> bool:
        """Into the trash, or with None out of it; whether this call moved it."""
        state = _trashed if when is None else _listed
        statement = sa.update(_table).where(_column.id == conversation, _column.owner == owner, state)
        with self._database.write() as connection:
            return bool(connection.execute(statement.values(deleted_at=when)).rowcount == 1)

    def in_trash(
        self, *, owner: PersonId | None = None, before: datetime | None = None, limit: int
    ) -> list[tuple[ConversationId, PersonId]]:
        query = sa.select(_column.id, _column.owner).where(_trashed).order_by(_column.number).limit(limit)
        if owner is not None:
            query = query.where(_column.owner == owner)
        if before is not None:
            query = query.where(_column.deleted_at < before)
        with self._database.read() as connection:
            return [(ConversationId(it), PersonId(of)) for it, of in connection.execute(query)]

    def delete(self, conversation: ConversationId, owner: PersonId) -> frozenset[BlobId]:
        """For good, with its messages; the files that it needed."""
        of = sa.select(_column.number).where(_column.id == conversation, _column.owner == owner)
        wanted = sa.select(_messages.c.number).where(_messages.c.conversation.in_(of))
        with self._database.write() as connection:
            needed = connection.execute(sa.select(_blobs.c.blob).where(_blobs.c.message.in_(wanted)))
            blobs = frozenset(BlobId(blob) for blob in needed.scalars())
            connection.execute(sa.delete(_table).where(_column.id == conversation, _column.owner == owner))
        return blobs

    def mentions(self, blob: BlobId) -> bool:
        """Whether a message of anybody needs a file, also one in the trash."""
        query = sa.select(sa.literal(1)).where(_blobs.c.blob == blob).limit(1)
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    # -- messages ----------------------------------------------------------------------------------------

    def messages(self, conversation: ConversationId, owner: PersonId) -> list[Message]:
        """All of them, in the order in which they came."""
        joined = _READ_SAID.join(_table, _column.number == _messages.c.conversation)
        query = joined.where(_column.id == conversation, _column.owner == owner).order_by(_messages.c.number)
        with self._database.read() as connection:
            return [_message(row) for row in connection.execute(query).mappings()]

    def add(
        self, conversation: ConversationId, owner: PersonId, message: Message, *, title: str = ""
    ) -> bool:
        """Add a message and show it. False when the conversation is not there.

        Args:
            title: of the conversation, where it has none.
        """
        query = sa.select(_column.number, _column.title, _column.words).where(
            _column.id == conversation, _column.owner == owner, _listed
        )
        with self._database.write() as connection:
            row = connection.execute(query).mappings().first()
            if row is None:
                return False
            named = row["title"] or title
            _insert_message(connection, int(row["number"]), message)
            connection.execute(
                sa.update(_table)
                .where(_column.number == row["number"])
                .values(
                    title=named,
                    words=_joined(row["words"], named if named != row["title"] else "", message.text),
                    shown=message.id,
                    updated_at=message.created_at,
                )
            )
        return True

    def write(self, message: MessageId, parts: Sequence[Part]) -> bool:
        """What has been said so far; False when it is no longer being written."""
        return self._change(message, parts=msgspec.to_builtins(list(parts)))

    def finish(self, message: Message) -> bool:
        """The end of a message that was being written; whether this call has ended it."""
        values = {name: getattr(message, name) for name in _ENDS}
        values["parts"] = msgspec.to_builtins(list(message.parts))
        with self._database.write() as connection:
            moved = connection.execute(
                sa.update(_messages).where(_messages.c.id == message.id, _writing).values(**values)
            )
            if moved.rowcount != 1:
                return False
            _add_words(connection, message)
        return True

    def repair(self, now: datetime) -> int:
        """What a server that died left being written is stopped; how many."""
        values = {
            "state": MessageState.STOPPED.value,
            "finish_reason": "interrupted",
            "finished_at": now,
        }
        with self._database.write() as connection:
            return int(connection.execute(sa.update(_messages).where(_writing).values(**values)).rowcount)

    def _change(self, message: MessageId, **values: Any) -> bool:
        statement = sa.update(_messages).where(_messages.c.id == message, _writing).values(**values)
        with self._database.write() as connection:
            return bool(connection.execute(statement).rowcount == 1)

    def _many(self, query: sa.Select[Any]) -> list[Conversation]:
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            Conversation(**row | {"parameters": parameters_of(row["parameters"])}) for row in map(dict, rows)
        ]


_ENDS = ("state", "model", "finish_reason", "usage", "timings", "error", "finished_at")
_writing = _messages.c.state == MessageState.WRITING.value


class PresetRecords:
    """The table of system prompts that are kept under a name. Everything blocks."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    def listing(self, owner: PersonId) -> list[Preset]:
        """By name."""
        names = ("id", "owner", "name", "text")
        query = sa.select(*(_presets.c[name] for name in names)).where(_presets.c.owner == owner)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(_presets.c.name, _presets.c.number)).mappings().all()
        return [Preset(**dict(row)) for row in rows]

    def put(self, preset: Preset) -> Preset:
        """Keep it; one of the same name gets its text instead."""
        same = (_presets.c.owner == preset.owner, _presets.c.name == preset.name)
        with self._database.write() as connection:
            moved = connection.execute(sa.update(_presets).where(*same).values(text=preset.text))
            if moved.rowcount == 0:
                connection.execute(
                    sa.insert(_presets).values(
                        id=preset.id, owner=preset.owner, name=preset.name, text=preset.text
                    )
                )
                return preset
            kept = connection.execute(sa.select(_presets.c.id).where(*same)).scalar_one()
        return Preset(PresetId(kept), preset.owner, preset.name, preset.text)

    def delete(self, preset: PresetId, owner: PersonId) -> bool:
        where = (_presets.c.id == preset, _presets.c.owner == owner)
        with self._database.write() as connection:
            return bool(connection.execute(sa.delete(_presets).where(*where)).rowcount == 1)


def _message(row: sa.RowMapping) -> Message:
    parts = msgspec.convert(row["parts"], tuple[Part, ...])
    typed = {"role": Role(row["role"]), "state": MessageState(row["state"]), "parts": parts}
    return Message(**dict(row) | typed)


def _insert_message(connection: Connection, conversation: int, message: Message) -> None:
    row = {name: getattr(message, name) for name in _SAID}
    row["parts"] = msgspec.to_builtins(list(message.parts))
    added = connection.execute(sa.insert(_messages).values(**row, conversation=conversation))
    assert added.inserted_primary_key is not None
    number = int(added.inserted_primary_key[0])
    if message.blobs:
        connection.execute(
            sa.insert(_blobs), [{"message": number, "blob": blob} for blob in sorted(message.blobs)]
        )


# -- words -----------------------------------------------------------------------------------------------


def _joined(known: str, *texts: str) -> str:
    """The words of an index with those of further texts, each once, as many as are kept."""
    words = dict.fromkeys(known.split(" ") if known else ())
    words.update(dict.fromkeys(word for text in texts for word in search_words(text)))
    kept: list[str] = []
    chars = 0
    for word in words:
        chars += len(word) + 1
        if len(kept) == MAX_WORDS or chars > MAX_WORD_CHARS:
            break
        kept.append(word)
    return " ".join(kept)


def _add_words(connection: Connection, message: Message) -> None:
    of = sa.select(_messages.c.conversation).where(_messages.c.id == message.id).scalar_subquery()
    row = connection.execute(sa.select(_column.number, _column.words).where(_column.number == of)).one()
    words = _joined(row.words, message.text)
    when = {} if message.finished_at is None else {"updated_at": message.finished_at}
    connection.execute(sa.update(_table).where(_column.number == row.number).values(words=words, **when))


def _rewrite_words(connection: Connection, conversation: ConversationId) -> None:
    number, title = connection.execute(
        sa.select(_column.number, _column.title).where(_column.id == conversation)
    ).one()
    of = _READ_SAID.where(_messages.c.conversation == number).order_by(_messages.c.number)
    texts = [_message(row).text for row in connection.execute(of).mappings()]
    connection.execute(
        sa.update(_table).where(_column.number == number).values(words=_joined("", title, *texts))
    )


def _after(before: ConversationId, owner: PersonId) -> sa.ColumnElement[bool]:
    """Everything that the list has after one of its rows."""
    anchor = _table.alias()
    of = (anchor.c.id == before, anchor.c.owner == owner)
    pinned, updated, number = (
        sa.select(anchor.c[name]).where(*of).scalar_subquery() for name in ("pinned", "updated_at", "number")
    )
    same = _column.pinned == pinned
    earlier = sa.or_(
        _column.updated_at < updated, sa.and_(_column.updated_at == updated, _column.number < number)
    )
    return sa.or_(_column.pinned < pinned, sa.and_(same, earlier))


def _match_sqlite(query: sa.Select[Any], words: Sequence[str], whole: bool) -> sa.Select[Any]:
    """Every word in quotation marks, in which FTS5 knows no syntax; our words are letters and digits."""
    terms = [f'"{word}"' for word in words]
    if not whole:
        terms[-1] += "*"
    index = sa.table("conversation_words", sa.column("rowid"), sa.column("conversation_words"))
    found = sa.select(index.c.rowid).where(index.c.conversation_words.op("MATCH")(" ".join(terms)))
    return query.where(_column.number.in_(found))


def _match_postgres(query: sa.Select[Any], words: Sequence[str], whole: bool) -> sa.Select[Any]:
    """Every word as a quoted lexeme, in which `tsquery` knows no syntax."""
    terms = [f"'{word}'" for word in words]
    if not whole:
        terms[-1] += ":*"
    document = sa.func.array_to_tsvector(sa.func.string_to_array(_column.words, " "))
    return query.where(document.op("@@")(sa.cast(" & ".join(terms), _TsQuery())))


class _TsQuery(sa.types.UserDefinedType[str]):
    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "tsquery"


_MATCHES: Mapping[str, Callable[[sa.Select[Any], Sequence[str], bool], sa.Select[Any]]] = {
    "sqlite": _match_sqlite,
    "postgresql": _match_postgres,
}
