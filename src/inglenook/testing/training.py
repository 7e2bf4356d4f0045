# SPDX-License-Identifier: Apache-2.0
"""A worker that trains nothing, as well or as badly as it is told to: `python -m inglenook.testing.training
BEHAVIOUR`.

A real process that speaks the wire of the studio's worker and knows no tensor library. Its batches are
numbers that follow from each other, so that a batch which is lost, or done twice, shows. It holds a block of
memory while it trains, and gives it back when it is parked.
"""

import os
import sys
import threading
import time
from enum import StrEnum
from typing import Final

from inglenook.testing.child import crash, hang
from inglenook.wire.channel import PeerGone, WorkerChannel
from inglenook.wire.message import Cancel, Loaded, Shutdown
from inglenook.wire.studio.training import (
    Batch,
    Began,
    OpenStudio,
    Park,
    Parked,
    Train,
    Trained,
    TrainStopped,
    Unpark,
    Unparked,
)

EXIT_PEER_GONE: Final = 4
BLOCK_BYTES: Final = 8_000_000
MULTIPLIER: Final = 48271
MODULUS: Final = 2**31 - 1
TO_WORKER: Final = OpenStudio | Train | Park | Unpark | Cancel | Shutdown


class TrainBehaviour(StrEnum):
    NORMAL = "normal"  # batch after batch, until it is cancelled
    NEVER_PARKS = "never_parks"
    DIES_WHILE_PARKING = "dies_while_parking"
    DIES_WHEN_PARKED = "dies_when_parked"
    DIES_COMING_BACK = "dies_coming_back"
    NEVER_COMES_BACK = "never_comes_back"
    ENDS_INSTEAD = "ends_instead"  # the last batch was done when it was asked to park


def next_value(value: int) -> int:
    """The number of the batch after that of `value`."""
    return value * MULTIPLIER % MODULUS


class ScriptedTrainer:
    def __init__(self, channel: WorkerChannel, behaviour: TrainBehaviour) -> None:
        self._channel = channel
        self._behaviour = behaviour
        self._changed = threading.Condition()
        self._open = False
        self._work: list[Train] = []
        self._cancelled: set[str] = set()
        self._park = False
        self._receipt: Parked | None = None  # while it is parked
        self._over = False
        self._value = 1
        self._batch = 0

    def run(self) -> int:
        threading.Thread(target=self._read, daemon=True).start()
        with self._changed:
            self._changed.wait_for(lambda: self._open or self._over)
        self._channel.send(Loaded(seconds=0.0, weights_bytes=0))
        while (work := self._next()) is not None:
            self._train(work)
        return 0

    def _read(self) -> None:
        try:
            while True:
                message = self._channel.receive()
                with self._changed:
                    match message:
                        case OpenStudio():
                            self._open = True
                        case Train():
                            self._work.append(message)
                        case Park() | Unpark():
                            self._park = isinstance(message, Park)
                            if self._park and self._receipt is not None:
                                self._channel.send(self._receipt)
                        case Cancel(job=job):
                            self._cancelled.add(job)
                        case Shutdown():
                            self._over = True
                    self._changed.notify_all()
        except PeerGone:
            os._exit(EXIT_PEER_GONE)

    def _next(self) -> Train | None:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._work) or self._over)
            return self._work.pop(0) if self._work else None

    def _train(self, train: Train) -> None:
        block: bytearray | None = bytearray(BLOCK_BYTES)
        self._channel.send(_began(train.job))
        while train.job not in self._cancelled:
            if self._park:
                block = None
                if self._sit_out(train):
                    return
                block = bytearray(BLOCK_BYTES)
            self._step(train)
            with self._changed:
                self._changed.wait_for(lambda: train.job in self._cancelled or self._park, timeout=0.002)
        held = 0 if block is None else len(block)
        self._channel.send(
            TrainStopped(
                job=train.job, epoch=1, batch=self._batch, checkpoint=None, before_bytes=held, after_bytes=0
            )
        )

    def _step(self, train: Train) -> None:
        self._value = next_value(self._value)
        self._batch += 1
        loss = self._value / MODULUS
        self._channel.send(
            Batch(job=train.job, epoch=1, batch=self._batch, batches=10**9, stage="train", loss=loss)
        )

    def _sit_out(self, train: Train) -> bool:
        """Be parked until the device may be had again, or the work is cancelled. Whether all is over."""
        match self._behaviour:
            case TrainBehaviour.NEVER_PARKS:
                hang()
            case TrainBehaviour.DIES_WHILE_PARKING:
                crash()
            case TrainBehaviour.ENDS_INSTEAD:
                self._channel.send(
                    Trained(job=train.job, seconds=1.0, epochs=1, ended="epochs", values={"train_loss": 0.5})
                )
                return True
            case _:
                pass
        began = time.monotonic()
        parked = Parked(
            job=train.job,
            seconds=time.monotonic() - began,
            before_bytes=BLOCK_BYTES,
            after_bytes=0,
            epoch=1,
            batch=self._batch,
        )
        with self._changed:
            self._receipt = parked
            self._channel.send(parked)
        if self._behaviour is TrainBehaviour.DIES_WHEN_PARKED:
            crash()
        with self._changed:
            self._changed.wait_for(lambda: not self._park or train.job in self._cancelled)
            self._receipt = None
        if train.job in self._cancelled:
            return False
        match self._behaviour:
            case TrainBehaviour.DIES_COMING_BACK:
                crash()
            case TrainBehaviour.NEVER_COMES_BACK:
                hang()
            case _:
                self._channel.send(Unparked(job=train.job, seconds=0.0, memory_bytes=BLOCK_BYTES))
        return False


def _began(job: str) -> Began:
    return Began(
        job=job,
        weights="none",
        pretrained=False,
        parameters=1,
        trainable=1,
        device="cpu",
        precision="32",
        epoch=1,
        epochs=1,
        batches=10**9,
        environment={},
    )


def main(arguments: list[str]) -> int:
    behaviour = TrainBehaviour(arguments[0]) if arguments else TrainBehaviour.NORMAL
    channel = WorkerChannel.from_environment("scripted-trainer", TO_WORKER)
    return ScriptedTrainer(channel, behaviour).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
