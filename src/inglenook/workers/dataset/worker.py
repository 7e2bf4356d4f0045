# SPDX-License-Identifier: Apache-2.0
"""The worker's main thread: one piece of work after another until told to end."""

import logging

from inglenook.base.errors import InglenookError
from inglenook.wire.channel import PeerGone
from inglenook.wire.message import Message, OutOfMemory
from inglenook.wire.studio.dataset import (
    CheckDataset,
    DatasetFailed,
    DatasetStopped,
    DatasetWork,
    OpenDataset,
    ReadDataset,
)
from inglenook.workers.dataset.checking import Checking
from inglenook.workers.dataset.errors import Stopped
from inglenook.workers.dataset.reading import Reading
from inglenook.workers.serving import FilesWorker
from inglenook.workers.telling import in_words, log_failure

log = logging.getLogger(__name__)


class Worker(FilesWorker[OpenDataset, DatasetWork]):
    opens = OpenDataset

    def do(self, work: DatasetWork) -> Message:
        reading = None
        try:
            if isinstance(work, ReadDataset):
                reading = Reading(
                    work,
                    spool=self._spool,
                    send=self._channel.send,
                    should_stop=self._inbox.should_stop,
                    clock=self._clock,
                )
                return reading.run()
            assert isinstance(work, CheckDataset)
            return Checking(work, send=self._channel.send, should_stop=self._inbox.should_stop).run()
        except PeerGone:
            raise
        except Stopped:
            return DatasetStopped(job=work.job, done=-1 if reading is None else reading.taken)
        except InglenookError as error:
            return DatasetFailed(
                job=work.job, error=error.kind, code=error.code, message=error.message, hint=error.hint
            )
        except MemoryError:
            return _out_of_memory(work.job)
        except Exception as error:  # noqa: BLE001 - whatever a library raises fails this work and no other
            log_failure(log, "reading a data set failed", error)
            return DatasetFailed(job=work.job, error="failed", code="dataset.failed", message=in_words(error))


def _out_of_memory(job: str) -> DatasetFailed:
    return DatasetFailed(
        job=job,
        error="failed",
        code="dataset.out_of_memory",
        message="Memory ran out while the data set was read.",
        hint="raise studio.import_memory_bytes, or import it in parts",
        out_of_memory=OutOfMemory(),
    )
