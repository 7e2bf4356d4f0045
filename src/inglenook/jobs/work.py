# SPDX-License-Identifier: Apache-2.0
"""The two sides of a job while it runs: who does the work, and through what it reports."""

from collections.abc import Mapping
from typing import Any, Protocol

from inglenook.base.cancel import StopToken
from inglenook.base.errors import Cancelled
from inglenook.base.ids import JobId
from inglenook.jobs.model import Job, Receipt


class Stopped(Cancelled):
    """A `Work` raises this when it has stopped because its token said so."""

    default_code = "job.cancelled"

    def __init__(self, receipt: Receipt) -> None:
        super().__init__(f"The job stopped: {receipt.how}.")
        self.receipt = receipt


class Report(Protocol):
    """What a `Work` may say while it works. Every call publishes an event; the last progress is kept."""

    stop: StopToken
    """Set when the work should stop; the work looks at it, or waits for it, and raises `Stopped`."""

    async def waiting(self) -> None:
        """It wants the accelerator and stands in the queue (state `waiting`)."""
        ...

    async def running(self) -> None:
        """It holds what it needs (state `running`)."""
        ...

    async def paused(self) -> None:
        """It was set aside in the middle (state `paused`); `running` says that it goes on."""
        ...

    async def progress(
        self, fraction: float, *, stage: str, estimate_s: float | None = None, detail: Mapping[str, Any]
    ) -> None:
        """`fraction` in [0, 1]; `detail` goes into the event as it is (step, steps, picture, pictures …)."""
        ...

    async def preview(self, *, picture: int, step: int, media_type: str, data: bytes) -> None:
        """A rough view of an unfinished picture; sent, not kept beyond the latest one a picture."""
        ...

    async def result(self, part: Mapping[str, Any]) -> None:
        """Something is finished and safe. Appended to `job.result["parts"]` at once, so that a crash later
        loses nothing that was done."""
        ...

    async def notice(self, text: str) -> None: ...

    async def cost(self, *, seconds: float, byte_seconds: float) -> None:
        """Add to what the job has cost."""
        ...


class Work(Protocol):
    """One kind of job. `app.py` hands one of each to `JobsService`."""

    kind: str
    restarts: bool
    """Whether a job that was *running* when the server died is begun again by itself. One that was
    queued or waiting always is."""

    async def run(self, job: Job, report: Report) -> Mapping[str, Any]:
        """Do it; return what to keep in `job.result` beside the parts.

        Raises:
            Stopped: the token said so, and it has stopped.
            InglenookError: it failed; the message is what a person reads.
        """
        ...

    def explain(self, job: JobId) -> Mapping[str, Any] | None:
        """Why the job waits now (position, reason, who holds what, estimate), or None when it does not."""
        ...
