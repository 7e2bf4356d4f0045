# SPDX-License-Identifier: Apache-2.0
"""The worker that draws with stable-diffusion.cpp."""

from collections.abc import Callable
from pathlib import Path

from inglenook.base.clock import Clock
from inglenook.wire.image import LoadImageModel
from inglenook.workers.image.inbox import Inbox
from inglenook.workers.image.serving import DrawingWorker
from inglenook.workers.image.spool import Spool
from inglenook.workers.sdcpp.drawing import Studio
from inglenook.workers.sdcpp.library import Library
from inglenook.workers.sdcpp.painting import Painter
from inglenook.workers.serving import Sender

Load = Callable[[LoadImageModel], Painter]


class Worker(DrawingWorker[Painter]):
    """Args:
    channel: to the server.
    inbox: from the server; its thread is running.
    load: reads a model.
    """

    def __init__(self, *, channel: Sender, inbox: Inbox, clock: Clock, load: Load = Library) -> None:
        super().__init__(channel=channel, inbox=inbox, clock=clock)
        self._load = load

    def read(self, request: LoadImageModel) -> tuple[Painter, int]:
        return self._load(request), Path(request.path).stat().st_size

    def studio(self, model: Painter, request: LoadImageModel) -> Studio:
        self._painter = model
        return Studio(
            painter=model,
            saving=request.saving,
            spool=Spool(Path(request.spool)),
            send=self._channel.send,
            should_stop=self._inbox.should_stop,
            clock=self._clock,
        )

    def close(self) -> None:
        self._painter.close()
