# SPDX-License-Identifier: Apache-2.0
"""One answer in a conversation: the model is asked, what it says is told and kept, its tools are called.

Each answer is a task of its own. Whoever follows it may leave: then it is stopped, and what was said is kept.
A person stops it by its message, from any page.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import msgspec

from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.clock import Clock
from inglenook.base.errors import Cancelled, Failed, InglenookError, NotFound, in_one_line
from inglenook.base.ids import BlobId, ConversationId, MessageId, PersonId, PictureId
from inglenook.catalog.model import ModelKind, ModelRecord
from inglenook.chat.conversations.chunks import Answer, summed, tools_of
from inglenook.chat.conversations.errors import BadMessage
from inglenook.chat.conversations.model import (
    Conversation,
    Image,
    Message,
    MessageState,
    Part,
    Tool,
    path_to,
)
from inglenook.chat.conversations.prompt import body_of, said_by_the_model
from inglenook.chat.conversations.service import ConversationService
from inglenook.chat.service import Hear

log = logging.getLogger(__name__)

KEPT_EVERY_S: Final = 2.0
"""How much of an answer a server that is killed may lose."""
MAX_ROUNDS: Final = 4
"""How often a model may call tools within one answer; then it is asked a last time, without any."""


class Speak(Protocol):
    """A model, asked once."""

    def __call__(
        self,
        model: ModelRecord,
        body: Mapping[str, Any],
        *,
        person: PersonId,
        stop: StopToken,
        context: int | None,
        hear: Hear,
        begun: Callable[[], None],
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        """OpenAI's chunks, with llama.cpp's `timings` in them.

        Args:
            body: of `/v1/chat/completions`. context: tokens that it needs at least.
            hear: told why it waits. begun: called when the wait is over.

        Raises InglenookError. Closing it stops the model at once.
        """
        ...


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool gave. `pictures`: of the gallery, that it drew."""

    text: str
    pictures: tuple[PictureId, ...] = ()


class ToolBox(Protocol):
    """Our own tools."""

    def described(self, names: tuple[str, ...]) -> list[Mapping[str, Any]]:
        """As OpenAI describes functions."""
        ...

    async def call(
        self,
        name: str,
        arguments: str,
        *,
        person: PersonId,
        given: tuple[Image, ...],
        hear: Hear,
    ) -> Result:
        """Cancelling the call cancels what it has begun.

        Args:
            arguments: JSON as the model wrote it. given: the pictures of the conversation, the last one last.

        Raises InglenookError: it could not be done; the model is told.
        """
        ...


@dataclass(frozen=True, slots=True)
class Event:
    """News of an answer: `message`, `wait`, `text`, `reasoning`, `tool`, `speed`, and at the end `done`."""

    kind: str
    data: Any


