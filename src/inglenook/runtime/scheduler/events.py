# SPDX-License-Identifier: Apache-2.0
"""What the scheduler's loop is told. Everything that changes the book is one of these."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from inglenook.base.ids import DeviceId, LeaseId, ModelId, RequestId, ResidentId
from inglenook.runtime.contracts import (
    Child,
    DeviceUsage,
    Failure,
    Lease,
    ParkReceipt,
    Request,
    UnparkReceipt,
)
from inglenook.runtime.scheduler.ledger import Keeping


@dataclass(frozen=True, slots=True)
class Submit:
    request: Request
    answer: asyncio.Future[Lease]


@dataclass(frozen=True, slots=True)
class Withdraw:
    request: RequestId


@dataclass(frozen=True, slots=True)
class Release:
    lease: LeaseId


@dataclass(frozen=True, slots=True)
class Begun:
    resident: ResidentId
    child: Child


@dataclass(frozen=True, slots=True)
class Ready:
    resident: ResidentId


@dataclass(frozen=True, slots=True)
class Gone:
    resident: ResidentId
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class Parked:
    """A training has freed its device. `measured_bytes`: what it still holds there; None where that could not
    be measured."""

    resident: ResidentId
    receipt: ParkReceipt
    measured_bytes: int | None


@dataclass(frozen=True, slots=True)
class Stayed:
    """It had nothing to park. `ever`: whether it makes sense to ask it again."""

    resident: ResidentId
    reason: str
    ever: bool = True


@dataclass(frozen=True, slots=True)
class Resumed:
    resident: ResidentId
    receipt: UnparkReceipt


@dataclass(frozen=True, slots=True)
class Unfit:
    """It could not park or come back, or not in time: it is to be ended."""

    resident: ResidentId
    failure: Failure


@dataclass(frozen=True, slots=True)
class Measured:
    usage: Mapping[DeviceId, DeviceUsage]


@dataclass(frozen=True, slots=True)
class Unload:
    """A person asks for a model to be unloaded now."""

    resident: ResidentId
    answer: asyncio.Future[bool]


@dataclass(frozen=True, slots=True)
class Leave:
    """A person asks for a model to be unloaded as soon as nobody uses it."""

    model: ModelId
    answer: asyncio.Future[tuple[ResidentId, ...]]


@dataclass(frozen=True, slots=True)
class Keep:
    """A person has said how a model is kept, from now on."""

    model: ModelId
    keeping: Keeping


@dataclass(frozen=True, slots=True)
class KeepLoaded:
    """How long what is loaded of a model stays unused, until a request says something else. Seconds."""

    model: ModelId
    keep_s: float


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Event = (
    Submit
    | Withdraw
    | Release
    | Begun
    | Ready
    | Gone
    | Parked
    | Stayed
    | Resumed
    | Unfit
    | Measured
    | Unload
    | Leave
    | Keep
    | KeepLoaded
    | Tick
)
