# SPDX-License-Identifier: Apache-2.0
"""A worker of our own whose work can be parked in the middle: `Parkable` over the wire."""

import asyncio
from typing import Any, Generic, TypeVar

from inglenook.base.cancel import StopToken
from inglenook.runtime.contracts import NothingToPark, ParkReceipt, UnparkReceipt
from inglenook.runtime.worker import WorkerProcess
from inglenook.runtime.worker_child import Ear, LastT, Tell, WorkerChild
from inglenook.wire.message import Message
from inglenook.wire.studio.training import Park, Parked, Train, Unpark, Unparked

AnswerT = TypeVar("AnswerT", Parked, Unparked)


class _Asked(Generic[AnswerT]):
    """One kind of wish to the worker, and whoever waits for its answer."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[AnswerT | None]] = []

    def wait(self) -> "asyncio.Future[AnswerT | None]":
        answer: asyncio.Future[AnswerT | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        return answer

    def settle(self, said: AnswerT | None) -> None:
        waiting, self._waiting = self._waiting, []
        for answer in waiting:
            if not answer.done():
                answer.set_result(said)


class ParkableChild(WorkerChild[LastT]):
    """One worker with one piece of work at a time that may be parked. What is said about parking is heard
    here; `tell` gets the rest."""

    parkable_work: tuple[type[Message], ...] = (Train,)
    """The messages whose work passes the gate at which it can be parked; other work has nothing to park."""

    def __init__(self, worker: WorkerProcess, load: Message, **options: Any) -> None:
        """Args: as `WorkerChild` takes them."""
        super().__init__(worker, load, **options)
        self._job: str | None = None
        self._parked = _Asked[Parked]()
        self._unparked = _Asked[Unparked]()

    async def work(self, asked: Message, *, job: str, cancelled: LastT, stop: StopToken, tell: Tell) -> LastT:
        """As `WorkerChild.work`."""

        async def hear(message: Message) -> None:
            if isinstance(message, Parked):
                self._parked.settle(message)
            elif isinstance(message, Unparked):
                self._unparked.settle(message)
            else:
                await tell(message)

        return await super().work(asked, job=job, cancelled=cancelled, stop=stop, tell=hear)

    async def park(self) -> ParkReceipt:
        """Raises `NothingToPark` where no work runs, or it ends first; `ChildFailed` where the worker has
        ended."""
        job = self._job
        if job is None:
            raise NothingToPark(f"{self._model} does no work that could be parked.")
        answer = self._parked.wait()
        await self._worker.send(Park(job=job), self._doing)
        said = await self._worker.watched(answer, self._doing)
        if said is None:
            raise NothingToPark(f"The work of {self._model} ended before it was parked.")
        return ParkReceipt(said.seconds, said.before_bytes, said.after_bytes, said.epoch, said.batch)

    async def unpark(self) -> UnparkReceipt:
        """Raises `ChildFailed` where the worker has ended."""
        job = self._job
        if job is None:
            return UnparkReceipt(0.0)
        answer = self._unparked.wait()
        await self._worker.send(Unpark(job=job), self._doing)
        said = await self._worker.watched(answer, self._doing)
        return UnparkReceipt(0.0) if said is None else UnparkReceipt(said.seconds, said.memory_bytes)

    async def converse(self, asked: Message, job: str, ear: Ear) -> LastT:
        if isinstance(asked, self.parkable_work):
            self._job = job  # what asks for parking follows the work on the wire
        try:
            return await super().converse(asked, job, ear)
        finally:
            self._job = None
            self._parked.settle(None)
            self._unparked.settle(None)