class Answers:
    """All answers that are being written.

    Args:
        find: a model by its name. Blocks.
        sees: whether a model sees pictures. Blocks.
        picture, blob: the file of a picture of the gallery, and of one that was given. Block.
        defaults: what a model's own options say for what nobody has said: names of the engine, and `system`.
    """

    def __init__(
        self,
        *,
        conversations: ConversationService,
        speak: Speak,
        find: Callable[[str], ModelRecord],
        sees: Callable[[ModelRecord], bool],
        picture: Callable[[PictureId, PersonId], bytes],
        blob: Callable[[BlobId], bytes],
        defaults: Callable[[ModelRecord], Mapping[str, Any]],
        tools: ToolBox,
        clock: Clock,
    ) -> None:
        self.conversations = conversations
        self.speak = speak
        self.tools = tools
        self.clock = clock
        self._find = find
        self._sees = sees
        self._picture = picture
        self._blob = blob
        self._defaults = defaults
        self._now: dict[MessageId, _Writing] = {}
        self._closed = False

    async def begin(
        self, conversation: ConversationId, to: MessageId, *, person: PersonId, model: str = ""
    ) -> "_Writing":
        """Begin an answer to a message; `events` of what is returned tells how it goes.

        Args:
            model: instead of the conversation's.

        Raises:
            NotFound, BadMessage: as `ConversationService.begin`; no such model, or one that does not talk.
            Cancelled: the server is stopping.
        """
        if self._closed:
            raise Cancelled("The server is stopping.", code="server.stopping")
        writing = await asyncio.to_thread(self._prepare, conversation, to, person, model)
        self._now[writing.message.id] = writing
        writing.start(lambda: self._now.pop(writing.message.id, None))
        return writing

    def stop(self, message: MessageId, *, person: PersonId) -> bool:
        """Whether it was being written, by this person's wish."""
        writing = self._now.get(message)
        if writing is None or writing.person != person:
            return False
        return writing.stop.stop(StopReason.CANCELLED)

    def is_writing(self, message: MessageId) -> bool:
        return message in self._now

    async def close(self) -> None:
        """Stop them all, and wait until what was said is kept."""
        self._closed = True
        for writing in list(self._now.values()):
            writing.stop.stop(StopReason.SHUTDOWN)
        await asyncio.gather(*(one.ended() for one in list(self._now.values())))

    def _prepare(
        self, conversation: ConversationId, to: MessageId, person: PersonId, model: str
    ) -> "_Writing":
        """Blocks."""
        found = self.conversations.get(conversation, caller=person)
        record = self._find(model or found.model or "auto")
        if record.kind is not ModelKind.LANGUAGE:
            raise BadMessage(
                f"{record.id} is a model of kind {record.kind}; it does not talk.",
                field="model",
                hint="choose a language model",
            )
        messages = self.conversations.messages(conversation, caller=person)
        path = [turn.message for turn in path_to(messages, to)]
        given = tuple(part for message in path for part in message.parts if isinstance(part, Image))
        sees = self._sees(record)
        pictures = {part: data for part in given if (data := self._file(part, person)) is not None}
        tools = self.tools.described(found.parameters.tools)
        own = dict(self._defaults(record))
        system = found.system or str(own.pop("system", ""))
        body = own | body_of(
            path,
            found.parameters,
            model=record.id,
            system=system,
            pictures=pictures,
            sees=sees,
            tools=tools,
        )
        answer = self.conversations.begin(conversation, to, model=record.id, caller=person)
        drawn = tuple(Image(picture=it) for message in path for it in message.pictures)
        return _Writing(self, found, answer, record, person, body, tuple(dict.fromkeys((*given, *drawn))))

    def _file(self, part: Image, person: PersonId) -> bytes | None:
        """Blocks. None where it is gone."""
        with suppress(NotFound):
            if part.picture is not None:
                return self._picture(PictureId(part.picture), person)
            if part.blob is not None:
                return self._blob(BlobId(part.blob))
        return None


