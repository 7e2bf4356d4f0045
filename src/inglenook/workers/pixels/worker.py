# SPDX-License-Identifier: Apache-2.0
"""The worker's main thread: one piece of work after another until told to end."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from inglenook.base.clock import Clock
from inglenook.base.errors import InglenookError, Invalid, TooLarge
from inglenook.wire.channel import PeerGone
from inglenook.wire.message import Loaded, Message, Shutdown
from inglenook.wire.pixels import OpenPixels, Pixelate, PixelsFailed, PixelsStopped, WriteSprites
from inglenook.workers.inbox import EXIT_DONE, EXIT_PEER_GONE, Inbox
from inglenook.workers.pixels.errors import BadPicture, Stopped
from inglenook.workers.pixels.making import Making
from inglenook.workers.pixels.writing import written
from inglenook.workers.telling import in_words, log_failure

log = logging.getLogger(__name__)


class Sender(Protocol):
    def send(self, message: Message) -> None: ...


class Worker:
    """Args:
    spool: this child's private folder.
    bound: limits the memory of this process to so many bytes.
    """

    def __init__(
        self,
        *,
        channel: Sender,
        inbox: Inbox[OpenPixels, Message],
        spool: Path,
        bound: Callable[[int], None],
        clock: Clock,
    ) -> None:
        self._channel = channel
        self._inbox = inbox
        self._spool = spool
        self._bound = bound
        self._clock = clock

    def run(self) -> int:
        """Returns the process's exit status."""
        try:
            opened = self._inbox.next()
            if not isinstance(opened, OpenPixels):
                return EXIT_DONE
            if opened.memory_bytes is not None:
                self._bound(opened.memory_bytes)
            self._inbox.loaded()
            self._channel.send(Loaded(seconds=0.0, weights_bytes=0))
            while not isinstance(work := self._inbox.next(), Shutdown):
                assert isinstance(work, Pixelate | WriteSprites)
                last = self._done(work)
                self._inbox.finished()
                self._channel.send(last)
        except PeerGone:
            return EXIT_PEER_GONE
        return EXIT_DONE

    def _done(self, work: Pixelate | WriteSprites) -> Message:
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
    if not code.startswith("pixels."):
        kinds = {Invalid.kind: "pixels.invalid", TooLarge.kind: "pixels.too_large"}
        code = kinds.get(error.kind, "pixels.failed")
    return PixelsFailed(
        job=job, code=code, message=error.message, hint=error.hint, field=error.field, picture=picture
    )
