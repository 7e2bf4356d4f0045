# SPDX-License-Identifier: Apache-2.0
"""What the policy may answer, and the settings that it reads. Values."""

from dataclasses import dataclass

from inglenook.base.ids import DeviceId, RequestId, ResidentId
from inglenook.runtime.contracts import WaitReason


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings of the policy.

    Attributes:
        aging_s: after each such time of waiting a request counts as one class more urgent.
        patience_s: how long others may go on using a ready model while an earlier request waits for its
            memory, counted from when it was ready; or the time to load the model that is waited for, where
            that is longer. It keeps two models that want the same memory from only being loaded.
        idle_unload_s: an idle resident is unloaded after this, where nobody has said otherwise for it; None
            keeps it until its memory is wanted.
        max_loaded: how many children there may be at once; those being loaded and unloaded count, parked
            ones do not. None: as many as memory holds.
        training_share: of a device's time that a training gets at least, in [0, 1], however much other work
            there is. 1: it is never parked.
        training_slice_s: the shortest time between two changes of a training's fate: so long at least it
            works between coming back and being parked again, and is parked before it comes back.
    """

    aging_s: float = 60.0
    patience_s: float = 5.0
    idle_unload_s: float | None = 300.0
    max_loaded: int | None = None
    training_share: float = 0.2
    training_slice_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Serve:
    """Grant a lease on a ready resident."""

    request: RequestId
    resident: ResidentId


@dataclass(frozen=True, slots=True)
class Start:
    """Start a child for the request's plan on the device; its footprint is reserved from now on."""

    request: RequestId
    device: DeviceId


@dataclass(frozen=True, slots=True)
class Evict:
    """End an idle resident. `request` is who needs the room, `turn` the parked training that comes back into
    it; neither when it was idle for too long, is to go, or was parked and its work given up."""

    resident: ResidentId
    reason: str
    request: RequestId | None = None
    turn: ResidentId | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """No device could ever hold it, with everything else unloaded."""

    request: RequestId
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Park:
    """Have a training free its device at its next batch boundary, because `request` needs the room."""

    resident: ResidentId
    request: RequestId
    reason: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Bring a parked training back; its memory is reserved from now on. `due_s`: since when it was due; None
    where it comes back before that."""

    resident: ResidentId
    reason: str
    due_s: float | None = None


@dataclass(frozen=True, slots=True)
class Join:
    """It needs no child of its own: the one being started will serve it."""

    request: RequestId
    resident: ResidentId


@dataclass(frozen=True, slots=True)
class Wait:
    """It cannot be served now, for this reason."""

    request: RequestId
    reason: WaitReason


Decision = Serve | Start | Evict | Refuse | Park | Resume
"""What the loop must carry out."""
Verdict = Decision | Join | Wait
"""What a walk finds for one request."""
