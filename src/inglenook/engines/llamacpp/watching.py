# SPDX-License-Identifier: Apache-2.0
"""Whether a child that is asked something still works on it.

llama.cpp answers `/health` from a thread of its own, which says nothing of the thread that computes; `/slots`
goes through that thread's queue, and is answered between two batches. A batch of a long prompt may take
minutes on a slow machine. So signs of life are: a byte of any answer (but not a stream's `:` lines), an
answer to `/slots`, and processor time that the child has used. None of them for `hang_after_s`: it hangs.
Processor time alone is believed for `BUSY` times as long: a loop that never ends uses it too.
"""

import asyncio
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from typing import Final

import psutil

from inglenook.engines.llamacpp.http import Talk

BUSY: Final = 10
BUSY_SHARE: Final = 0.01
"""Of one processor: less is no work."""
LOOKS: Final = 4
"""Within `hang_after_s`."""

Hangs = Callable[[float], Awaitable[None]]
"""Told once, with the seconds without a sign of life."""


class Watch:
    """Looks at a child as long as it is asked something.

    Args:
        talks: the answers that run now.
        probe: asks the thread that computes, and returns when that has answered; raises nothing.
        pids: its processes.
    """

    def __init__(
        self,
        *,
        talks: AbstractSet[Talk],
        probe: Callable[[], Awaitable[bool]],
        pids: Callable[[], frozenset[int]],
        hang_after_s: float,
    ) -> None:
        self._talks = talks
        self._probe = probe
        self._pids = pids
        self._hang_after_s = hang_after_s
        self._task: asyncio.Task[None] | None = None
        self._asked: asyncio.Future[bool] | None = None

    def look(self, hangs: Hangs) -> None:
        """Begin to look, if nobody does."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look(hangs), name="watch a llama.cpp child")

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _look(self, hangs: Hangs) -> None:
        now_s = asyncio.get_running_loop().time
        heard_s = worked_s = looked_s = now_s()
        used_s = self._used_s()
        try:
            while True:
                await asyncio.sleep(self._hang_after_s / LOOKS)
                if not self._talks:
                    return
                used_now_s, at_s = self._used_s(), now_s()
                if used_now_s - used_s > BUSY_SHARE * (at_s - looked_s):
                    worked_s = at_s
                used_s, looked_s = used_now_s, at_s
                heard_s = max(heard_s, at_s if self._answers() else 0.0, *(t.moved_s for t in self._talks))
                if self._is_too_long(at_s - heard_s, at_s - worked_s):
                    break
        finally:
            if self._asked is not None:
                self._asked.cancel()
        await hangs(at_s - heard_s)

    def _is_too_long(self, unheard_s: float, idle_s: float) -> bool:
        silent_s = min(unheard_s, idle_s)
        return silent_s >= self._hang_after_s or unheard_s >= BUSY * self._hang_after_s

    def _answers(self) -> bool:
        """Whether it has answered the last question; asks the next one."""
        answered = self._asked is not None and self._asked.done() and self._asked.result()
        if self._asked is None or self._asked.done():
            self._asked = asyncio.ensure_future(self._probe())
        return answered

    def _used_s(self) -> float:
        """Seconds of processor time that its processes have used; 0 when they are gone."""
        used = 0.0
        for pid in self._pids():
            try:
                times = psutil.Process(pid).cpu_times()
            except psutil.Error:
                continue
            used += times.user + times.system
        return used
