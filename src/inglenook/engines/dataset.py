# SPDX-License-Identifier: Apache-2.0
"""The child that reads data sets. It needs no accelerator, so nobody asks the scheduler for it: it is started
for one piece of work and ended after it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inglenook.base.cancel import StopToken
from inglenook.runtime.visibility import NO_CUDA
from inglenook.runtime.worker import WorkerProcess
from inglenook.runtime.worker_child import Tell, WorkerChild
from inglenook.wire.studio.dataset import (
    CheckDataset,
    DatasetChecked,
    DatasetFailed,
    DatasetRead,
    DatasetStopped,
    FromDatasetWorker,
    LastWord,
    OpenDataset,
    ReadDataset,
)

MODULE: Final = "inglenook.workers.dataset"


@dataclass(frozen=True, slots=True)
class DatasetReaders:
    """Starts such children.

    Attributes:
        spool_root: each child gets a folder of its own below it.
        memory_bytes: that a child may allocate.
    """

    spool_root: Path
    start_timeout_s: float
    cancel_grace_s: float
    stop_grace_s: float
    memory_bytes: int | None

    @asynccontextmanager
    async def started(self, what: str) -> AsyncIterator["DatasetChild"]:
        """A child for the length of the block. `what`: whom it works for, in messages.

        Raises ChildFailed.
        """
        worker = WorkerProcess(
            module=MODULE,
            name=f"The reader of {what}",
            union=FromDatasetWorker,
            spool_root=self.spool_root,
            extra={**NO_CUDA, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            grace_s=self.stop_grace_s,
        )
        await worker.start()
        try:
            child = DatasetChild(
                worker,
                OpenDataset(memory_bytes=self.memory_bytes),
                model=what,
                what="reader",
                working="while it read pictures",
                last_words=(DatasetRead, DatasetChecked, DatasetFailed, DatasetStopped),
                start_timeout_s=self.start_timeout_s,
                cancel_grace_s=self.cancel_grace_s,
                stop_grace_s=self.stop_grace_s,
            )
            await child.ready()
            yield child
        finally:
            await worker.stop(self.stop_grace_s)
            await worker.discard()


class DatasetChild(WorkerChild[LastWord]):
    """One such child."""

    async def do(self, asked: ReadDataset | CheckDataset, *, stop: StopToken, tell: Tell) -> LastWord:
        """See `WorkerChild.work`."""
        cancelled = DatasetStopped(job=asked.job, done=-1)
        return await self.work(asked, job=asked.job, cancelled=cancelled, stop=stop, tell=tell)
