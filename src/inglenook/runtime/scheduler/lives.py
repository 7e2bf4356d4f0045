# SPDX-License-Identifier: Apache-2.0
"""The lives of children, as far as the scheduler brings them about: each effect runs in a task of its own,
and each ends in an event. Nothing here reads the book or changes it."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

from inglenook.base.ids import DeviceId, ResidentId
from inglenook.base.units import format_seconds
from inglenook.runtime.contracts import (
    Child,
    ChildFailed,
    Device,
    DeviceProbe,
    Engine,
    Failure,
    FootprintBook,
    FootprintKey,
    LoadPlan,
    NothingToPark,
    Parkable,
)
from inglenook.runtime.scheduler.events import (
    Begun,
    Event,
    Gone,
    Measured,
    Parked,
    Ready,
    Resumed,
    Stayed,
    Unfit,
)

log = logging.getLogger(__name__)

LAST_WAIT_S: Final = 12.0
"""How long `close` waits beyond the grace: for a kill to take effect, and for what was learned to be kept."""

T = TypeVar("T")


class Lives:
    """Args:
    post: takes an event to the loop.
    stop_grace_s: how long a child may take to end before it is killed.
    park_grace_s: how long a training may take to free its device, or to come back, before it is ended.
    """

    def __init__(
        self,
        *,
        engines: Mapping[str, Engine],
        probe: DeviceProbe,
        book: FootprintBook,
        post: Callable[[Event], None],
        stop_grace_s: float,
        park_grace_s: float,
    ) -> None:
        self._engines = engines
        self._probe = probe
        self._book = book
        self._post = post
        self._stop_grace_s = stop_grace_s
        self._park_grace_s = park_grace_s
        self.children: dict[ResidentId, Child] = {}
        """Those that have begun and are not gone. The loop's."""
        self._lives: set[asyncio.Task[Failure | None]] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._measuring: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()
        self._closing = False

    # -- beginning and end -------------------------------------------------------------------------

    def bring_up(self, resident_id: ResidentId, plan: LoadPlan, device: Device) -> None:
        """However its life ends, also by a mistake of the engine's, the loop hears of it."""
        life = asyncio.create_task(self._live(resident_id, plan, device), name=f"life of {resident_id}")
        self._lives.add(life)

        def over(task: "asyncio.Task[Failure | None]") -> None:
            self._lives.discard(task)
            self._post(Gone(resident_id, _failure_of(task, plan)))

        life.add_done_callback(over)

    async def _live(self, resident_id: ResidentId, plan: LoadPlan, device: Device) -> Failure | None:
        """Start a child, wait until it is ready, wait for its end: its whole life as we see it."""
        child = await self._engines[plan.engine].start(plan, device)
        self._post(Begun(resident_id, child))
        try:
            if self._closing:
                return None
            await child.ready()
            self._post(Ready(resident_id))
            return await child.exited()
        finally:
            await child.stop(self._stop_grace_s)

    def stop(self, resident_id: ResidentId) -> None:
        self._spawn(self._stop(resident_id, self.children[resident_id]))

    async def _stop(self, resident_id: ResidentId, child: Child) -> None:
        receipt = await child.stop(self._stop_grace_s)
        log.info("%s is gone: %s after %.1f s", resident_id, receipt.how, receipt.seconds)

    def discard(self, child: Child) -> None:
        self._spawn(child.discard())

    async def end_all(self) -> None:
        """Stop every child and wait until all are gone."""
        self._closing = True
        children = list(self.children.values())
        await asyncio.gather(*(child.stop(self._stop_grace_s) for child in children))
        if self._lives:  # a child whose start has not returned yet is stopped in there
            await asyncio.wait(self._lives, timeout=self._stop_grace_s + LAST_WAIT_S)

    async def close(self) -> None:
        """After `end_all`: wait for what is still under way."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LAST_WAIT_S)
        tasks = [*self._lives, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- parking -----------------------------------------------------------------------------------

    def park(self, resident_id: ResidentId, plan: LoadPlan, device: DeviceId) -> None:
        child = self.children[resident_id]
        if not isinstance(child, Parkable):
            reason = f"the engine {plan.engine} cannot park, whatever its plan says"
            self._post(Stayed(resident_id, reason, ever=False))
            return
        what = f"{plan.model} did not free {device}"
        self._watched(resident_id, plan, what, self._park(resident_id, child, child, device))

    async def _park(self, resident_id: ResidentId, work: Parkable, child: Child, device: DeviceId) -> None:
        try:
            receipt = await work.park()
        except NothingToPark as error:
            self._post(Stayed(resident_id, error.message))
            return
        pids = child.pids
        measured = None
        if pids:
            usage = await asyncio.to_thread(self._probe.usage, device, pids)
            measured = sum(usage.by_pid.get(pid, 0) for pid in pids)
        self._post(Parked(resident_id, receipt, measured))

    def unpark(self, resident_id: ResidentId, plan: LoadPlan, device: DeviceId) -> None:
        child = self.children[resident_id]
        assert isinstance(child, Parkable), "it was parked"
        what = f"{plan.model} did not come back to {device}"
        self._watched(resident_id, plan, what, self._unpark(resident_id, child))

    async def _unpark(self, resident_id: ResidentId, work: Parkable) -> None:
        self._post(Resumed(resident_id, await work.unpark()))

    def _watched(
        self, resident_id: ResidentId, plan: LoadPlan, what: str, doing: Coroutine[Any, Any, None]
    ) -> None:
        """However it ends, the loop hears of it: also when it takes too long, or by a mistake."""
        task = asyncio.create_task(_within(doing, self._park_grace_s))
        self._tasks.add(task)

        def over(task: "asyncio.Task[None]") -> None:
            self._tasks.discard(task)
            error = None if task.cancelled() else task.exception()
            if error is not None:
                self._post(Unfit(resident_id, self._why_unfit(error, plan, what)))

        task.add_done_callback(over)

    def _why_unfit(self, error: BaseException, plan: LoadPlan, what: str) -> Failure:
        if isinstance(error, ChildFailed):
            return error.failure
        if isinstance(error, TimeoutError):
            limit = format_seconds(self._park_grace_s)
            hint = "go on from its last checkpoint; if it recurs, raise runtime.park_grace_s"
            return Failure("child.not_parked", f"{what} within {limit}: it was ended.", hint)
        log.error("the engine %s has a mistake", plan.engine, exc_info=error)
        return Failure("child.failed", f"{what}: {type(error).__name__}: {error}", _MISTAKE)

    # -- figures -----------------------------------------------------------------------------------

    @property
    def may_measure(self) -> bool:
        """One reading at a time, however slow the driver is."""
        idle = self._measuring is None or self._measuring.done()
        return idle and bool(self.children) and not self._closing

    def measure(self, devices: Mapping[ResidentId, DeviceId]) -> None:
        pids: dict[DeviceId, set[int]] = {}
        for resident_id, device in devices.items():
            if resident_id in self.children:
                pids.setdefault(device, set()).update(self.children[resident_id].pids)
        self._measuring = self._spawn(self._measure(pids))

    async def _measure(self, pids: Mapping[DeviceId, set[int]]) -> None:
        usage = {
            device: await asyncio.to_thread(self._probe.usage, device, frozenset(of_device))
            for device, of_device in pids.items()
        }
        self._post(Measured(usage))

    async def used_bytes(self, child: Child, device: DeviceId) -> int | None:
        """What it uses now; None when it cannot be told."""
        pids = child.pids
        if not pids:
            return None
        usage = await asyncio.to_thread(self._probe.usage, device, pids)
        return sum(usage.by_pid.get(pid, 0) for pid in pids)

    def keep(self, key: FootprintKey, peak_bytes: int, load_s: float) -> None:
        """What was learned, in the book that is kept between runs."""
        self._spawn(self._keep(key, peak_bytes, load_s))

    async def _keep(self, key: FootprintKey, peak_bytes: int, load_s: float) -> None:
        async with self._writing:  # one after the other, in the order in which they were learned
            await asyncio.to_thread(self._book.learn, key, peak_bytes=peak_bytes, load_s=load_s)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("an effect of the scheduler failed", exc_info=task.exception())


_MISTAKE: Final = "this is a mistake in inglenook; the server's log has the details"


async def _within(doing: Coroutine[Any, Any, None], limit_s: float) -> None:
    async with asyncio.timeout(limit_s):
        await doing


def _failure_of(life: "asyncio.Task[Failure | None]", plan: LoadPlan) -> Failure | None:
    if life.cancelled():
        return None
    error = life.exception()
    if error is None:
        return life.result()
    if isinstance(error, ChildFailed):
        return error.failure
    log.error("the engine %s has a mistake", plan.engine, exc_info=error)
    text = f"{plan.model} could not be loaded: {type(error).__name__}: {error}"
    return Failure("child.failed", text, _MISTAKE)
