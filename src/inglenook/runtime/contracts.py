# SPDX-License-Identifier: Apache-2.0
"""What the runtime speaks of: devices, plans, footprints, requests, leases; and the protocols of an engine.

Values and protocols only. Nothing here decides, waits or touches the system.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from inglenook.base.errors import Conflict, InglenookError
from inglenook.base.ids import DeviceId, LeaseId, ModelId, PersonId, RequestId, ResidentId
from inglenook.base.work import WorkClass

DeviceKind = Literal["cuda", "rocm", "mps", "vulkan", "cpu"]


@dataclass(frozen=True, slots=True)
class Device:
    """One place where a model can live.

    Attributes:
        total_bytes: of its memory.
        budget_bytes: how much of that the runtime may reserve (a setting; default: total less a reserve).
        index: as the vendor's tools count, None for a CPU.
        arch: of an AMD GPU, as its compilers call it (`gfx1103`), where the kernel tells.
    """

    id: DeviceId
    kind: DeviceKind
    name: str
    total_bytes: int
    budget_bytes: int
    index: int | None = None
    arch: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceUsage:
    """A reading. `by_pid`: bytes held by each process that the driver could name."""

    used_bytes: int
    by_pid: Mapping[int, int] = field(default_factory=dict)


class DeviceProbe(Protocol):
    """Looks at the hardware; blocks."""

    def devices(self) -> list[Device]: ...

    def usage(self, device: DeviceId, pids: frozenset[int]) -> DeviceUsage:
        """What is used now. Processes in `pids` are always in `by_pid`, with 0 when they hold nothing."""
        ...


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What must be resident for a piece of work: one model, loaded in one way, by one engine.

    Attributes:
        model, engine: together with the device they name a resident; there is at most one of each.
        footprint_bytes: by kind of device, the estimate from the model's header, with what this piece of
            work needs; a kind that is missing is one on which the engine cannot load it. A footprint that
            was learned replaces the estimate.
        saving_bytes: `footprint_bytes` at each saving level from 1 on, for engines that can spare memory at
            the price of time. A level is chosen when the ones before do not fit the device.
        scale: how large the work is, on a scale of the feature's own (for pictures: the binary logarithm of
            the pixels, rounded up). Footprints are learned for each scale.
        load_s: seconds that loading is expected to take (learned, else a guess from the size).
        weight: how much dearer than its seconds an eviction of it is: > 1 keeps it longer.
        pinned: never evicted.
        capacity: how many leases it can serve at once.
        variant: the same model loaded for another use (`embedding`); a resident of its own.
        apart: a resident of its own, beside others of the same model and use, although footprints are learned
            with theirs: each training run has one.
        form: how it is loaded, at most 16 characters; footprints are learned for each form apart.
        fixed: what it needs is settled when it is loaded: work never makes it grow.
        keep_s: seconds that it stays loaded unused, `math.inf` for ever; None: as the rules say.
        files: what a load reads, in order: read ahead when it is known to come next.
        parkable: its child is `Parkable`; work of a higher class may have its memory while a training runs.
        options: what the engine needs to load it; opaque here, but for `saving`: the level that was chosen,
            which stands in the plan that the engine gets.
    """

    model: ModelId
    engine: str
    footprint_bytes: Mapping[str, int]
    load_s: float = 5.0
    weight: float = 1.0
    pinned: bool = False
    capacity: int = 1
    scale: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    saving_bytes: tuple[Mapping[str, int], ...] = ()
    variant: str = ""
    apart: str = ""
    form: str = ""
    fixed: bool = False
    keep_s: float | None = None
    files: tuple[Path, ...] = ()
    parkable: bool = False

    @property
    def use(self) -> str:
        """The engine with what the model is loaded for: under which its footprints are kept."""
        return f"{self.engine}/{self.variant}" if self.variant else self.engine

    @property
    def key(self) -> tuple[str, ModelId]:
        return (f"{self.use}#{self.apart}" if self.apart else self.use, self.model)


@dataclass(frozen=True, slots=True)
class Request:
    """One piece of work that wants a lease.

    Attributes:
        label: what it is, for people (`image for owner`); never a prompt.
        order: rises with each request; the order of arrival.
        arrived_s: monotonic seconds.
        devices: only these, in this order of preference; empty for any.
        expected_s: how long the lease is expected to be held, when that is known.
        keep_s: how long the resident then stays loaded unused, until another request says something else;
            `math.inf` for ever; None leaves it as it is.
    """

    id: RequestId
    person: PersonId
    work_class: WorkClass
    plan: LoadPlan
    label: str
    order: int
    arrived_s: float
    devices: tuple[DeviceId, ...] = ()
    expected_s: float | None = None
    keep_s: float | None = None


