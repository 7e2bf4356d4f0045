# SPDX-License-Identifier: Apache-2.0
"""What every child has that is a worker of our own: one model, one piece of work at a time.

An engine's child is a subclass that says which messages its work is made of.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, Generic, TypeVar

from inglenook.base.cancel import StopToken
from inglenook.base.units import format_seconds
from inglenook.runtime.contracts import ChildFailed, Failure, OutOfMemoryEvidence, StopReceipt
from inglenook.runtime.worker import WorkerProcess
from inglenook.wire.message import Cancel, Loaded, LoadFailed, Message, OutOfMemory

LOADING: Final = "while it was being loaded"
IDLE: Final = "while it was idle"

LastT = TypeVar("LastT", bound=Message)
Tell = Callable[[Message], Awaitable[None]]


class WorkerChild(Generic[LastT]):
    """One worker with one model. Its lease capacity is 1.

    Args:
        load: the message that loads the model.
        what: the worker's name in messages: `image worker`.
        working: what it does at work, in words: `while it drew`.
        last_words: the messages that end a piece of work.
    """

    def __init__(
        self,
        worker: WorkerProcess,
        load: Message,
        *,
        model: str,
        what: str,
        working: str,
        last_words: tuple[type[LastT], ...],
        start_timeout_s: float,
        cancel_grace_s: float,
        stop_grace_s: float,
    ) -> None:
        self._worker = worker
        self._load = load
        self._model = model
        self._what = what
        self._working = working
        self._last_words = last_words
        self._start_timeout_s = start_timeout_s
        self._cancel_grace_s = cancel_grace_s
        self._stop_grace_s = stop_grace_s
        self._at_work = asyncio.Lock()
        self._doing = LOADING

    @property
    def alive(self) -> bool:
        return self._worker.alive

    @property
    def pids(self) -> frozenset[int]:
        return self._worker.pids

    @property
    def spool(self) -> Path:
        """Where files are exchanged."""
        return self._worker.spool

    def log(self) -> tuple[str, ...]:
        return self._worker.log()

    async def ready(self) -> None:
        try:
            async with asyncio.timeout(self._start_timeout_s):
                await self._worker.connect(self._doing)
                await self._worker.send(self._load, self._doing)
                answer = await self._worker.watched(self._worker.receive(self._doing), self._doing)
        except TimeoutError:
            limit = format_seconds(self._start_timeout_s)
            text = f"{self._model} was not ready after {limit}."
            hint = "raise runtime.start_timeout_s, or look at the worker's last lines in `GET /v1/runtime`"
            raise ChildFailed(Failure("child.never_ready", text, hint, last_lines=self.log()[-5:])) from None
        if isinstance(answer, LoadFailed):
            raise ChildFailed(_load_failure(self._model, answer))
        if not isinstance(answer, Loaded):
            text = f"{self._model}: the {self._what} answered its load with {type(answer).__name__}."
            raise ChildFailed(Failure("wire.malformed", text))
        self._doing = IDLE

    async def exited(self) -> Failure | None:
        return await self._worker.gone(lambda: self._doing)

    async def stop(self, grace_s: float) -> StopReceipt:
        return await self._worker.stop(grace_s)

    async def discard(self) -> None:
        await self._worker.discard()

    async def work(self, asked: Message, *, job: str, cancelled: LastT, stop: StopToken, tell: Tell) -> LastT:
        """Send `asked` and return the last word on it; `tell` gets every message before that.

        When `stop` is set, the call is cancelled or `tell` raises, the worker is asked to stop; if it has
        not within the grace, its process is ended. After `stop` the answer is `cancelled` then.
        A worker that goes on living has said its last word on this piece of work before it gets the next.

        Raises:
            ChildFailed: the worker has ended.
        """
        ear = Ear(tell)
        session = asyncio.ensure_future(self._session(asked, job, cancelled, stop, ear))
        try:
            return await asyncio.shield(session)
        except asyncio.CancelledError:
            ear.enough.set()
            await asyncio.wait({session})  # may be cancelled too: the session goes on by itself
            raise
        finally:
            session.add_done_callback(_seen)

    async def _session(
        self, asked: Message, job: str, cancelled: LastT, stop: StopToken, ear: "Ear"
    ) -> LastT:
        async with self._at_work:
            self._doing = self._working
            conversation = asyncio.ensure_future(self.converse(asked, job, ear))
            stopped = asyncio.ensure_future(stop.wait())
            enough = asyncio.ensure_future(ear.enough.wait())
            try:
                await asyncio.wait({conversation, stopped, enough}, return_when=asyncio.FIRST_COMPLETED)
                if not conversation.done():
                    await self._worker.send(Cancel(job=job), self._doing)
                    await asyncio.wait({conversation}, timeout=self._cancel_grace_s)
                last = cancelled
                if conversation.done():
                    last = conversation.result()
                    self._doing = IDLE
                else:
                    await self._worker.stop(self._stop_grace_s)
                if ear.trouble is not None:
                    raise ear.trouble
                return last
            finally:
                for task in (conversation, stopped, enough):
                    task.cancel()
                conversation.add_done_callback(_seen)

    async def converse(self, asked: Message, job: str, ear: "Ear") -> LastT:  # noqa: ARG002 - for subclasses
        """Send what is asked and hear all that is said until the last word."""
        await self._worker.send(asked, self._doing)
        while True:
            message = await self._worker.receive(self._doing)
            if isinstance(message, self._last_words):
                return message
            await ear.hear(message)


class Ear:
    """Whoever is told of the work. After it has raised it is told nothing more, and the work is ended."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self.enough = asyncio.Event()
        self.trouble: BaseException | None = None

    async def hear(self, message: Message) -> None:
        if self.trouble is not None:
            return
        telling = asyncio.ensure_future(_told(self._tell, message))
        try:
            await asyncio.wait({telling})
        finally:
            telling.cancel()
        self.trouble = telling.exception()
        if self.trouble is not None:
            self.enough.set()


async def _told(tell: Tell, message: Message) -> None:
    await tell(message)


def _seen(task: "asyncio.Future[LastT]") -> None:
    """Whatever it raises has been told elsewhere, or nobody is there any more to be told."""
    if not task.cancelled():
        task.exception()


def evidence_of(out_of_memory: OutOfMemory | None) -> OutOfMemoryEvidence | None:
    if out_of_memory is None:
        return None
    return OutOfMemoryEvidence(
        "the allocator's error",
        out_of_memory.requested_bytes,
        out_of_memory.free_bytes,
        out_of_memory.total_bytes,
    )


def _load_failure(model: str, answer: LoadFailed) -> Failure:
    failure = Failure(answer.code, f"{model} could not be loaded: {answer.message}")
    return replace(failure, out_of_memory=evidence_of(answer.out_of_memory))
