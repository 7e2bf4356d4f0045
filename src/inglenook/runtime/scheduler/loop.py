# SPDX-License-Identifier: Apache-2.0
"""The one owner of the accelerator's state: takes events, asks the policy, carries out its decisions.

Everybody else posts an event and waits. A read that gates a change happens only in here.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

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
    Failure,
    FootprintBook,
    Lease,
    LoadPlan,
    Request,
    ResidentState,
)
from inglenook.runtime.readahead import ReadAhead
from inglenook.runtime.scheduler import policy
from inglenook.runtime.scheduler.decisions import Evict, Park, Refuse, Resume, Rules, Serve, Start
from inglenook.runtime.scheduler.events import (
    Begun,
    Event,
    Gone,
    Keep,
    KeepLoaded,
    Leave,
    Measured,
    Parked,
    Ready,
    Release,
    Resumed,
    Stayed,
    Submit,
    Tick,
    Unfit,
    Unload,
    Withdraw,
)
from inglenook.runtime.scheduler.history import History, What
from inglenook.runtime.scheduler.ledger import Ledger
from inglenook.runtime.scheduler.lives import Lives
from inglenook.runtime.scheduler.readings import Readings
from inglenook.runtime.scheduler.resident import Keeping, Resident
from inglenook.runtime.scheduler.snapshot import (
    saving_reason,
)
from inglenook.runtime.scheduler.trainings import Trainings

log = logging.getLogger(__name__)

MEASURE_EVERY_S = 1.0


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


class Scheduler(Readings):
    """Args:
    engines: by name, as plans name them.
    ledger: empty but for its devices and what was learned; owned by this object from now on.
    stop_grace_s: how long a child may take to end before it is killed.
    park_grace_s: how long a training may take to free its device, or to come back, before it is ended.
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
        park_grace_s: float = 60.0,
    ) -> None:
        self._engines = frozenset(engines)
        self._ahead = ahead
        self._inbox: asyncio.Queue[Event] = asyncio.Queue()
        lives = Lives(
            engines=engines,
            probe=probe,
            book=book,
            post=self._inbox.put_nowait,
            stop_grace_s=stop_grace_s,
            park_grace_s=park_grace_s,
        )
        history = History()
        super().__init__(ledger=ledger, lives=lives, rules=rules, clock=clock, history=history)
        self._trainings = Trainings(ledger=ledger, lives=lives, rules=rules, clock=clock, history=history)
        self._answers: dict[RequestId, asyncio.Future[Lease]] = {}
        self._estimates: dict[RequestId, float] = {}
        self._submitted: list[RequestId] = []
        self._left: dict[LeaseId, _Remains] = {}
        self._order = 0
        self._measured_s = float("-inf")
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
            here = ", ".join(sorted(self._engines))
            raise Invalid(
                f"The engine {plan.engine!r} is not installed; there are: {here}.", code="engine.unknown"
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

    @property
    def devices(self) -> tuple[Device, ...]:
        """In the order of preference."""
        return tuple(self._ledger.devices.values())

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

    async def used_bytes(self, lease: Lease) -> int | None:
        """What the lease's child uses now; None when it cannot be told."""
        return await self._lives.used_bytes(lease.child, lease.device.id)

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
        await self._lives.end_all()
        self._take_events()
        for lease_id in list(self._left):  # whoever has not given it back by now never will
            self._clear_away(lease_id)
        await self._lives.close()

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
                self._trainings.forget(lease_id)
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
            case Parked() | Stayed() | Resumed() | Unfit():
                self._trainings.turned(event, now_s)
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
        if now_s - self._measured_s >= MEASURE_EVERY_S and self._lives.may_measure:
            self._measured_s = now_s
            self._lives.measure({r.id: r.device for r in self._ledger.residents.values()})

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
            self._lives.discard(child)
        for lease_id in leases:
            self._trainings.forget(lease_id)
        unfit = self._trainings.why_ended(resident_id)
        failure = unfit if failure is None else failure
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
                self._lives.discard(remains.child)

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
        of_model = [r for r in self._ledger.residents.values() if r.plan.model == model]
        going = [r.id for r in of_model if r.state is not ResidentState.DRAINING]
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
                case Park(resident_id) if not self._children[resident_id].alive:
                    self._ledger.lost(resident_id)
                case Park():
                    self._trainings.park(decision)
                case Resume(resident_id) if not self._children[resident_id].alive:
                    self._ledger.lost(resident_id)
                case Resume():
                    self._trainings.resume(decision)

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
        lease = Lease(
            id=lease_id,
            request=held.request,
            resident=resident.id,
            device=self._ledger.devices[resident.device],
            child=self._children[resident.id],
            reserved_bytes=resident.reserved_bytes,
            granted_s=now_s,
            waited_s=waited_s,
            release=lambda: self._inbox.put_nowait(Release(lease_id)),
            changes=self._trainings.listen(lease_id),
            saving=resident.saving,
            saving_reason=saving_reason(self._ledger, resident),
            loaded=resident.plan,
        )
        answer.set_result(lease)

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
        self._lives.bring_up(resident_id, plan, device)

    def _evict(self, decision: Evict) -> None:
        resident = self._ledger.drain(decision.resident, decision.reason, decision.request)
        log.info("unloading %s from %s: %s", resident.plan.model, resident.device, decision.reason)
        self._note("unloading", resident, decision.reason)
        self._lives.stop(decision.resident)

    def _note(self, what: What, resident: Resident, reason: str) -> None:
        self._history.note(self._clock.now(), what, resident.plan.model, resident.device, reason)

    def _fail(self, request_id: RequestId, error: Exception) -> None:
        self._estimates.pop(request_id, None)
        answer = self._answers.pop(request_id, None)
        if answer is not None and not answer.done():
            answer.set_exception(error)

    def _learn(self, resident: Resident, load_s: float) -> None:
        """Keep what was measured. A resident tells its seconds when it is ready, its bytes at its end."""
        key = self._ledger.key_of(resident)
        peak = self._ledger.learned.get(key, 0) if resident.peak_bytes else 0
        if load_s or peak:
            self._lives.keep(key, peak, load_s)


def _stopping() -> Unavailable:
    return Unavailable("The server is stopping.", code="server.stopping")


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
