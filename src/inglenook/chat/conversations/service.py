# SPDX-License-Identifier: Apache-2.0
"""Keep, find, change, throw away and delete conversations. Everything here blocks."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from inglenook.base.clock import Clock
from inglenook.base.errors import Invalid
from inglenook.base.ids import BlobId, ConversationId, MessageId, ModelId, PersonId, PresetId, new_id
from inglenook.chat.conversations.documents import read_document
from inglenook.chat.conversations.errors import (
    BadMessage,
    ConversationNotFound,
    MessageNotFound,
    PresetNotFound,
    StillWriting,
)
from inglenook.chat.conversations.model import (
    MAX_NAME_CHARS,
    MAX_PICTURES,
    MAX_SYSTEM_CHARS,
    MAX_TEXT_CHARS,
    MAX_TITLE_CHARS,
    Conversation,
    Image,
    Message,
    MessageState,
    Part,
    Preset,
    Role,
    Text,
    newest_below,
    title_from,
)
from inglenook.chat.conversations.parameters import Parameters
from inglenook.chat.conversations.records import ConversationRecords, PresetRecords
from inglenook.store.blobs import BlobStore
from inglenook.store.text import storable

MAX_LISTED: Final = 1000
MAX_PRESETS: Final = 500
_SWEPT_AT_ONCE: Final = 200


class ConversationService:
    """The conversations of everybody; each person sees their own.

    Args:
        in_use: whether something outside the conversations (the gallery, a job) needs a blob's bytes.
        keep_deleted: how long a conversation lies in the trash before `sweep` deletes it for good.
    """

    def __init__(
        self,
        *,
        records: ConversationRecords,
        presets: PresetRecords,
        blobs: BlobStore,
        clock: Clock,
        in_use: Callable[[BlobId], bool],
        keep_deleted: timedelta,
    ) -> None:
        self._records = records
        self._presets = presets
        self._blobs = blobs
        self._clock = clock
        self._in_use = in_use
        self._keep_deleted = keep_deleted
        self._blob_turn = threading.Lock()

    # -- finding -----------------------------------------------------------------------------------------

    def get(self, conversation: ConversationId, *, caller: PersonId, trashed: bool = False) -> Conversation:
        """Raises ConversationNotFound, also for another person's."""
        found = self._records.get(conversation, caller)
        if found is None or (found.deleted_at is not None and not trashed):
            raise _no_conversation(conversation)
        return found

    def messages(self, conversation: ConversationId, *, caller: PersonId) -> Sequence[Message]:
        """All of them, in the order in which they came. Raises as `get`."""
        self.get(conversation, caller=caller, trashed=True)
        return self._records.messages(conversation, caller)

    def list(
        self,
        caller: PersonId,
        *,
        limit: int,
        before: ConversationId | None = None,
        search: str = "",
        archived: bool | None = False,
        trashed: bool = False,
    ) -> list[Conversation]:
        """Pinned ones first, then those that were spoken in last.

        Args:
            limit: 1 to `MAX_LISTED`.
            search: words that must all stand in title or texts; the last one may be the beginning of a word.

        Raises:
            Invalid: `limit` is out of bounds.
            ConversationNotFound: `before` is none of the caller's.
        """
        if not 1 <= limit <= MAX_LISTED:
            raise Invalid(f"limit is {limit}; it must be 1 to {MAX_LISTED}.", field="limit")
        if before is not None:
            self.get(before, caller=caller, trashed=True)
        return self._records.listing(
            caller, limit=limit, before=before, search=search, archived=archived, trashed=trashed
        )

    def count(self, caller: PersonId, *, trashed: bool = False, archived: bool | None = None) -> int:
        return self._records.count(caller, trashed=trashed, archived=archived)

    # -- making and changing -----------------------------------------------------------------------------

    def create(
        self,
        *,
        owner: PersonId,
        title: str = "",
        model: str = "",
        system: str = "",
        parameters: Parameters | None = None,
    ) -> Conversation:
        """Raises BadMessage: a title or a system prompt that is too long."""
        now = self._clock.now()
        made = Conversation(
            id=ConversationId(new_id("cnv", now)),
            owner=owner,
            title=_title(title),
            model=ModelId(storable(model)),
            system=_system(system),
            parameters=Parameters() if parameters is None else parameters,
            created_at=now,
            updated_at=now,
        )
        self._records.insert(made)
        return made

    def bring(
        self, documents: Iterable[bytes], *, owner: PersonId, keep: Callable[[bytes], BlobId]
    ) -> Sequence[Conversation]:
        """Keep conversations that were exported: all, or none where one of them cannot be read.

        Raises as `documents.read_document`.
        """
        now = self._clock.now()
        read = [read_document(one, owner=owner, now=now, keep=keep) for one in documents]
        with self._blob_turn:
            for _, messages in read:
                for message in messages:
                    _require_kept(message.blobs, self._blobs.exists)
            for conversation, messages in read:
                self._records.insert(conversation, messages)
        return [conversation for conversation, _ in read]

    def file(self, blob: BlobId) -> bytes:
        """A picture that was given to a conversation: PNG. Raises NotFound."""
        return self._blobs.read(blob)

    def change(self, conversation: ConversationId, *, caller: PersonId, **values: Any) -> Conversation:
        """Set `title`, `model`, `system`, `parameters`, `pinned`, `archived`.

        Raises:
            BadMessage: too long. ConversationNotFound: as `get`.
        """
        if "title" in values:
            values["title"] = _title(values["title"])
        if "system" in values:
            values["system"] = _system(values["system"])
        if values and not self._records.set(conversation, caller, **values):
            raise _no_conversation(conversation)
        return self.get(conversation, caller=caller)

    def show(self, conversation: ConversationId, message: MessageId, *, caller: PersonId) -> Conversation:
        """Show the branch that goes through a message, to its newest end."""
        messages = self._records.messages(conversation, caller)
        _find(messages, message)
        return self.change(conversation, caller=caller, shown=newest_below(messages, message))

    def say(
        self,
        conversation: ConversationId,
        parts: Sequence[Part],
        *,
        parent: MessageId | None,
        caller: PersonId,
    ) -> Message:
        """Add a message of the person's after `parent` (None: as a beginning).

        Raises:
            BadMessage: nothing is said, too much is, or the parent is no answer.
            MessageNotFound, ConversationNotFound. StillWriting: the parent is not finished.
        """
        with self._blob_turn:
            kept = _said(parts, self._blobs.exists)
            found = self.get(conversation, caller=caller)
            if parent is not None:
                before = _find(self._records.messages(conversation, caller), parent)
                if before.role is not Role.ASSISTANT:
                    raise BadMessage("A message follows an answer, not another message.", field="parent")
                _require_finished(before)
            message = self._message(Role.USER, parent, kept, state=MessageState.DONE)
            title = "" if found.title else title_from(message.text) or "Pictures"
            if not self._records.add(conversation, caller, message, title=title):
                raise _no_conversation(conversation)
        return message

    def begin(self, conversation: ConversationId, to: MessageId, *, model: str, caller: PersonId) -> Message:
        """Add an answer to a message, with nothing in it yet. Raises as `say`."""
        asked = _find(self._records.messages(conversation, caller), to)
        if asked.role is not Role.USER:
            raise BadMessage("Only a message of the user can be answered.", field="message")
        answer = replace(self._message(Role.ASSISTANT, to, (), state=MessageState.WRITING), model=model)
        if not self._records.add(conversation, caller, answer):
            raise _no_conversation(conversation)
        return answer

    def write(self, message: MessageId, parts: Sequence[Part]) -> bool:
        """Keep what has been said so far."""
        return self._records.write(message, parts)

    def finish(self, message: Message) -> bool:
        """The end of an answer. Whether it was being written."""
        return self._records.finish(message)

    def repair(self) -> int:
        """At start: nothing is being written any more. How many messages were."""
        return self._records.repair(self._clock.now())

    def _message(
        self, role: Role, parent: MessageId | None, parts: Iterable[Part], *, state: MessageState
    ) -> Message:
        now = self._clock.now()
        return Message(
            id=MessageId(new_id("msg", now)),
            parent=parent,
            role=role,
            state=state,
            parts=tuple(parts),
            created_at=now,
        )

    # -- throwing away -----------------------------------------------------------------------------------

    def trash(self, conversation: ConversationId, *, caller: PersonId) -> None:
        """Raises ConversationNotFound: it is not there, or in the trash already."""
        if not self._records.trash(conversation, caller, self._clock.now()):
            raise _no_conversation(conversation)

    def restore(self, conversation: ConversationId, *, caller: PersonId) -> Conversation:
        """Out of the trash, as it was. Raises ConversationNotFound: it is not in there."""
        if not self._records.trash(conversation, caller, None):
            raise _no_conversation(conversation)
        return self.get(conversation, caller=caller)

    def delete(self, conversation: ConversationId, *, caller: PersonId) -> None:
        """For good, with the files that nothing else needs; also out of the trash."""
        self.get(conversation, caller=caller, trashed=True)
        self._delete(conversation, caller)

    def empty_trash(self, *, caller: PersonId) -> int:
        """How many are gone."""
        return self._delete_all(lambda: self._records.in_trash(owner=caller, limit=_SWEPT_AT_ONCE))

    def sweep(self) -> int:
        """Delete for good what has lain in the trash for long enough; how many."""
        before = self._clock.now() - self._keep_deleted
        return self._delete_all(lambda: self._records.in_trash(before=before, limit=_SWEPT_AT_ONCE))

    def _delete_all(self, some: Callable[[], Sequence[tuple[ConversationId, PersonId]]]) -> int:
        deleted = 0
        while found := some():
            for conversation, owner in found:
                self._delete(conversation, owner)
                deleted += 1
        return deleted

    def _delete(self, conversation: ConversationId, owner: PersonId) -> None:
        with self._blob_turn:
            for blob in self._records.delete(conversation, owner):
                if not self._records.mentions(blob) and not self._in_use(blob):
                    self._blobs.delete(blob)

    # -- presets -----------------------------------------------------------------------------------------

    def presets(self, *, caller: PersonId) -> Sequence[Preset]:
        return self._presets.listing(caller)

    def keep_preset(self, name: str, text: str, *, caller: PersonId) -> Preset:
        """Keep a system prompt under a name; the same name again changes its text.

        Raises:
            BadMessage: a name or a text that is empty or too long, or too many presets.
        """
        kept = " ".join(storable(name).split())
        if not 0 < len(kept) <= MAX_NAME_CHARS:
            raise BadMessage(f"A name has 1 to {MAX_NAME_CHARS} characters.", field="name")
        if not text.strip():
            raise BadMessage("There is no text to keep.", field="text")
        known = self._presets.listing(caller)
        if len(known) >= MAX_PRESETS and kept not in {preset.name for preset in known}:
            raise BadMessage(f"{MAX_PRESETS} presets can be kept.", field="name", hint="delete one first")
        made = Preset(PresetId(new_id("pre", self._clock.now())), caller, kept, _system(text, "text"))
        return self._presets.put(made)

    def delete_preset(self, preset: PresetId, *, caller: PersonId) -> None:
        if not self._presets.delete(preset, caller):
            raise PresetNotFound(f"There is no preset {preset[:80]!r}.")


