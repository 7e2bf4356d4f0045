# SPDX-License-Identifier: Apache-2.0
"""What the scheduler's loop is told. Everything that changes the book is one of these."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from inglenook.base.ids import DeviceId, LeaseId, RequestId, ResidentId
from inglenook.runtime.contracts import Child, DeviceUsage, Failure, Lease, Request


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
class Measured:
    usage: Mapping[DeviceId, DeviceUsage]


@dataclass(frozen=True, slots=True)
class Unload:
    """A person asks for a model to be unloaded now."""

    resident: ResidentId
    answer: asyncio.Future[bool]


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Event = Submit | Withdraw | Release | Begun | Ready | Gone | Measured | Unload | Tick
