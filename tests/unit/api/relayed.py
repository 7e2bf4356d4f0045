# SPDX-License-Identifier: Apache-2.0
"""A language service for the routes: the test says what each request is answered, and sees its end."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from inglenook.base.cancel import StopToken
from inglenook.base.ids import PersonId
from inglenook.base.work import WorkClass
from inglenook.catalog.model import ModelRecord
from inglenook.chat.service import Hear
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


@dataclass
class _Exchange:
    model: ModelRecord
    service: "ScriptedLanguage"
    keep_s: float | None
    lease: _Lease = field(default_factory=_Lease)

    @asynccontextmanager
    async def request(
        self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Reply]:
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
    """Implements `door.services.Language`.

    Attributes:
        answers: what the child says; a status with a body, or the parts of a stream.
        room: cleared while there is none; who comes then waits and is told `explanation`.
    """

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
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
            yield _Exchange(model, self, keep_s)
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
