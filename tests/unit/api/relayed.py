# SPDX-License-Identifier: Apache-2.0
"""A language service for the routes: the test says what each request is answered, and sees its end."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from inglenook.base.cancel import StopToken
from inglenook.base.errors import NotFound
from inglenook.base.ids import ModelId, PersonId
from inglenook.base.work import WorkClass
from inglenook.catalog.model import LanguageTask, ModelRecord
from inglenook.chat.model import KeptOptions, ModelState
from inglenook.chat.service import Hear, Usage
from inglenook.engines.llamacpp.child import Reply
from inglenook.runtime.contracts import ChildFailed, Failure

DEAD = ChildFailed(Failure("child.killed", "SmolLM2 was killed by the system (signal 9).", "try again"))


@dataclass
class Asked:
    """One request as the child saw it, and what became of it."""

    model: ModelRecord
    path: str
    body: bytes
    keep_s: float | None
    ended: bool = False
    stopped: bool = False


Answers = Callable[[Asked], "AsyncGenerator[bytes, None] | tuple[int, bytes]"]


@dataclass
class _Lease:
    waited_s: float = 0.25
    resident: str = "res_1"


@dataclass
class _Exchange:
    model: ModelRecord
    service: "ScriptedLanguage"
    keep_s: float | None
    mode: str = "chat"
    lease: _Lease = field(default_factory=_Lease)

    def used(self, usage: Usage) -> None:
        self.service.used.append(usage)

    @asynccontextmanager
    async def request(
        self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Reply]:
        if path == "/props":
            caps = {"supports_tools": self.service.knows_tools}
            told = {"chat_template_caps": caps, "modalities": {"vision": self.service.has_eyes}}
            yield Reply(200, {}, _one(json.dumps(told).encode()))
            return
        asked = Asked(self.model, path, body, self.keep_s)
        self.service.asked.append(asked)
        answer = self.service.answers(asked)
        status, content = (200, answer) if not isinstance(answer, tuple) else (answer[0], _one(answer[1]))
        try:
            yield Reply(status, {"content-type": "application/json"}, _to_the_end(content, asked))
        finally:
            asked.stopped = not asked.ended
            await content.aclose()


class ScriptedLanguage:
    """Implements what the routes need of `door.services.Language`.

    Attributes:
        records: the models that there are.
        defaults: what their owner has set.
        knows_tools, has_eyes: what the loaded model says of itself. mode: what its process answers.
        answers: what the child says; a status with a body, or the parts of a stream.
        room: cleared while there is none; who comes then waits and is told `explanation`.
    """

    def __init__(self, answers: Answers, *records: ModelRecord) -> None:
        self.answers = answers
        self.records = {str(record.id): record for record in records}
        self.names: dict[str, ModelId] = {}
        self.defaults: dict[str, Any] = {}
        self.knows_tools = self.has_eyes = False
        self.mode = "chat"
        self.used: list[Usage] = []
        self.asked: list[Asked] = []
        self.room = asyncio.Event()
        self.room.set()
        self.waiting = 0
        self.held = 0
        self.explanation: Mapping[str, Any] = {
            "position": 2,
            "waiting": 3,
            "reason": {"kind": "memory", "text": "no room:\nflux is at work"},
            "estimate_s": 4.0,
        }

    def find(self, name: str | None) -> ModelRecord:
        if name in (None, "", "auto"):
            return self.resolve(name)
        known = str(self.names.get(str(name), name))
        if known not in self.records:
            raise NotFound(
                f"There is no model {name!r}.", code="model.not_found", hint="nearest: starter", field="model"
            )
        return self.records[known]

    async def named(self, name: str | None, task: LanguageTask = LanguageTask.CHAT) -> ModelRecord:
        return self.resolve(name, task)

    async def found(self, name: str | None) -> ModelRecord:
        return self.find(name)

    def resolve(self, name: str | None, task: LanguageTask = LanguageTask.CHAT) -> ModelRecord:
        if name not in (None, "", "auto"):
            return self.find(name)
        for record in self.records.values():
            if record.language is not None and record.language.task is task:
                return record
        raise NotFound("There is no language model.", code="model.not_found", field="model")

    def aliases(self) -> Mapping[str, ModelId]:
        return self.names

    def task_of(self, model: ModelRecord) -> LanguageTask | None:
        return None if model.language is None else model.language.task

    def sees(self, model: ModelRecord) -> bool:
        return self.has_eyes and model.language is not None

    def defaults_for(self, model: ModelRecord) -> Mapping[str, Any]:
        return self.defaults

    def options(self, model: ModelId) -> KeptOptions:
        return KeptOptions()

    def state(self, model: ModelRecord) -> ModelState:
        return ModelState(model.id, "ready" if self.held else "unloaded", away_s=2.0, context=2048)

    @asynccontextmanager
    async def exchange(
        self,
        model: ModelRecord,
        *,
        person: PersonId,
        stop: StopToken,
        work_class: WorkClass = WorkClass.INTERACTIVE,
        keep_s: float | None = None,
        context: int | None = None,
        hear: Hear | None = None,
        task: LanguageTask | None = None,
    ) -> AsyncIterator[Any]:
        self.waiting += 1
        try:
            if hear is not None and not self.room.is_set():
                await hear(self.explanation)
            await self.room.wait()
        finally:
            self.waiting -= 1
        self.held += 1
        try:
            yield _Exchange(model, self, keep_s, self.mode)
        finally:
            self.held -= 1


async def _one(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


async def _to_the_end(content: AsyncGenerator[bytes, None], asked: Asked) -> AsyncIterator[bytes]:
    async for part in content:
        yield part
    asked.ended = True


async def stream(
    *parts: bytes, then: BaseException | None = None, hang: bool = False
) -> AsyncGenerator[bytes, None]:
    """`parts`, and then an error, or nothing for ever, or the end."""
    for part in parts:
        yield part
    if then is not None:
        raise then
    if hang:
        await asyncio.Event().wait()


def piece(index: int = 0, finish: str | None = None, **delta: Any) -> bytes:
    """One event of a chat that streams."""
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return event({"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]})


def event(data: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
COST = event(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "model": "m",
        "choices": [],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
        "timings": {"prompt_n": 6, "cache_n": 1, "predicted_n": 5, "predicted_ms": 500.0},
    }
)


def writes(text: str, *, finish: str = "stop") -> AsyncGenerator[bytes, None]:
    """A chat that streams `text` a few letters at a time."""
    letters = [piece(content=text[at : at + 3]) for at in range(0, len(text), 3)]
    return stream(piece(role="assistant", content=None), *letters, piece(finish=finish), COST, DONE)
