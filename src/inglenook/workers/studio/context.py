# SPDX-License-Identifier: Apache-2.0
"""What a handler is given beside its work."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from inglenook.base.clock import Clock
from inglenook.wire.message import Message
from inglenook.workers.studio.device import StudioDevice
from inglenook.workers.studio.gate import Gate


@dataclass(frozen=True, slots=True)
class Context:
    """Attributes:
    send: to the server; raises PeerGone when it has gone.
    should_stop: whether the work in hand is to end at its next boundary. `gate.check` asks it too.
    spool: a folder private to this child, for files that are named in messages and for what is parked.
    models: folders in which weights may lie, in this order.
    gate: passed at every boundary; parks and stops.
    report_every_s: how often progress is told, at most.
    """

    send: Callable[[Message], None]
    should_stop: Callable[[], bool]
    device: StudioDevice
    spool: Path
    models: tuple[Path, ...]
    gate: Gate
    clock: Clock
    report_every_s: float = 0.25
