# SPDX-License-Identifier: Apache-2.0
"""A conversation and its messages as values. Pure.

The messages form a tree: editing one and asking again are brothers of what was there. What is shown is the
path from the root to `Conversation.shown`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from inglenook.base.ids import BlobId, ConversationId, MessageId, ModelId, PersonId, PictureId, PresetId
from inglenook.chat.conversations.parameters import Parameters

MAX_TITLE_CHARS: Final = 200
TITLE_CHARS: Final = 60
"""Of a title that is made from the first message."""
MAX_SYSTEM_CHARS: Final = 100_000
MAX_TEXT_CHARS: Final = 1_000_000
MAX_PICTURES: Final = 16
"""In one message."""
MAX_NAME_CHARS: Final = 80


class Role(StrEnum):
    USER = "user"
    ASSISTANT = "assistant"


class MessageState(StrEnum):
    WRITING = "writing"  # the model is at it, or waits for its turn
    DONE = "done"
    STOPPED = (
        "stopped"  # by a person, by leaving the page, or by the end of the server; what was said is kept
    )
    FAILED = "failed"  # `error` says why; what was said is kept


NEXT: Mapping[MessageState, frozenset[MessageState]] = {
    MessageState.WRITING: frozenset({MessageState.DONE, MessageState.STOPPED, MessageState.FAILED}),
    MessageState.DONE: frozenset(),
    MessageState.STOPPED: frozenset(),
    MessageState.FAILED: frozenset(),
}
"""What may follow; `records.finish` guards it in SQL."""


class Text(msgspec.Struct, frozen=True, tag="text"):
    text: str


class Reasoning(msgspec.Struct, frozen=True, tag="reasoning"):
    """What the model said to itself before it spoke; never sent back to it."""

    text: str


class Image(msgspec.Struct, frozen=True, tag="image"):
    """A picture: of the gallery (`picture`), or one given to this conversation alone (`blob`, PNG)."""

    picture: str | None = None
    blob: str | None = None


class Tool(msgspec.Struct, frozen=True, tag="tool"):
    """A call of one of our own tools within an answer.

    Attributes:
        arguments: JSON as the model wrote it.
        result: what the model was told; None while it is not known.
        pictures: of the gallery, that it drew.
    """

    id: str
    name: str
    arguments: str
    result: str | None = None
    failed: bool = False
    pictures: tuple[str, ...] = ()


Part = Text | Reasoning | Image | Tool


@dataclass(frozen=True, slots=True)
class Message:
    """One turn.

    Attributes:
        parent: what it answers; None at a root.
        parts: in the order in which they were said.
        model: of an answer; "" of a person's message.
        finish_reason: as the model's engine gave it (`stop`, `length`, `tool_calls`), or who ended it:
            `cancelled`, `client_gone`, `shutdown`, `interrupted` (the server died), `error`.
        usage: tokens, as OpenAI counts them. timings: as llama.cpp measures them; milliseconds.
        error: code, message, hint.
    """

    id: MessageId
    parent: MessageId | None
    role: Role
    state: MessageState
    parts: tuple[Part, ...]
    created_at: datetime
    model: str = ""
    finish_reason: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    finished_at: datetime | None = None

    @property
    def text(self) -> str:
        """What was said, without reasoning and tools."""
        return "\n\n".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def blobs(self) -> frozenset[BlobId]:
        return frozenset(BlobId(p.blob) for p in self.parts if isinstance(p, Image) and p.blob is not None)

    @property
    def pictures(self) -> tuple[PictureId, ...]:
        """Pictures of the gallery in it, given or drawn."""
        found: list[str] = []
        for part in self.parts:
            if isinstance(part, Image) and part.picture is not None:
                found.append(part.picture)
            if isinstance(part, Tool):
                found.extend(part.pictures)
        return tuple(PictureId(it) for it in dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Conversation:
    """Attributes:
    title: "" until there is a message to make it from.
    model: that answers next; "" for the default one.
    system: the system prompt; "" for the model's own.
    shown: the last message of the path that is shown; None while there is none.
    deleted_at: since when it lies in the trash; None where it does not.
    """

    id: ConversationId
    owner: PersonId
    title: str
    model: ModelId
    system: str
    parameters: Parameters
    created_at: datetime
    updated_at: datetime
    shown: MessageId | None = None
    pinned: bool = False
    archived: bool = False
    deleted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Preset:
    """A system prompt kept under a name."""

    id: PresetId
    owner: PersonId
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Turn:
    """A message on the path that is shown, and its place among its brothers (0 the oldest)."""

    message: Message
    brothers: tuple[MessageId, ...]

    @property
    def place(self) -> int:
        return self.brothers.index(self.message.id)


def path_to(messages: Iterable[Message], last: MessageId | None) -> list[Turn]:
    """From the root to `last`, which is left out when it is not there. `messages` in the order they came."""
    by_id: dict[MessageId, Message] = {}
    children: dict[MessageId | None, list[MessageId]] = {}
    for message in messages:
        by_id[message.id] = message
        children.setdefault(message.parent, []).append(message.id)
    found: list[Turn] = []
    at = last
    while at is not None and (message_at := by_id.pop(at, None)) is not None:
        found.append(Turn(message_at, tuple(children[message_at.parent])))
        at = message_at.parent
    return found[::-1]


def newest_below(messages: Sequence[Message], top: MessageId) -> MessageId:
    """The end of the path that goes from `top` to the newest child each time."""
    newest = {message.parent: message.id for message in messages}  # the last one stays
    at = top
    for _ in messages:
        if at not in newest:
            break
        at = newest[at]
    return at


def title_from(text: str) -> str:
    """The first words of a message, at most `TITLE_CHARS` characters."""
    line = " ".join(text.split())
    if len(line) <= TITLE_CHARS:
        return line
    cut = line[: TITLE_CHARS - 1]
    words, _, _ = cut.rpartition(" ")
    return f"{(words if len(words) > TITLE_CHARS // 2 else cut).rstrip(' ,;:')}…"
