# SPDX-License-Identifier: Apache-2.0
"""A part of a job's work that reports as if it were all of it."""

from collections.abc import Mapping
from typing import Any

from inglenook.base.clock import Clock
from inglenook.jobs.work import Report


class Share:
    """A `jobs.work.Report` for the part of the work from `begin` to `end`, both in [0, 1] of all of it.

    Args:
        began_s: when all of the work began, for the estimate of the rest.
        picture: added to the number of the picture that the part tells of. pictures: of all of the work.
        detail: goes into each event of progress beside what the part says.
    """

    def __init__(
        self,
        whole: Report,
        begin: float,
        end: float,
        *,
        clock: Clock,
        began_s: float,
        picture: int = 0,
        pictures: int = 1,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        self.stop = whole.stop
        self._whole = whole
        self._begin = begin
        self._end = end
        self._clock = clock
        self._began_s = began_s
        self._picture = picture
        self._pictures = pictures
        self._detail = dict(detail or {})

    async def waiting(self) -> None:
        await self._whole.waiting()

    async def running(self) -> None:
        await self._whole.running()

    async def paused(self) -> None:
        await self._whole.paused()

    async def progress(
        self,
        fraction: float,
        *,
        stage: str,
        estimate_s: float | None = None,  # noqa: ARG002 - of the part; all of the work is estimated anew
        detail: Mapping[str, Any],
    ) -> None:
        done = self._begin + fraction * (self._end - self._begin)
        spent_s = self._clock.monotonic() - self._began_s
        rest_s = spent_s / done * (1 - done) if done > 0 else None
        numbers = {"picture": self._picture + detail.get("picture", 0), "pictures": self._pictures}
        await self._whole.progress(
            done, stage=stage, estimate_s=rest_s, detail={**detail, **numbers, **self._detail}
        )

    async def preview(self, *, picture: int, step: int, media_type: str, data: bytes) -> None:
        await self._whole.preview(
            picture=self._picture + picture, step=step, media_type=media_type, data=data
        )

    async def result(self, part: Mapping[str, Any]) -> None:
        await self._whole.result(part)

    async def notice(self, text: str) -> None:
        await self._whole.notice(text)

    async def cost(self, *, seconds: float, byte_seconds: float) -> None:
        await self._whole.cost(seconds=seconds, byte_seconds=byte_seconds)
