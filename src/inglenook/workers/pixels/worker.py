# SPDX-License-Identifier: Apache-2.0
"""The worker's main thread: one piece of work after another until told to end."""

import logging

from inglenook.base.errors import InglenookError, Invalid, TooLarge
from inglenook.wire.message import Message
from inglenook.wire.pixels import OpenPixels, Pixelate, PixelsFailed, PixelsStopped, WriteSprites
from inglenook.workers.pixels.errors import BadPicture, Stopped
from inglenook.workers.pixels.making import Making
from inglenook.workers.pixels.writing import written
from inglenook.workers.serving import FilesWorker
from inglenook.workers.telling import NoRoom, in_words, log_failure

log = logging.getLogger(__name__)


class Worker(FilesWorker[OpenPixels, Message]):
    opens = OpenPixels

    def do(self, work: Message) -> Message:
        assert isinstance(work, Pixelate | WriteSprites), "the inbox takes nothing else"
        making = None
        try:
            if isinstance(work, WriteSprites):
                return written(work, self._spool, look=self._look)
            making = Making(work, self._spool, look=self._look, clock=self._clock)
            return making.run()
        except Stopped:
            return PixelsStopped(job=work.job, done=0 if making is None else making.done)
        except BadPicture as error:
            return _failed(work.job, error, picture=error.place)
        except InglenookError as error:
            return _failed(work.job, error)
        except MemoryError:
            return PixelsFailed(
                job=work.job,
                code="pixels.out_of_memory",
                message="Memory ran out while sprites were made.",
                hint="send smaller pictures or fewer at a time, or raise pixels.memory_bytes",
            )
        except Exception as error:  # noqa: BLE001 - whatever a library raises fails this work and no other
            log_failure(log, "making sprites failed", error)
            return PixelsFailed(job=work.job, code="pixels.failed", message=in_words(error))

    def _look(self) -> None:
        if self._inbox.should_stop():
            raise Stopped("Stopped between two steps.")


def _failed(job: str, error: InglenookError, picture: int | None = None) -> PixelsFailed:
    code = error.code
    if not code.startswith("pixels.") and not isinstance(error, NoRoom):
        kinds = {Invalid.kind: "pixels.invalid", TooLarge.kind: "pixels.too_large"}
        code = kinds.get(error.kind, "pixels.failed")
    return PixelsFailed(
        job=job, code=code, message=error.message, hint=error.hint, field=error.field, picture=picture
    )
