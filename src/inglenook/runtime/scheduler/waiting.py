# SPDX-License-Identifier: Apache-2.0
"""Waiting for a lease, with news for whoever waits."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from inglenook.base.cancel import StopToken
from inglenook.runtime.contracts import Lease, Request
from inglenook.runtime.scheduler.loop import Scheduler
from inglenook.runtime.scheduler.snapshot import explanation_json

FIRST_TOLD_S: Final = 0.25
TOLD_EVERY_S: Final = 1.0

Hear = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Told while a request waits, soon and then once a second: place, reason, estimate (`explanation_json`).
What it raises ends the wait."""


async def acquire_told(scheduler: Scheduler, request: Request, stop: StopToken, hear: Hear | None) -> Lease:
    """`Scheduler.acquire`, and `hear` is told why it takes so long. A lease that comes when nobody waits any
    more is given back.

    Raises as `Scheduler.acquire`.
    """
    with scheduler.submitted(request, stop) as answer:
        pause_s = FIRST_TOLD_S
        while not answer.done():
            await asyncio.wait({answer}, timeout=pause_s if hear is not None else None)
            pause_s = TOLD_EVERY_S
            explanation = None if answer.done() else scheduler.explain(request.id)
            if hear is not None and explanation is not None:
                await hear(explanation_json(explanation))
        return answer.result()
