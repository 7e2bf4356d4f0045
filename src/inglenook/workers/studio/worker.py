# SPDX-License-Identifier: Apache-2.0
"""The worker's main thread: make ready once, then one piece of work after another until told to end."""

import logging
import warnings
from pathlib import Path
from typing import Any

import torch

from inglenook.base.clock import Clock
from inglenook.base.errors import InglenookError
from inglenook.wire.channel import PeerGone
from inglenook.wire.message import LoadFailed, Message
from inglenook.wire.studio.training import OpenStudio
from inglenook.workers.image.memory import evidence_of
from inglenook.workers.inbox import Inbox
from inglenook.workers.serving import Sender, ServingWorker
from inglenook.workers.studio.context import Context
from inglenook.workers.studio.data.loading import loader_died, tells_of_a_dead_loader
from inglenook.workers.studio.device import StudioDevice
from inglenook.workers.studio.gate import Gate
from inglenook.workers.studio.handlers import HANDLERS, Handler
from inglenook.workers.telling import LONGEST, in_words, log_failure

log = logging.getLogger(__name__)

MEMORY_HINT = "use a smaller batch_size with a batch_multiplier, smaller pictures, or precision bf16-mixed"


class Worker(ServingWorker[OpenStudio, Any]):
    """Args:
    channel: to the server.
    inbox: from the server; its thread is running.
    gate: what the inbox steers.
    """

    opens = OpenStudio

    def __init__(self, *, channel: Sender, inbox: Inbox[OpenStudio, Any], gate: Gate, clock: Clock) -> None:
        super().__init__(channel=channel, inbox=inbox, clock=clock)
        self._gate = gate

    def run(self) -> int:
        quieten()
        return super().run()

    def put_away(self) -> None:
        self._gate.clear()

    def open(self, request: OpenStudio) -> bool:
        """The device is proven to work."""
        began = self._clock.monotonic()
        if request.threads is not None:
            torch.set_num_threads(request.threads)
        try:
            device = StudioDevice(request.device)
            torch.zeros(1, device=device.torch)
        except Exception as error:  # noqa: BLE001 - whatever a driver raises is told in words
            self._channel.send(
                LoadFailed(code="load.failed", message=f"{request.device} does not work: {in_words(error)}")
            )
            return False
        seconds = self._clock.monotonic() - began
        log.info("ready on %s after %.1f s", request.device, seconds)
        self._opened(seconds=seconds)
        self._context = Context(
            send=self._channel.send,
            should_stop=self._inbox.should_stop,
            device=device,
            spool=Path(request.spool),
            models=tuple(Path(folder) for folder in request.models),
            gate=self._gate,
            clock=self._clock,
        )
        return True

    def do(self, work: Message) -> Message:
        try:
            return self._last_word(work, self._context)
        finally:
            self._context.device.release()

    def _last_word(self, work: Message, context: Context) -> Message:
        handler = HANDLERS[type(work)]
        try:
            return handler.run(work, context)
        except PeerGone:
            raise
        except InglenookError as error:
            return _told(handler, work, error)
        except Exception as error:  # noqa: BLE001 - whatever a library raises fails this job and no other
            if tells_of_a_dead_loader(error):
                return _told(handler, work, loader_died(error))
            log_failure(log, f"{type(work).__name__} failed", error)
            return _in_words(handler, work, error, context)


def job_of(work: Message) -> str:
    return str(work.job)  # type: ignore[attr-defined]  # what asks for work has one


def _told(handler: Handler, work: Message, error: InglenookError) -> Message:
    return handler.failed(job=job_of(work), code=error.code, message=error.message[:LONGEST], hint=error.hint)


def _in_words(handler: Handler, work: Message, error: Exception, context: Context) -> Message:
    evidence = evidence_of(error, context.device)
    if evidence is not None:
        return handler.failed(
            job=job_of(work),
            code=f"{handler.prefix}.out_of_memory",
            message=f"Memory ran out on {context.device.title}: {error}"[:LONGEST],
            hint=MEMORY_HINT,
            out_of_memory=evidence,
        )
    return handler.failed(
        job=job_of(work),
        code=f"{handler.prefix}.failed",
        message=in_words(error),
        hint=None,
    )


def quieten() -> None:
    """No advice of the libraries to programmers: what a person should know is said by us."""
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning", "timm", "torch", "PIL"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(lightning|torch|torchvision|timm|tensorboard|google|PIL)\b.*")
