# SPDX-License-Identifier: Apache-2.0
"""A conversation as a document: JSON that can be brought back, Markdown for people, all as a zip file.

Pictures that were given to a conversation travel inside its JSON; those of the gallery are named by id.
"""

import base64
import binascii
import io
import json
import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from inglenook.base.errors import NotFound
from inglenook.base.ids import BlobId, ConversationId, MessageId, ModelId, PersonId, new_id
from inglenook.base.piping import Pipe
from inglenook.chat.conversations.errors import BadMessage
from inglenook.chat.conversations.model import (
    MAX_SYSTEM_CHARS,
    MAX_TITLE_CHARS,
    NEXT,
    Conversation,
    Image,
    Message,
    MessageState,
    Part,
    Reasoning,
    Role,
    Text,
    Tool,
    Turn,
    path_to,
)
from inglenook.chat.conversations.parameters import parameters_of
from inglenook.store.text import storable

FORMAT: Final = "inglenook.conversation"
VERSION: Final = 1
MAX_MESSAGES: Final = 20_000
MAX_DOCUMENTS: Final = 10_000
MAX_DOCUMENT_BYTES: Final = 256 * 1024 * 1024
_PIECE_CHARS: Final = 40

Read = Callable[[BlobId], bytes]
Keep = Callable[[bytes], BlobId]


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON of one conversation. Times are ISO 8601."""

    format: str
    version: int
    title: str = ""
    model: str = ""
    system: str = ""
    parameters: dict[str, Any] = {}
    pinned: bool = False
    archived: bool = False
    created_at: datetime
    updated_at: datetime
    shown: str | None = None
    messages: tuple["Said", ...] = ()
    files: dict[str, str] = {}
    """Pictures that were given to it: SHA-256 → base64 of the PNG."""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a document."""

    id: str
    parent: str | None = None
    role: str
    state: str = MessageState.DONE
    parts: tuple[Part, ...] = ()
    model: str = ""
    finish_reason: str | None = None
    usage: dict[str, Any] = {}
    timings: dict[str, Any] = {}
    error: dict[str, Any] | None = None
    created_at: datetime
    finished_at: datetime | None = None


# -- out -------------------------------------------------------------------------------------------------


def as_document(conversation: Conversation, messages: Sequence[Message], read: Read) -> bytes:
    """JSON with every branch. A file that is gone is left out. Blocks."""
    files: dict[str, str] = {}
    for blob in sorted({blob for message in messages for blob in message.blobs}):
        try:
            files[blob] = base64.b64encode(read(blob)).decode()
        except NotFound:
            continue
    names = ("title", "model", "system", "pinned", "archived", "created_at", "updated_at", "shown")
    document = Document(
        format=FORMAT,
        version=VERSION,
        **{name: getattr(conversation, name) for name in names},
        parameters=conversation.parameters.as_json(),
        messages=tuple(
            Said(**{name: getattr(it, name) for name in Said.__struct_fields__}) for it in messages
        ),
        files=files,
    )
    return msgspec.json.format(msgspec.json.encode(document), indent=1)


def as_markdown(conversation: Conversation, path: Iterable[Turn]) -> str:
    """The branch that is shown."""
    said = [f"# {conversation.title or 'Conversation'}", ""]
    said += [f"*{conversation.created_at:%Y-%m-%d %H:%M} UTC*", ""]
    if conversation.system.strip():
        said += ["## System", "", conversation.system.strip(), ""]
    for turn in path:
        message = turn.message
        who = "You" if message.role is Role.USER else message.model or "Model"
        said += [f"## {who}", "", *(line for part in message.parts for line in _markdown(part))]
        if message.state is not MessageState.DONE and message.role is Role.ASSISTANT:
            why = message.error["message"] if message.error else message.finish_reason
            said += [f"*({message.state}: {why})*", ""]
    return "\n".join(said)


def _markdown(part: Part) -> list[str]:
    if isinstance(part, Text):
        return [part.text.strip("\n"), ""]
    if isinstance(part, Reasoning):
        return ["<details><summary>Reasoning</summary>", "", part.text.strip("\n"), "", "</details>", ""]
    if isinstance(part, Image):
        return [f"*(picture {part.picture or part.blob})*", ""]
    drawn = "".join(f" {picture}" for picture in part.pictures)
    return [f"*({part.name}: {part.arguments}{' →' if drawn else ''}{drawn})*", ""]


def archive(conversations: Iterable[tuple[Conversation, Sequence[Message]]], read: Read) -> Iterator[bytes]:
    """A zip file of JSON and Markdown of each, piece by piece. Blocks."""
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as made:
        for conversation, messages in conversations:
            name = file_name(conversation)
            path = path_to(messages, conversation.shown)
            made.writestr(f"{name}.json", as_document(conversation, messages, read))
            made.writestr(f"{name}.md", as_markdown(conversation, path))
            yield pipe.take()
    yield pipe.take()


def file_name(conversation: Conversation) -> str:
    """A name for people, safe on every system, without suffix: `how-do-foxes-sleep-01abc…`."""
    plain = unicodedata.normalize("NFKD", conversation.title).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "-", plain.lower())[:_PIECE_CHARS].strip("-")
    return f"{words or 'conversation'}-{conversation.id.removeprefix('cnv_')}"