class _Writing:
    """One answer. The only writer of its message."""

    def __init__(
        self,
        answers: Answers,
        conversation: Conversation,
        message: Message,
        model: ModelRecord,
        person: PersonId,
        body: dict[str, Any],
        given: tuple[Image, ...],
    ) -> None:
        self.message = message
        self.person = person
        self.stop = StopToken()
        self._answers = answers
        self._conversation = conversation
        self._model = model
        self._body = body
        self._given = given
        self._before: list[Part] = []
        """The parts of earlier rounds."""
        self._answer = Answer()
        self._usage: dict[str, Any] = {}
        self._timings: dict[str, Any] = {}
        self._news: asyncio.Queue[Event | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._kept_s = 0.0

    def start(self, then: Callable[[], object]) -> None:
        self._task = asyncio.create_task(self._run(), name=f"answer {self.message.id}")
        self._task.add_done_callback(lambda _: then())

    async def ended(self) -> None:
        assert self._task is not None
        await asyncio.wait({self._task})

    async def result(self) -> Message:
        """Wait for its end. Raises what nobody foresaw."""
        assert self._task is not None
        await self._task
        return self.message

    async def events(self) -> AsyncGenerator[Event, None]:
        """Everything until the end. Whoever leaves earlier stops the answer."""
        try:
            while (event := await self._news.get()) is not None:
                yield event
        finally:
            self.stop.stop(StopReason.CLIENT_GONE)

    async def leave(self) -> None:
        """Whoever followed it has gone."""
        self.stop.stop(StopReason.CLIENT_GONE)

    @property
    def parts(self) -> tuple[Part, ...]:
        return (*self._before, *self._answer.parts)

    # -- the task ----------------------------------------------------------------------------------------

    async def _run(self) -> None:
        self._tell("message", self.message)
        state, reason = MessageState.FAILED, "error"
        error: dict[str, Any] | None = {
            "code": "internal",
            "message": "Something went wrong inside the server; its log says what.",
            "hint": None,
        }
        try:
            reason = await _unless(self.stop, self._speak())
            state, error = MessageState.DONE, None
        except Cancelled as cancelled:
            state = MessageState.STOPPED
            reason, error = str(self.stop.reason or cancelled.code), None
        except InglenookError as failed:
            error = {"code": failed.code, "message": failed.message, "hint": failed.hint}
        finally:
            await self._end(state, reason, error)

    async def _end(self, state: MessageState, reason: str, error: dict[str, Any] | None) -> None:
        self._said(self._answer.end())
        self.message = replace(
            self.message,
            state=state,
            finish_reason=reason,
            error=error,
            parts=self.parts,
            usage=summed(self._usage, self._answer.usage),
            timings=summed(self._timings, self._answer.timings),
            finished_at=self._answers.clock.now(),
        )
        try:
            await asyncio.to_thread(self._answers.conversations.finish, self.message)
        finally:
            self._tell("done", self.message)
            self._news.put_nowait(None)

    async def _speak(self) -> str:
        """Ask, call tools, ask again; the reason of the end. Raises InglenookError."""
        for number in range(MAX_ROUNDS):
            await self._round()
            calls = tools_of(self._answer, number)
            if not calls or not self._body.get("tools"):
                return self._answer.finish_reason or "stop"
            await self._call(calls)
        del self._body["tools"]
        await self._round()
        return self._answer.finish_reason or "stop"

    async def _round(self) -> None:
        """One request. It is over, and the model free for others, before any tool is called."""
        speaking = self._answers.speak(
            self._model,
            self._body,
            person=self.person,
            stop=self.stop,
            context=self._conversation.parameters.context,
            hear=self._hear,
            begun=lambda: self._tell("wait", None),
        )
        async with aclosing(speaking):
            async for chunk in speaking:
                self._said(self._answer.take(chunk))
                self._speed()
                await self._keep()
        self._said(self._answer.end())
        if self._answer.finish_reason is None:
            raise Failed("The model's answer broke off.", code="model.broke_off", hint="try again")

    async def _call(self, calls: list[Tool]) -> None:
        """Call tools, one after the other, and put what they gave where the model reads it."""
        self._before.extend(self._answer.parts)
        self._usage = summed(self._usage, self._answer.usage)
        self._timings = summed(self._timings, self._answer.timings)
        self._answer = Answer()
        began = len(self._before)
        for call in calls:
            self._before.append(call)
            self._tell("tool", call)
            self._before[-1] = await self._called(call)
            self._tell("tool", self._before[-1])
            await self._keep(now=True)
        said = [part for part in self._before[:began] if not isinstance(part, Tool)][-1:]
        self._body["messages"].extend(said_by_the_model([*said, *self._before[began:]]))

    async def _called(self, call: Tool) -> Tool:
        try:
            result = await self._answers.tools.call(
                call.name,
                call.arguments,
                person=self.person,
                given=self._given,
                hear=self._hear,
            )
        except Cancelled:
            raise
        except InglenookError as error:
            words = in_one_line(error.message, error.hint)
            return msgspec.structs.replace(call, result=words, failed=True)
        self._given += tuple(Image(picture=it) for it in result.pictures)
        return msgspec.structs.replace(call, result=result.text, pictures=tuple(result.pictures))

    # -- telling and keeping -----------------------------------------------------------------------------

    def _tell(self, kind: str, data: Any) -> None:
        self._news.put_nowait(Event(kind, data))

    def _said(self, new: list[tuple[str, str]]) -> None:
        for kind, words in new:
            self._tell(kind, words)

    def _speed(self) -> None:
        per_second = self._answer.timings.get("predicted_per_second")
        if per_second:
            number = self._answer.timings.get("predicted_n")
            self._tell("speed", {"tokens": number, "per_second": round(float(per_second), 2)})

    async def _hear(self, explanation: Mapping[str, Any]) -> None:
        self._tell("wait", dict(explanation))

    async def _keep(self, *, now: bool = False) -> None:
        at_s = self._answers.clock.monotonic()
        if now or at_s - self._kept_s >= KEPT_EVERY_S:
            self._kept_s = at_s
            await asyncio.to_thread(self._answers.conversations.write, self.message.id, self.parts)


async def _unless(stop: StopToken, work: Coroutine[Any, Any, str]) -> str:
    """The result of `work`. Raises Cancelled as soon as somebody wishes it to stop, when it has stopped."""
    working, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Cancelled("The answer was stopped.", code="message.stopped")
    finally:
        working.cancel()
        stopped.cancel()
        await asyncio.gather(working, stopped, return_exceptions=True)
