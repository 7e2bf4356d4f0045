# SPDX-License-Identifier: Apache-2.0
"""What the book says of one resident, one lease, one model. Plain data."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from inglenook.base.ids import DeviceId, LeaseId, ModelId, ResidentId
from inglenook.base.work import WorkClass
from inglenook.runtime.contracts import (
    Failure,
    FootprintKey,
    LoadPlan,
    ParkReceipt,
    Request,
    ResidentState,
)

PlanKey = tuple[str, ModelId]
Wish = tuple[PlanKey, int, str, tuple[DeviceId, ...], bool, bool]

REMEMBERED: Final = 128
"""Times at work that are remembered of a training; more than a window of its share ever holds, where the
share is a hundredth or more."""

AWAY: Final = (ResidentState.PARKING, ResidentState.PARKED, ResidentState.RESUMING)


@dataclass(slots=True)
class Parking:
    """What the book knows of a training's turns on the device. Monotonic seconds; bytes on its device.

    Attributes:
        ran: times at work that are over, (from, to), the oldest first.
        working_since_s: since when it is at work; None while it is not.
        resumed_s: when it last came back; None where it was never parked.
        asked_s: when it was last asked to park or to come back.
        due_s: since when it was due when it was last asked to come back; None where it was not.
        parked_s: when its device was last freed.
        not_before_s: it is not asked to park again before that: it had nothing to park.
        whole_bytes: what is reserved for it when it is not parked; 0 before it ever was.
        kept_bytes: what it still held when it was parked; None where that was neither told nor measured.
        reason: for whom it was parked, in words. times: how often it was.
    """

    ran: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    working_since_s: float | None = None
    resumed_s: float | None = None
    asked_s: float | None = None
    due_s: float | None = None
    parked_s: float | None = None
    not_before_s: float = float("-inf")
    whole_bytes: int = 0
    kept_bytes: int | None = None
    receipt: ParkReceipt | None = None
    reason: str = ""
    times: int = 0


@dataclass(slots=True)
class Resident:
    """A child that holds, or will hold, a model.

    Attributes:
        reserved_bytes: what counts against the device's budget from its start to its end.
        started_s, ready_s, idle_since_s: monotonic seconds; the last is None while a lease is held.
        peak_bytes: most that was ever measured.
        asked_by: label of the request for which it was started.
        scale: of the largest work it has done; what is measured is learned for that.
        saving: the saving level at which it works; it only rises.
        unspared_bytes: what the work for which it was raised would need at level 0.
        pinned: never unloaded for others. keep_s: seconds that it stays unused, `math.inf` for ever; None: as
            the rules say.
        leaving: it is unloaded as soon as it is idle, and gets no more work: somebody asked for that.
        classes: of the leases that it holds, in no order.
    """

    id: ResidentId
    plan: LoadPlan
    device: DeviceId
    state: ResidentState
    reserved_bytes: int
    started_s: float
    asked_by: str
    scale: int = 0
    saving: int = 0
    unspared_bytes: int = 0
    ready_s: float | None = None
    idle_since_s: float | None = None
    measured_bytes: int = 0
    peak_bytes: int = 0
    leases: set[LeaseId] = field(default_factory=set)
    served: int = 0
    reason: str = ""
    pinned: bool = False
    keep_s: float | None = None
    leaving: bool = False
    classes: list[WorkClass] = field(default_factory=list)
    parking: Parking = field(default_factory=Parking)

    @property
    def is_idle(self) -> bool:
        return self.state is ResidentState.READY and not self.leases

    @property
    def is_training(self) -> bool:
        """Whether all its work is training that can be parked; also while it is."""
        return (
            self.plan.parkable
            and bool(self.leases)
            and all(work_class is WorkClass.TRAINING for work_class in self.classes)
        )

    @property
    def is_left_parked(self) -> bool:
        """Parked, and its work was given up meanwhile."""
        return self.state is ResidentState.PARKED and not self.leases

    @property
    def has_room(self) -> bool:
        free = len(self.leases) < self.plan.capacity
        return self.state is ResidentState.READY and free and not self.leaving

    @property
    def stays(self) -> bool:
        """Whether nothing that others need makes it go."""
        return self.pinned and not self.leaving and self.state is not ResidentState.DRAINING

    @property
    def whole_bytes(self) -> int:
        """What is reserved for it when it is not parked."""
        return self.parking.whole_bytes if self.state is ResidentState.PARKED else self.reserved_bytes

    @property
    def owed_bytes(self) -> int:
        """What it needs to come back, beyond what it has."""
        return self.whole_bytes - self.reserved_bytes if self.leases else 0


@dataclass(frozen=True, slots=True)
class Need:
    """What a piece of work needs on a device, and the saving level at which it needs no more."""

    bytes: int
    saving: int


@dataclass(frozen=True, slots=True)
class Held:
    """One lease in the book."""

    id: LeaseId
    request: Request
    resident: ResidentId
    granted_s: float


@dataclass(frozen=True, slots=True)
class Keeping:
    """What a person has said about a model while the server ran: it goes before what plans say."""

    pinned: bool
    keep_s: float | None


@dataclass(frozen=True, slots=True)
class Backoff:
    failures: int
    until_s: float
    failure: Failure


def wish_of(request: Request) -> Wish:
    """What is true of one request is true of all with the same wish."""
    plan = request.plan
    training = request.work_class is WorkClass.TRAINING
    return (plan.key, plan.scale, plan.form, request.devices, training, plan.pinned)


def footprint_key(
    plan: LoadPlan, device_kind: str, scale: int | None = None, *, saving: int = 0
) -> FootprintKey:
    """`scale` of the plan, unless another is named."""
    of_work = plan.scale if scale is None else scale
    return FootprintKey(plan.use, plan.model, device_kind, of_work, saving, plan.form)