def _require_kept(blobs: Iterable[BlobId], is_kept: Callable[[BlobId], bool]) -> None:
    if not all(is_kept(blob) for blob in blobs):
        raise BadMessage("A picture of the message is not here.", field="content", hint="send it again")


def _no_conversation(conversation: ConversationId) -> ConversationNotFound:
    return ConversationNotFound(f"There is no conversation {conversation[:80]!r}.")


def _find(messages: Sequence[Message], wanted: MessageId) -> Message:
    for message in messages:
        if message.id == wanted:
            return message
    raise MessageNotFound(f"There is no message {wanted[:80]!r} in this conversation.")


def _require_finished(message: Message) -> None:
    if message.state is MessageState.WRITING:
        raise StillWriting("The answer is still being written.", hint="stop it, or wait for its end")


def _title(title: str) -> str:
    line = " ".join(storable(title).split())
    if len(line) > MAX_TITLE_CHARS:
        raise BadMessage(f"The title has {len(line)} characters; at most {MAX_TITLE_CHARS}.", field="title")
    return line


def _system(text: str, field: str = "system") -> str:
    if len(text) > MAX_SYSTEM_CHARS:
        raise BadMessage(
            f"The system prompt has {len(text)} characters; at most {MAX_SYSTEM_CHARS}.", field=field
        )
    return storable(text)


def _said(parts: Sequence[Part], is_kept: Callable[[BlobId], bool]) -> list[Part]:
    """What a person says, checked: texts and pictures."""
    kept: list[Part] = []
    for part in parts:
        if isinstance(part, Text):
            if len(part.text) > MAX_TEXT_CHARS:
                raise BadMessage(
                    f"The message has {len(part.text)} characters; at most {MAX_TEXT_CHARS}.", field="content"
                )
            if part.text.strip():
                kept.append(Text(storable(part.text)))
        elif isinstance(part, Image):
            _require_kept([] if part.blob is None else [BlobId(part.blob)], is_kept)
            kept.append(part)
        else:
            raise BadMessage("A message holds text and pictures.", field="content")
    if not kept:
        raise BadMessage("The message is empty.", field="content", hint="write something, or add a picture")
    if sum(isinstance(part, Image) for part in kept) > MAX_PICTURES:
        raise BadMessage(f"A message can have {MAX_PICTURES} pictures.", field="content")
    return kept
