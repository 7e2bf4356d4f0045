# SPDX-License-Identifier: Apache-2.0
"""The worker's handlers in this process: a real context on the processor, and a server that listens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tests.studio_pictures import CLASSES

from inglenook.base.clock import Clock, SystemClock
from inglenook.wire.message import Decoder, Message, encode
from inglenook.wire.studio.messages import FromStudioWorker
from inglenook.wire.studio.spec import TrainSpec
from inglenook.wire.studio.training import Batch, Began, Epoch, Park, StudioNotice, Train, Unpark
from inglenook.workers.studio.context import Context
from inglenook.workers.studio.device import StudioDevice
from inglenook.workers.studio.gate import Gate
from inglenook.workers.studio.training.run import train
from inglenook.workers.studio.worker import Worker, quieten

WIRE = Decoder(FromStudioWorker)


class Bench:
    """Args:
    on: called with each message that the worker sends, and this bench, on the worker's thread.
    clock: the machine's where none is given.
    """

    def __init__(
        self,
        folder: Path,
        *,
        on: "Callable[[Message, Bench], None]" = lambda *_: None,
        clock: Clock | None = None,
    ) -> None:
        quieten()
        torch.set_num_threads(1)
        self.folder = folder
        self.messages: list[Message] = []
        self.stopping = False
        self._on = on
        self.spool = folder / "spool"
        self.spool.mkdir(parents=True, exist_ok=True)
        clock = clock or SystemClock()
        self.gate = Gate(send=self._send, should_stop=lambda: self.stopping, clock=clock)
        self.context = Context(
            send=self._send,
            should_stop=lambda: self.stopping,
            device=StudioDevice("cpu"),
            spool=self.spool,
            models=(folder / "models",),
            gate=self.gate,
            clock=clock,
            report_every_s=0.0,
        )

    def train(self, manifest: Path, spec: TrainSpec, *, run: str = "run", **fields: Any) -> Any:
        """Returns the last word."""
        return train(self.asked(Train, manifest, spec, folder=str(self.folder / run), **fields), self.context)

    def work(self, manifest: Path, spec: TrainSpec, **fields: Any) -> Any:
        """As `train`, by the worker's main loop, which tells of whatever is raised."""
        worker = Worker(channel=None, inbox=None, gate=self.gate, clock=self.context.clock)  # type: ignore[arg-type]
        asked = self.asked(Train, manifest, spec, **{"folder": str(self.folder / "run")} | fields)
        return worker._last_word(asked, self.context)

    def asked(self, kind: type, manifest: Path, spec: TrainSpec, **fields: Any) -> Any:
        given: dict[str, Any] = {
            "job": "job",
            "task": "classification",
            "classes": CLASSES,
            "manifest": str(manifest),
        }
        return kind(**given | {"spec": spec} | fields)

    def stop(self) -> None:
        self.stopping = True
        self.gate.wish(None)

    def park(self) -> None:
        self.gate.wish(Park(job="job"))

    def unpark(self) -> None:
        self.gate.wish(Unpark(job="job"))

    def _send(self, message: Message) -> None:
        assert WIRE.decode(encode(message).rstrip()) == message, "it does not travel as it is"
        self.messages.append(message)
        self._on(message, self)

    def of(self, kind: type) -> list[Any]:
        return [message for message in self.messages if isinstance(message, kind)]

    @property
    def losses(self) -> list[tuple[int, int, float]]:
        """(epoch, batch, loss) of each training batch."""
        return [(m.epoch, m.batch, m.loss) for m in self.of(Batch) if m.stage == "train"]

    @property
    def epochs(self) -> list[Epoch]:
        return self.of(Epoch)

    @property
    def notices(self) -> str:
        """What a person should know, told before it began and on the way."""
        before = [note for message in self.of(Began) for note in message.notes]
        return "\n".join([*before, *(message.text for message in self.of(StudioNotice))])


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    content = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return dict(content["network"])


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
