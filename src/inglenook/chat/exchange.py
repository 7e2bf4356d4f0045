# SPDX-License-Identifier: Apache-2.0
"""The right to ask a loaded language model, and what is asked with it."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from inglenook.catalog.model import ModelRecord
from inglenook.chat.model import Choice
from inglenook.engines.llamacpp.child import Reply
from inglenook.runtime.contracts import ChildFailed, Lease
from inglenook.wire.llama import LoadLanguageModel, Mode

log = logging.getLogger(__name__)

TRIES: Final = 2


class AsksModel(Protocol):
    """A child that answers llama.cpp's HTTP: `LlamaChild`, or a fake of it."""

    def request(
        self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[Reply]: ...


@dataclass(frozen=True, slots=True)
class Usage:
    """What one request has used, as its answer told. `seconds`: of the completion."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float | None = None


Told = Callable[[Usage], None]
Again = Callable[[], Awaitable[Lease]]


class Exchange:
    """Holds one slot of a loaded model, as long as the context of `ChatService.exchange` lasts.

    Attributes:
        model: that answers.
        choices: how it is loaded, and why; where the request asked for something else, that too.
        retried: whether the model's process died before its first byte and another took its place.
    """

    def __init__(self, *, model: ModelRecord, lease: Lease, again: Again, told: Told, asked: "Asked") -> None:
        self.model = model
        self.retried = False
        self._lease = lease
        self._again = again
        self._told = told
        self._asked = asked

    @property
    def lease(self) -> Lease:
        return self._lease

    @property
    def load(self) -> LoadLanguageModel:
        """How the model is loaded."""
        return loaded(self._lease)

    @property
    def mode(self) -> Mode:
        """What its process answers: `chat`, `embedding` or `rerank`. Where a rerank was asked of an embedding
        model it is `embedding`: the distances are for the caller to compute."""
        return self.load.mode

    @property
    def choices(self) -> tuple[Choice, ...]:
        return self._asked.choices(self._lease)

    @asynccontextmanager
    async def request(
        self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Reply]:
        """Ask llama.cpp's own HTTP interface. Returns with the first piece of the answer at hand; when the
        process dies before that, it is asked once more on a new one. After that piece never again.

        Leaving the context before the end of the answer stops the generation at once.

        Raises:
            ChildFailed: it is gone, or goes before it has answered. `Reply.content` raises it when the
                process dies in the middle.
            LeaseStopped, Unavailable: while a new process was waited for.
        """
        async with AsyncExitStack() as stack:
            reply = await self._begin(stack, method, path, body, headers)
            yield reply

    async def _begin(
        self,
        stack: AsyncExitStack,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str] | None,
    ) -> Reply:
        for attempt in range(1, TRIES + 1):
            lease = self._lease
            try:
                async with AsyncExitStack() as attempted:
                    asked = _child(lease).request(method, path, body=body, headers=headers)
                    reply = await attempted.enter_async_context(asked)
                    content = aiter(reply.content)
                    first = await anext(content, None)
                    stack.push_async_exit(attempted.pop_all())
                return Reply(reply.status, reply.headers, _after(first, content))
            except ChildFailed as failed:
                if attempt == TRIES or not self._asked.may_retry:
                    raise
                log.info(
                    "%s died before its first byte, it is asked again: %s", self.model.id, failed.message
                )
            await self._renew(lease)
        raise AssertionError("the last try returns or raises")

    async def _renew(self, dead: Lease) -> None:
        if self._lease is dead:  # else another request of this exchange has done it
            dead.release()
            self._lease = await self._again()
            self.retried = True

    def used(self, usage: Usage) -> None:
        """Tell what a request has used, for the counters of the model."""
        self._told(usage)

    def release(self) -> None:
        """Idempotent."""
        self._lease.release()


class Asked(Protocol):
    """What the request wanted, against what it got."""

    @property
    def may_retry(self) -> bool: ...

    def choices(self, lease: Lease) -> tuple[Choice, ...]: ...


async def _after(first: bytes | None, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first is not None:
        yield first
        async for part in rest:
            yield part


def loaded(lease: Lease) -> LoadLanguageModel:
    plan = lease.loaded if lease.loaded is not None else lease.request.plan
    load = plan.options["load"]
    assert isinstance(load, LoadLanguageModel)
    return load


def _child(lease: Lease) -> AsksModel:
    child = lease.child
    assert hasattr(child, "request"), f"{lease.request.plan.engine} is no engine of language models"
    return child  # type: ignore[return-value]  # the engine of the plan makes children of this kind