class ResidentState(StrEnum):
    STARTING = "starting"
    READY = "ready"
    PARKING = "parking"  # frees the device; its memory still counts
    PARKED = "parked"  # its work is set aside: only what it still holds on the device counts
    RESUMING = "resuming"  # comes back: its memory counts in full again
    DRAINING = "draining"  # being stopped; its memory still counts
    STOPPED = "stopped"
    FAILED = "failed"


_ENDS = frozenset({ResidentState.DRAINING, ResidentState.FAILED})
RESIDENT_NEXT: Mapping[ResidentState, frozenset[ResidentState]] = {
    ResidentState.STARTING: _ENDS | {ResidentState.READY},
    ResidentState.READY: _ENDS | {ResidentState.PARKING},
    ResidentState.PARKING: _ENDS | {ResidentState.PARKED, ResidentState.READY},
    ResidentState.PARKED: _ENDS | {ResidentState.RESUMING},
    ResidentState.RESUMING: _ENDS | {ResidentState.READY},
    ResidentState.DRAINING: frozenset({ResidentState.STOPPED, ResidentState.FAILED}),
    ResidentState.STOPPED: frozenset(),
    ResidentState.FAILED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class OutOfMemoryEvidence:
    """An allocator's or the kernel's own word that memory ran out. Bytes; None where it did not say."""

    source: str
    requested_bytes: int | None = None
    free_bytes: int | None = None
    total_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a child is gone or could not be started, as a person reads it."""

    code: str
    message: str
    hint: str | None = None
    out_of_memory: OutOfMemoryEvidence | None = None
    last_lines: tuple[str, ...] = ()


class ChildFailed(InglenookError):
    """A child could not be started, or has ended while it was needed."""

    kind = "failed"
    default_code = "child.failed"

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message, code=failure.code, hint=failure.hint)
        self.failure = failure


class NothingToPark(Conflict):
    """The child does no work that could be parked: it has not begun, or has just ended."""

    default_code = "child.nothing_to_park"


class WaitKind(StrEnum):
    """For what a request waits. The order is the order in which the reasons are looked for."""

    LOADING = "loading"  # the model is being loaded
    TURN = "turn"  # the model is ready, and others are served first
    MEMORY = "memory"  # no room: what holds it is at work
    DRAINING = "draining"  # room is being made
    PARKING = "parking"  # room is being made: a training is being parked
    SHARE = "share"  # a training has its turn on the device
    BACKOFF = "backoff"  # the model's child failed a moment ago; it is tried again soon
    BEHIND = "behind"  # somebody who came first waits for the same memory
    LIMIT = "limit"  # as many models are loaded as may be, and they are at work or pinned


@dataclass(frozen=True, slots=True)
class WaitReason:
    """Why a request cannot be served now.

    Attributes:
        holders: labels or models that hold what it waits for.
        needed_bytes, free_bytes: on `device`, where memory is the reason.
        until_s: monotonic time at which a back-off or a training's turn ends.
    """

    kind: WaitKind
    text: str
    device: DeviceId | None = None
    holders: tuple[str, ...] = ()
    needed_bytes: int | None = None
    free_bytes: int | None = None
    until_s: float | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A waiting request, explained.

    Attributes:
        position: 1 is next, in the fair order over all people.
        evicted: models that were unloaded for it, and why.
        estimate_s, estimate_error_s: seconds until it begins, and how far off such estimates were lately;
            None when nothing is known.
    """

    request: RequestId
    position: int
    waiting: int
    reason: WaitReason
    waited_s: float
    evicted: tuple[str, ...] = ()
    estimate_s: float | None = None
    estimate_error_s: float | None = None


@dataclass(frozen=True, slots=True)
class StopReceipt:
    """What stopping a child did: `how` is `exited`, `terminated` or `killed`; seconds it took."""

    how: str
    seconds: float


class Child(Protocol):
    """One child process that holds a model. Made by an engine, owned by the scheduler's loop.

    What its users (the features) do with it is the engine's own: they know which engine they asked for.
    """

    @property
    def pids(self) -> frozenset[int]:
        """All processes that count for its memory; empty for a fake without processes."""
        ...

    @property
    def alive(self) -> bool:
        """False from the moment at which it has ended, is about to end or was asked to: no work is given to
        it any more. Whoever saw `ChildFailed` at work sees False here."""
        ...

    async def ready(self) -> None:
        """Return when it can serve. Raises `ChildFailed` when it cannot be started."""
        ...

    async def exited(self) -> Failure | None:
        """Wait until the child is gone. None when it was asked to go."""
        ...

    async def stop(self, grace_s: float) -> StopReceipt:
        """End it, its whole process group with it; by force after `grace_s`. Idempotent.

        A `ready` that waits raises `ChildFailed` then, and `exited` returns.
        """
        ...

    async def discard(self) -> None:
        """Remove what it has left on disk. For after its end, and after the last lease on it was given
        back: finished work may still lie there. Idempotent."""
        ...

    def log(self) -> tuple[str, ...]:
        """The last lines that it printed."""
        ...


@dataclass(frozen=True, slots=True)
class ParkReceipt:
    """What parking did: seconds from the wish to the free device; bytes that the child held on it before and
    after (None where that cannot be measured); after which batch of which epoch it stopped."""

    seconds: float
    before_bytes: int | None = None
    after_bytes: int | None = None
    epoch: int = 0
    batch: int = 0


@dataclass(frozen=True, slots=True)
class UnparkReceipt:
    """Seconds until the child had the device again, and the bytes that it holds there then."""

    seconds: float
    memory_bytes: int | None = None


@runtime_checkable
class Parkable(Protocol):
    """A child that can set its work aside in the middle and free the device, and go on later as if nothing
    had happened. Only the scheduler asks it to, and only where the plan says `parkable`."""

    async def park(self) -> ParkReceipt:
        """Return when the device is freed, at the next batch boundary. Idempotent.

        Raises:
            NothingToPark: it does no work now.
            ChildFailed: it has ended, or could not do it.
        """
        ...

    async def unpark(self) -> UnparkReceipt:
        """Return when it has the device again, or its work has ended meanwhile. Idempotent.

        Raises:
            ChildFailed: it has ended, or could not do it.
        """
        ...


class Engine(Protocol):
    """Starts children of one kind."""

    name: str

    async def start(self, plan: LoadPlan, device: Device) -> Child:
        """Begin to start a child and return at once; `Child.ready` waits for it.

        Raises:
            ChildFailed: it could not even be begun (program missing, spool folder not writable).
        """
        ...


@dataclass(frozen=True, slots=True, order=True)
class FootprintKey:
    """Under which a footprint is kept; `engine` with the plan's variant, `saving` is the saving level at
    which it was measured."""

    engine: str
    model: ModelId
    device_kind: str
    scale: int
    saving: int = 0
    form: str = ""


class FootprintBook(Protocol):
    """What was learned about footprints, kept between runs. Blocks."""

    def learned(self) -> Mapping[FootprintKey, tuple[int, float]]:
        """What was learned in earlier runs: bytes, and seconds to load (0 where that was not measured)."""
        ...

    def learn(self, key: FootprintKey, *, peak_bytes: int, load_s: float) -> None:
        """Keep the newest. 0 leaves a value as it was."""
        ...


@dataclass(frozen=True, slots=True)
class LeaseChange:
    """News for the holder of a lease on a training.

    Attributes:
        state: `PARKING`, `PARKED`, `RESUMING`, `READY` (it goes on); `FAILED`: the child was ended by us.
        text: for people: for whom it was parked, when it comes back, why it was ended.
        holders: who has the device meanwhile, as far as it is known.
        receipt: with `PARKED`. failure: with `FAILED`; better than what the work raises then, which is only
            that its child was stopped.
    """

    state: ResidentState
    text: str
    holders: tuple[str, ...] = ()
    receipt: ParkReceipt | None = None
    failure: Failure | None = None


class LeaseNews(Protocol):
    """Where the holder of a lease hears what happens to it."""

    async def get(self) -> LeaseChange:
        """Wait for the next change."""
        ...

    def get_nowait(self) -> LeaseChange:
        """The next change, if there is one; `asyncio.QueueEmpty` if there is none."""
        ...

    def empty(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to use a resident for one piece of work. While it is held, the resident is not evicted.

    Attributes:
        saving: the saving level at which the work fits into `reserved_bytes`.
        saving_reason: why it is above 0, for people; None where it is not.
        loaded: the plan with which the resident was loaded, which may differ from the request's own.
        changes: what happens to it while it is held; nothing ever comes where its plan is not parkable.
    """

    id: LeaseId
    request: Request
    resident: ResidentId
    device: Device
    child: Child
    reserved_bytes: int
    granted_s: float
    waited_s: float
    release: Callable[[], None]
    changes: LeaseNews
    saving: int = 0
    saving_reason: str | None = None
    loaded: LoadPlan | None = None
