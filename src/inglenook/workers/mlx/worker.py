# SPDX-License-Identifier: Apache-2.0
"""The worker that draws with MLX, from a converted model."""

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx

from inglenook.base.clock import Clock
from inglenook.wire.image import LoadImageModel
from inglenook.wire.message import OutOfMemory
from inglenook.workers.image.errors import LoadUnsupported
from inglenook.workers.image.inbox import Inbox
from inglenook.workers.image.serving import DrawingWorker
from inglenook.workers.image.spool import Spool
from inglenook.workers.mlx import memory
from inglenook.workers.mlx.drawing import Studio
from inglenook.workers.mlx.model import DEVICES, Model
from inglenook.workers.serving import Sender


class Worker(DrawingWorker[Model]):
    """Args:
    channel: to the server.
    inbox: from the server; its thread is running.
    load: reads a model.
    """

    def __init__(
        self,
        *,
        channel: Sender,
        inbox: Inbox,
        clock: Clock,
        load: Callable[[LoadImageModel], Model] = Model,
    ) -> None:
        super().__init__(channel=channel, inbox=inbox, clock=clock)
        self._load = load

    def read(self, request: LoadImageModel) -> tuple[Model, int]:
        _choose_device(request.device)
        model = self._load(request)
        return model, model.weights_bytes

    def studio(self, model: Model, request: LoadImageModel) -> Studio:
        return Studio(
            model=model,
            saving=request.saving,
            spool=Spool(Path(request.spool)),
            send=self._channel.send,
            should_stop=self._inbox.should_stop,
            clock=self._clock,
        )

    def evidence(self, error: Exception, device: str) -> OutOfMemory | None:  # noqa: ARG002 - MLX has one device
        return memory.evidence_of(error)


def _choose_device(name: str) -> None:
    """Raises `LoadUnsupported` where MLX has no such device."""
    kind = DEVICES.get(name)
    if kind is None or not mx.is_available(mx.Device(kind)):
        raise LoadUnsupported(
            f"MLX has no device {name!r} on this machine.",
            hint="MLX draws on Apple silicon; elsewhere on the processor, which is slow",
        )
    mx.set_default_device(mx.Device(kind))