# -- in --------------------------------------------------------------------------------------------------


def documents_in(data: bytes) -> Iterator[bytes]:
    """The JSON documents of a file: it is one, or a zip file that holds some.

    Raises:
        BadMessage: too many, or one that is too large once unpacked.
    """
    if not data.startswith(b"PK\x03\x04"):
        yield data
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            names = [one for one in packed.infolist() if one.filename.endswith(".json")]
            if not names or len(names) > MAX_DOCUMENTS:
                raise _bad(
                    f"The zip file holds {len(names)} conversations; 1 to {MAX_DOCUMENTS} can be read."
                )
            room = MAX_DOCUMENT_BYTES
            for one in names:
                with packed.open(one) as source:
                    document = source.read(room + 1)
                room -= len(document)
                if room < 0:
                    raise _bad(f"The zip file is larger than {MAX_DOCUMENT_BYTES} bytes once unpacked.")
                yield document
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise _bad(f"The zip file cannot be read: {error}.") from error


def read_document(
    data: bytes, *, owner: PersonId, now: datetime, keep: Keep
) -> tuple[Conversation, list[Message]]:
    """A conversation of our own JSON, with ids of its own. Blocks.

    Args:
        keep: a picture that was given to it, as for one that is uploaded: decoded and bounded.

    Raises:
        BadMessage: it is none, or what it says cannot be. Invalid, TooLarge: of its pictures.
    """
    document = _decoded(data)
    kept = {name: keep(_file(name, text)) for name, text in document.files.items()}
    ids: dict[str, MessageId] = {}
    messages: list[Message] = []
    for said in document.messages:
        if said.id in ids:
            raise _bad(f"Two messages have the id {said.id[:60]!r}.")
        if said.parent is not None and said.parent not in ids:
            raise _bad(f"The message {said.id[:60]!r} follows one that does not come before it.")
        ids[said.id] = MessageId(new_id("msg", now))
        messages.append(_message(said, ids, kept))
    shown = None if document.shown is None else ids.get(document.shown)
    conversation = Conversation(
        id=ConversationId(new_id("cnv", now)),
        owner=owner,
        title=storable(document.title)[:MAX_TITLE_CHARS],
        model=ModelId(storable(document.model)),
        system=storable(document.system)[:MAX_SYSTEM_CHARS],
        parameters=parameters_of(document.parameters),
        created_at=_aware(document.created_at),
        updated_at=_aware(document.updated_at),
        shown=shown or (messages[-1].id if messages else None),
        pinned=document.pinned,
        archived=document.archived,
    )
    return conversation, messages


def _decoded(data: bytes) -> Document:
    try:
        document = msgspec.json.decode(data, type=Document)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _bad(f"This is no conversation that was exported here: {error}.") from error
    if document.format != FORMAT or document.version != VERSION:
        raise _bad(
            f"The file has the format {document.format[:40]!r}, version {document.version}; "
            f"{FORMAT!r}, version {VERSION} can be read."
        )
    if len(document.messages) > MAX_MESSAGES:
        raise _bad(f"The conversation has {len(document.messages)} messages; at most {MAX_MESSAGES}.")
    return document


def _message(said: Said, ids: Mapping[str, MessageId], kept: Mapping[str, BlobId]) -> Message:
    try:
        role, state = Role(said.role), MessageState(said.state)
    except ValueError as error:
        raise _bad(f"The message {said.id[:60]!r} cannot be read: {error}.") from error
    ended = bool(NEXT[state])  # what was being written over there is not being written here
    parts = tuple(part for it in said.parts if (part := _part(it, kept)) is not None)
    return Message(
        id=ids[said.id],
        parent=None if said.parent is None else ids[said.parent],
        role=role,
        state=MessageState.STOPPED if ended else state,
        parts=parts,
        created_at=_aware(said.created_at),
        model=storable(said.model),
        finish_reason="interrupted" if ended else said.finish_reason and storable(said.finish_reason)[:32],
        usage=_plain(said.usage),
        timings=_plain(said.timings),
        error=None if said.error is None else _plain(said.error),
        finished_at=None if said.finished_at is None else _aware(said.finished_at),
    )


def _part(part: Part, kept: Mapping[str, BlobId]) -> Part | None:
    """None for a picture whose file did not come along."""
    if isinstance(part, Image) and part.picture is None:
        blob = kept.get(part.blob or "")
        return None if blob is None else Image(blob=blob)
    if isinstance(part, Tool):
        texts = ("id", "name", "arguments", "result")
        return msgspec.structs.replace(
            part, **{it: storable(text) for it in texts if (text := getattr(part, it)) is not None}
        )
    if isinstance(part, Image):
        return part
    return msgspec.structs.replace(part, text=storable(part.text))


def _plain(document: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(storable(json.dumps(dict(document), ensure_ascii=False)))
    return plain


def _file(name: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _bad(f"The picture {name[:20]!r} cannot be read: {error}.") from error


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _bad(message: str) -> BadMessage:
    return BadMessage(message, field="file", code="conversation.file")
