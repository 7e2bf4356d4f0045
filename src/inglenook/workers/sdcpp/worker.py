# SPDX-License-Identifier: Apache-2.0
"""The worker's main thread: load one model, then one Draw after another until told to end."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from inglenook.base.clock import Clock
from inglenook.base.errors import InglenookError
from inglenook.wire.channel import PeerGone
from inglenook.wire.image import Draw, DrawFailed, Loaded, LoadFailed, LoadImageModel
from inglenook.wire.message import Message
from inglenook.workers.image.inbox import EXIT_DONE, EXIT_LOAD_FAILED, EXIT_PEER_GONE, Inbox
from inglenook.workers.image.spool import Spool
from inglenook.workers.sdcpp.drawing import Studio
from inglenook.workers.sdcpp.library import Library
from inglenook.workers.sdcpp.painting import Painter
from inglenook.workers.telling import in_words, log_failure

log = logging.getLogger(__name__)

Load = Callable[[LoadImageModel], Painter]


class Sender(Protocol):
    def send(self, message: Message) -> None: ...


class Worker:
    """Args:
    channel: to the server.
    inbox: from the server; its thread is running.
    load: reads a model.
    """

    def __init__(self, *, channel: Sender, inbox: Inbox, clock: Clock, load: Load = Library) -> None:
        self._channel = channel
        self._inbox = inbox
        self._clock = clock
        self._load = load

    def run(self) -> int:
        """Returns the process's exit status."""
        painter: Painter | None = None
        try:
            request = self._inbox.next()
            if not isinstance(request, LoadImageModel):
                return EXIT_DONE  # a Shutdown before anything was loaded
            painter = self._loaded(request)
            if painter is None:
                return EXIT_LOAD_FAILED
            studio = Studio(
                painter=painter,
                saving=request.saving,
                spool=Spool(Path(request.spool)),
                send=self._channel.send,
                should_stop=self._inbox.should_stop,
                clock=self._clock,
            )
            while isinstance(work := self._inbox.next(), Draw):
                last_word = self._draw(studio, work)
                self._inbox.finished()
                self._channel.send(last_word)
        except PeerGone:
            return EXIT_PEER_GONE
        finally:
            if painter is not None:
                painter.close()
        return EXIT_DONE

    def _loaded(self, request: LoadImageModel) -> Painter | None:
        """The model in memory, `Loaded` sent; or None, `LoadFailed` sent."""
        began = self._clock.monotonic()
        try:
            painter = self._load(request)
            weights_bytes = Path(request.path).stat().st_size
        except Exception as error:  # noqa: BLE001 - the one place that turns whatever loading raises into words
            self._channel.send(_load_failure(error))
            return None
        self._inbox.loaded()
        seconds = self._clock.monotonic() - began
        log.info("loaded in %.1f s, %d bytes of weights", seconds, weights_bytes)
        self._channel.send(Loaded(seconds=seconds, weights_bytes=weights_bytes))
        return painter

    def _draw(self, studio: Studio, work: Draw) -> Message:
        try:
            return studio.execute(work)
        except PeerGone:
            raise
        except InglenookError as error:
            return DrawFailed(job=work.job, code=error.code, message=str(error))
        except Exception as error:  # noqa: BLE001 - whatever a library raises fails this job and no other
            log_failure(log, "a draw failed", error)
            return DrawFailed(job=work.job, code="draw.failed", message=in_words(error))


def _load_failure(error: Exception) -> LoadFailed:
    if isinstance(error, InglenookError):
        return LoadFailed(code=error.code, message=str(error))
    log_failure(log, "loading failed", error)
    return LoadFailed(code="load.unsupported", message=f"The model could not be loaded: {in_words(error)}")
