# SPDX-License-Identifier: Apache-2.0
"""The one owner of the accelerator's state: takes events, asks the policy, carries out its decisions.

Everybody else posts an event and waits. A read that gates a change happens only in here.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from inglenook.base.cancel import StopReason, StopToken
from inglenook.base.clock import Clock
from inglenook.base.errors import Cancelled, Invalid, Unavailable
from inglenook.base.ids import DeviceId, LeaseId, ModelId, PersonId, RequestId, ResidentId, new_id
from inglenook.base.units import format_bytes
from inglenook.base.work import WorkClass
from inglenook.runtime.contracts import (
    Child,
    ChildFailed,
    Device,
    DeviceProbe,
    DeviceUsage,
    Engine,
    Explanation,
    Failure,
    FootprintBook,
    FootprintKey,
    Lease,
    LoadPlan,
    Request,
    ResidentState,
)
from inglenook.runtime.readahead import ReadAhead
from inglenook.runtime.scheduler import policy
from inglenook.runtime.scheduler.events import (
    Begun,
    Event,
    Gone,
    Keep,
    KeepLoaded,
    Leave,
    Measured,
    Ready,
    Release,
    Submit,
    Tick,
    Unload,
    Withdraw,
)
from inglenook.runtime.scheduler.history import History, What
from inglenook.runtime.scheduler.ledger import Keeping, Ledger, Resident
from inglenook.runtime.scheduler.policy import Evict, Refuse, Rules, Serve, Start
from inglenook.runtime.scheduler.snapshot import ResidentNow, residents_now, saving_reason, snapshot

log = logging.getLogger(__name__)

MEASURE_EVERY_S = 1.0
EXPLAIN_EVERY_S = 0.25
LAST_WAIT_S = 12.0
"""How long `close` waits beyond the grace: for a kill to take effect, and for what was learned to be kept."""


@dataclass(frozen=True, slots=True)
class _Remains:
    """A child that has ended while somebody still used it; what it left is kept until nobody does."""

    child: Child
    leases: set[LeaseId]


class LeaseStopped(Cancelled):
    """The work was stopped while it waited for its lease."""

    default_code = "lease.stopped"

    def __init__(self, reason: StopReason) -> None:
        super().__init__(f"The wait for the accelerator ended: {reason}.")
        self.reason = reason


class Scheduler:
    """Args:
    engines: by name, as plans name them.
    ledger: empty but for its devices and what was learned; owned by this object from now on.
    stop_grace_s: how long a child may take to end before it is killed.
    ahead: reads the files of what is loaded next; None: nobody does.
    """

    def __init__(
        self,
        *,
        engines: Mapping[str, Engine],
        ledger: Ledger,
        rules: Rules,
        clock: Clock,
        probe: DeviceProbe,
        book: FootprintBook,
        stop_grace_s: float,
        ahead: ReadAhead | None = None,
    ) -> None:
        self._engines = engines
        self._ledger = ledger
        self._rules = rules
        self._clock = clock
        self._probe = probe
        self._book = book
        self._stop_grace_s = stop_grace_s
        self._ahead = ahead
        self._inbox: asyncio.Queue[Event] = asyncio.Queue()
        self._answers: dict[RequestId, asyncio.Future[Lease]] = {}
        self._estimates: dict[RequestId, float] = {}
        self._submitted: list[RequestId] = []
        self._children: dict[ResidentId, Child] = {}
        self._lives: set[asyncio.Task[Failure | None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._measuring: asyncio.Task[None] | None = None
        self._left: dict[LeaseId, _Remains] = {}
        self._notes: dict[LeaseId, str] = {}
        self._writing = asyncio.Lock()
        self._order = 0
        self._measured_s = float("-inf")
        self._explained: tuple[float, dict[RequestId, Explanation]] = (float("-inf"), {})
        self._usage: dict[DeviceId, DeviceUsage] = {}
        self._history = History()
        self._closing = False
        self._queue_changed = False
        self.alive = False
        """Whether `run` runs."""
        self.decisions = 0
        """How many decisions were carried out since the start."""

    # -- what others may ask ---------------------------------------------------------------------

    async def run(self) -> None:
        """Serve events until cancelled. One task, started by the composition root."""
        self.alive = True
        try:
            while True:
                self._handle(await self._inbox.get())
                self._take_events()
                self._settle()
                self._note_estimates()
                self._read_ahead()
        finally:
            self.alive = False

    def tick(self) -> None:
        """Time has passed: patience, ages and back-offs are looked at again."""
        self._inbox.put_nowait(Tick())

    def request(
        self,
        *,
        person: PersonId,
        work_class: WorkClass,
        plan: LoadPlan,
        label: str,
        devices: tuple[DeviceId, ...] = (),
        expected_s: float | None = None,
        keep_s: float | None = None,
    ) -> Request:
        """A request in the order of arrival; nothing is asked for before `acquire`.

        Raises:
            Invalid: the plan names an engine that is not here.
        """
        if plan.engine not in self._engines:
            raise Invalid(
                f"The engine {plan.engine!r} is not installed; there are: {', '.join(self._engines)}.",
                code="engine.unknown",
            )
        self._order += 1
        return Request(
            id=RequestId(new_id("req", self._clock.now())),
            person=person,
            work_class=work_class,
            plan=plan,
            label=label,
            order=self._order,
            arrived_s=self._clock.monotonic(),
            devices=devices,
            expected_s=expected_s,
            keep_s=keep_s,
        )

    async def acquire(self, request: Request, stop: StopToken) -> Lease:
        """Wait for the right to use a resident with the request's model. Release the lease when done.

        Cancelling the call, or setting `stop`, takes the request out of the queue at once.

        Raises:
            LeaseStopped: `stop` was set first.
            Invalid: no device could ever hold the model (code `model.too_large`).
            ChildFailed: the model could not be loaded.
            Unavailable: the server is stopping.
        """
        with self.submitted(request, stop) as answer:
            return await answer

    @contextmanager
    def submitted(self, request: Request, stop: StopToken) -> "Iterator[asyncio.Future[Lease]]":
        """A request in the queue, and its lease to come: for who does something else while it waits. Whoever
        leaves the context by an exception, or finds `stop` set, has no lease. Raises as `acquire`."""
        if self._closing:
            raise _stopping()
        answer: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()

        def stopped(reason: StopReason) -> None:
            if not answer.done():
                answer.set_exception(LeaseStopped(reason))

        forget = stop.watch(stopped)
        self._inbox.put_nowait(Submit(request, answer))
        try:
            yield answer
            if stop.reason is not None:
                raise LeaseStopped(stop.reason)  # although the lease came in the same moment
        except BaseException:
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                answer.result().release()
            answer.cancel()
            self._inbox.put_nowait(Withdraw(request.id))
            raise
        finally:
            forget()

    def explain(self, request: RequestId) -> Explanation | None:
        """Why it waits, at most a quarter of a second old; None when it does not wait."""
        if request not in self._ledger.waiting:
            return None
        now_s = self._clock.monotonic()
        if now_s - self._explained[0] >= EXPLAIN_EVERY_S or request not in self._explained[1]:
            self._explained = (now_s, policy.explain_all(self._ledger, now_s, self._rules))
        return self._explained[1].get(request)

    def snapshot(self) -> dict[str, Any]:
        """Devices, residents, leases, the queue with reasons, and what was decided lately, as JSON."""
        now_s = self._clock.monotonic()
        explained = policy.explain_all(self._ledger, now_s, self._rules)
        logs = {resident: child.log() for resident, child in self._children.items()}
        found = snapshot(self._ledger, now_s, explained, self._usage, logs, self._notes)
        return found | {"recent": self._history.as_json()}

    def note(self, lease: Lease, text: str) -> None:
        """How far the work with a lease is, for people. For its holder; gone with the lease."""
        self._notes[lease.id] = text

    async def unload(self, resident: ResidentId) -> bool:
        """End an idle resident; False when it is not there or is at work."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait(Unload(resident, answer))
        return await answer

    async def leave(self, model: ModelId) -> tuple[ResidentId, ...]:
        """Unload what is loaded of a model as soon as nobody uses it: idle ones now, busy ones when their
        leases are back, without new ones meanwhile, ones that are being loaded when they are ready and nobody
        waits for them. Return which go."""
        answer: asyncio.Future[tuple[ResidentId, ...]] = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait(Leave(model, answer))
        return await answer

    def keep(self, model: ModelId, *, pinned: bool, keep_s: float | None) -> None:
        """How a model is kept from now on, whatever plans say: what is loaded of it, and what will be."""
        self._inbox.put_nowait(Keep(model, Keeping(pinned, keep_s)))

    def keep_loaded(self, model: ModelId, keep_s: float) -> None:
        """How long what is loaded of a model stays unused, until a request says something else."""
        self._inbox.put_nowait(KeepLoaded(model, keep_s))

    def residents(self, model: ModelId | None = None) -> list[ResidentNow]:
        """What is loaded, being loaded or being unloaded; of one model, or all."""
        return residents_now(self._ledger, self._clock.monotonic(), self._rules, model)

    def failure(self, model: ModelId) -> Failure | None:
        """Why the model's last child is gone, where it was not asked to go and none was ready since."""
        found = [backoff for key, backoff in self._ledger.backoff.items() if key[1] == model]
        return max(found, key=lambda backoff: backoff.until_s).failure if found else None

    def load_seconds(self, model: ModelId) -> float | None:
        """How long it took to load the model lately; None where it never was."""
        found = [seconds for (key, _), seconds in self._ledger.load_s.items() if key[1] == model]
        return min(found) if found else None

    def waiting(self, model: ModelId) -> int:
        """How many requests wait for the model."""
        return sum(counts.total() for key, counts in self._ledger.wanted.items() if key[1] == model)

    async def used_bytes(self, lease: Lease) -> int | None:
        """What the lease's child uses now; None when it cannot be told."""
        pids = lease.child.pids
        if not pids:
            return None
        usage = await asyncio.to_thread(self._probe.usage, lease.device.id, pids)
        return sum(usage.by_pid.get(pid, 0) for pid in pids)

    async def close(self) -> None:
        """Refuse what waits, end every child, wait until all are gone, and keep what was learned."""
        self._closing = True
        self._take_events()  # also when `run` has ended before us
        if self._ahead is not None:
            await self._ahead.close()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(_stopping())
        self._answers.clear()
        children = list(self._children.values())
        await asyncio.gather(*(child.stop(self._stop_grace_s) for child in children))
        if self._lives:  # a child whose start has not returned yet is stopped in there
            await asyncio.wait(self._lives, timeout=self._stop_grace_s + LAST_WAIT_S)
        self._take_events()
        for lease_id in list(self._left):  # whoever has not given it back by now never will
            self._clear_away(lease_id)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LAST_WAIT_S)
        tasks = [*self._lives, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- events ----------------------------------------------------------------------------------

    def _take_events(self) -> None:
        while not self._inbox.empty():
            self._handle(self._inbox.get_nowait())

    def _handle(self, event: Event) -> None:  # noqa: C901 - one case for each event, in one place
        now_s = self._clock.monotonic()
        self._queue_changed |= isinstance(event, Submit | Withdraw | Tick)
        match event:
            case Submit(request, answer):
                if not answer.done():
                    self._ledger.submit(request)
                    self._answers[request.id] = answer
                    self._submitted.append(request.id)
            case Withdraw(request_id):
                self._ledger.withdraw(request_id)
                self._answers.pop(request_id, None)
                self._estimates.pop(request_id, None)
            case Release(lease_id):
                self._ledger.release(lease_id, now_s)
                self._notes.pop(lease_id, None)
                self._clear_away(lease_id)
            case Begun(resident_id, child):
                self._children[resident_id] = child
            case Ready(resident_id):
                if resident_id in self._ledger.residents:
                    resident = self._ledger.became_ready(resident_id, now_s)
                    self._measured_s = float("-inf")
                    self._learn(resident, now_s - resident.started_s)
                    self._note("ready", resident, f"loaded in {now_s - resident.started_s:.1f} s")
            case Gone(resident_id, failure):
                self._gone(resident_id, failure, now_s)
            case Measured(usage):
                self._measured(usage)
            case Unload(resident_id, unloaded):
                if not unloaded.done():  # whoever asked may have gone
                    unloaded.set_result(self._unload(resident_id))
            case Leave(model, left):
                if not left.done():
                    left.set_result(self._leave(model))
            case Keep(model, keeping):
                self._ledger.keep(model, keeping)
            case KeepLoaded(model, keep_s):
                self._ledger.keep_loaded(model, keep_s)
            case Tick():
                pass
        if now_s - self._measured_s >= MEASURE_EVERY_S and self._may_measure:
            self._measured_s = now_s
            self._measuring = self._spawn(self._measure())

    @property
    def _may_measure(self) -> bool:
        """One reading at a time, however slow the driver is."""
        idle = self._measuring is None or self._measuring.done()
        return idle and bool(self._children) and not self._closing

    def _note_estimates(self) -> None:
        """Remember what those who have come and must wait are told, to learn how far off we were. Skipped in
        a long queue: it costs a walk over all of it."""
        waiting = [request for request in self._submitted if request in self._ledger.waiting]
        self._submitted.clear()
        if not waiting or len(self._ledger.waiting) > 100:
            return
        explained = policy.explain_all(self._ledger, self._clock.monotonic(), self._rules)
        for request in waiting:
            told = explained.get(request)
            if told is not None and told.estimate_s is not None:
                self._estimates[request] = told.estimate_s

    def _gone(self, resident_id: ResidentId, failure: Failure | None, now_s: float) -> None:
        resident = self._ledger.residents[resident_id]
        leases = set(resident.leases)
        child = self._children.pop(resident_id, None)
        if child is not None and leases:
            remains = _Remains(child, leases)
            self._left.update(dict.fromkeys(leases, remains))
        elif child is not None:
            self._spawn(child.discard())
        failed = self._ledger.gone(resident_id, now_s, failure)
        self._learn(resident, 0.0)
        if failure is None:
            return
        self._note("failed", resident, failure.message)
        for request in failed:
            self._fail(request.id, ChildFailed(_with_numbers(self._ledger, resident, failure)))
        log.warning("%s", failure.message)

    def _clear_away(self, lease_id: LeaseId) -> None:
        remains = self._left.pop(lease_id, None)
        if remains is not None:
            remains.leases.discard(lease_id)
            if not remains.leases:
                self._spawn(remains.child.discard())

    def _measured(self, usage: Mapping[DeviceId, DeviceUsage]) -> None:
        self._usage.update(usage)
        for resident_id, child in self._children.items():
            resident = self._ledger.residents.get(resident_id)
            if resident is not None and resident.device in usage:
                by_pid = usage[resident.device].by_pid
                self._ledger.measure(resident_id, sum(by_pid.get(pid, 0) for pid in child.pids))

    def _unload(self, resident_id: ResidentId) -> bool:
        resident = self._ledger.residents.get(resident_id)
        if self._closing or resident is None or not resident.is_idle:
            return False
        self._evict(Evict(resident_id, "somebody asked for it"))
        return True

    def _leave(self, model: ModelId) -> tuple[ResidentId, ...]:
        able = (ResidentState.STARTING, ResidentState.READY)
        going = [r.id for r in self._ledger.residents.values() if r.plan.model == model and r.state in able]
        for resident_id in () if self._closing else going:
            self._ledger.leave(resident_id)
        return tuple(going)

    def _read_ahead(self) -> None:
        """Whoever waits for memory or a place is loaded next: its files are read while it waits."""
        if self._ahead is None or self._closing or not self._queue_changed:
            return
        self._queue_changed = False
        self._ahead.want(policy.comes_next(self._ledger, self._clock.monotonic(), self._rules))

    # -- decisions -------------------------------------------------------------------------------

    def _settle(self) -> None:
        while not self._closing:
            decision = policy.decide(self._ledger, self._clock.monotonic(), self._rules)
            if decision is None:
                return
            self.decisions += 1
            match decision:
                case Serve(_, resident_id) if not self._children[resident_id].alive:
                    self._ledger.lost(resident_id)  # it ends, and its `Gone` is on its way
                case Serve():
                    self._serve(decision)
                case Start():
                    self._start(decision)
                case Evict():
                    self._evict(decision)
                case Refuse(request_id, message, hint):
                    refused = self._ledger.waiting[request_id].plan.model
                    self._history.note(self._clock.now(), "refused", refused, None, message)
                    self._ledger.withdraw(request_id)
                    self._fail(request_id, Invalid(message, code="model.too_large", hint=hint))
                case _:
                    raise AssertionError(f"{decision} is for a later issue: nothing decides it yet")

    def _serve(self, decision: Serve) -> None:
        answer = self._answers.pop(decision.request, None)
        if answer is None or answer.done():
            self._ledger.withdraw(decision.request)
            return
        now_s = self._clock.monotonic()
        lease_id = LeaseId(new_id("lease", self._clock.now()))
        held = self._ledger.grant(decision.request, decision.resident, lease_id, now_s)
        resident = self._ledger.residents[decision.resident]
        waited_s = now_s - held.request.arrived_s
        estimate = self._estimates.pop(decision.request, None)
        if estimate is not None:
            self._ledger.note_estimate(estimated_s=estimate, actual_s=waited_s)
        answer.set_result(
            Lease(
                id=lease_id,
                request=held.request,
                resident=resident.id,
                device=self._ledger.devices[resident.device],
                child=self._children[resident.id],
                reserved_bytes=resident.reserved_bytes,
                granted_s=now_s,
                waited_s=waited_s,
                release=lambda: self._inbox.put_nowait(Release(lease_id)),
                saving=resident.saving,
                saving_reason=saving_reason(self._ledger, resident),
                loaded=resident.plan,
            )
        )

    def _start(self, decision: Start) -> None:
        request = self._ledger.waiting[decision.request]
        resident_id = ResidentId(new_id("res", self._clock.now()))
        resident = self._ledger.begin(resident_id, request, decision.device, self._clock.monotonic())
        device = self._ledger.devices[decision.device]
        log.info(
            "loading %s on %s: %s reserved",
            request.plan.model,
            device.id,
            format_bytes(resident.reserved_bytes),
        )
        plan = request.plan
        if resident.saving:
            plan = replace(plan, options={**plan.options, "saving": resident.saving})
        self._note("loading", resident, f"asked for by {request.label}")
        self._bring_up(resident_id, plan, device)

    def _evict(self, decision: Evict) -> None:
        resident = self._ledger.drain(decision.resident, decision.reason, decision.request)
        log.info("unloading %s from %s: %s", resident.plan.model, resident.device, decision.reason)
        self._note("unloading", resident, decision.reason)
        self._spawn(self._stop(decision.resident, self._children[decision.resident]))

    def _note(self, what: What, resident: Resident, reason: str) -> None:
        self._history.note(self._clock.now(), what, resident.plan.model, resident.device, reason)

    def _fail(self, request_id: RequestId, error: Exception) -> None:
        self._estimates.pop(request_id, None)
        answer = self._answers.pop(request_id, None)
        if answer is not None and not answer.done():
            answer.set_exception(error)

    # -- effects, each in a task of its own, each ending in an event -------------------------------

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("an effect of the scheduler failed", exc_info=task.exception())

    def _bring_up(self, resident_id: ResidentId, plan: LoadPlan, device: Device) -> None:
        """However its life ends, also by a mistake of the engine's, the ledger hears of it."""
        life = asyncio.create_task(self._live(resident_id, plan, device), name=f"life of {resident_id}")
        self._lives.add(life)

        def over(task: "asyncio.Task[Failure | None]") -> None:
            self._lives.discard(task)
            self._inbox.put_nowait(Gone(resident_id, _failure_of(task, plan)))

        life.add_done_callback(over)

    async def _live(self, resident_id: ResidentId, plan: LoadPlan, device: Device) -> Failure | None:
        """Start a child, wait until it is ready, wait for its end: its whole life as we see it."""
        child = await self._engines[plan.engine].start(plan, device)
        self._inbox.put_nowait(Begun(resident_id, child))
        try:
            if self._closing:
                return None
            await child.ready()
            self._inbox.put_nowait(Ready(resident_id))
            return await child.exited()
        finally:
            await child.stop(self._stop_grace_s)

    async def _stop(self, resident_id: ResidentId, child: Child) -> None:
        receipt = await child.stop(self._stop_grace_s)
        log.info("%s is gone: %s after %.1f s", resident_id, receipt.how, receipt.seconds)

    async def _measure(self) -> None:
        pids: dict[DeviceId, set[int]] = {}
        for resident_id, child in self._children.items():
            resident = self._ledger.residents.get(resident_id)
            if resident is not None:
                pids.setdefault(resident.device, set()).update(child.pids)
        usage = {
            device: await asyncio.to_thread(self._probe.usage, device, frozenset(of_device))
            for device, of_device in pids.items()
        }
        self._inbox.put_nowait(Measured(usage))

    def _learn(self, resident: Resident, load_s: float) -> None:
        """Keep what was measured. A resident tells its seconds when it is ready, its bytes at its end."""
        key = self._ledger.key_of(resident)
        peak = self._ledger.learned.get(key, 0) if resident.peak_bytes else 0
        if load_s or peak:
            self._spawn(self._keep(key, peak, load_s))

    async def _keep(self, key: FootprintKey, peak_bytes: int, load_s: float) -> None:
        async with self._writing:  # one after the other, in the order in which they were learned
            await asyncio.to_thread(self._book.learn, key, peak_bytes=peak_bytes, load_s=load_s)


def _stopping() -> Unavailable:
    return Unavailable("The server is stopping.", code="server.stopping")


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
    return Failure("child.failed", text, "this is a mistake in inglenook; the server's log has the details")


def _with_numbers(ledger: Ledger, resident: Resident, failure: Failure) -> Failure:
    """A failure to load for want of memory names what was reserved and what there is."""
    if failure.out_of_memory is None:
        return failure
    device = ledger.devices[resident.device]
    text = (
        f"{resident.plan.model} could not be loaded on {device.id}, also after everything idle was unloaded: "
        f"it ran out of memory with {format_bytes(resident.reserved_bytes)} reserved; "
        f"the device has {format_bytes(device.total_bytes)}, "
        f"of which {format_bytes(device.budget_bytes)} may be used."
    )
    hint = "close other programs that use the device, or choose a smaller model"
    return Failure("model.too_large", text, hint, failure.out_of_memory, failure.last_lines)
