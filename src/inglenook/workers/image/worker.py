# SPDX-License-Identifier: Apache-2.0
"""The worker that draws with torch and diffusers."""

from collections.abc import Callable
from pathlib import Path

import diffusers
import torch
import transformers

from inglenook.base.clock import Clock
from inglenook.wire.image import LoadImageModel
from inglenook.wire.message import OutOfMemory
from inglenook.workers.image.device import Device
from inglenook.workers.image.drawing import Studio
from inglenook.workers.image.families.family import Family
from inglenook.workers.image.inbox import Inbox
from inglenook.workers.image.memory import evidence_of
from inglenook.workers.image.serving import DrawingWorker
from inglenook.workers.image.spool import Spool
from inglenook.workers.serving import Sender


class Worker(DrawingWorker[Family]):
    """Args:
    channel: to the server.
    inbox: from the server; its thread is running.
    load: reads a model onto a device.
    """

    def __init__(
        self,
        *,
        channel: Sender,
        inbox: Inbox,
        load: Callable[[LoadImageModel, Device], Family],
        clock: Clock,
    ) -> None:
        super().__init__(channel=channel, inbox=inbox, clock=clock)
        self._load = load

    def run(self) -> int:
        quieten()
        return super().run()

    def read(self, request: LoadImageModel) -> tuple[Family, int]:
        if request.threads is not None:
            torch.set_num_threads(request.threads)
        family = self._load(request, Device(request.device))
        return family, family.weights_bytes

    def studio(self, model: Family, request: LoadImageModel) -> Studio:
        return Studio(
            family=model,
            saving=request.saving,
            spool=Spool(Path(request.spool)),
            send=self._channel.send,
            should_stop=self._inbox.should_stop,
            clock=self._clock,
        )

    def evidence(self, error: Exception, device: str) -> OutOfMemory | None:
        try:
            return evidence_of(error, Device(device))
        except RuntimeError:  # the device itself is what does not exist
            return evidence_of(error, Device("cpu"))


def quieten() -> None:
    """No progress bars and no advice: what a person should know is said by us, and prompts are not logged."""
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
