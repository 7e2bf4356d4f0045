# SPDX-License-Identifier: Apache-2.0
"""The real studio worker in a process of its own, over the wire."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.studio_pictures import CLASSES, draw_pictures, spec

from inglenook.wire.channel import Channel, Listener
from inglenook.wire.message import Cancel, Loaded, Message, Shutdown
from inglenook.wire.studio.messages import FromStudioWorker
from inglenook.wire.studio.training import (
    Batch,
    Began,
    Epoch,
    OpenStudio,
    Park,
    Parked,
    Train,
    Trained,
    TrainFailed,
    TrainStopped,
    Unpark,
    Unparked,
)

pytestmark = pytest.mark.slow

LAST = (Trained, TrainFailed, TrainStopped)


@asynccontextmanager
async def started(folder: Path) -> AsyncIterator[Channel]:
    """A worker that has been opened, and ends well."""
    spool = folder / "spool"
    spool.mkdir()
    listener = Listener(spool, FromStudioWorker)
    await listener.open()
    environment = os.environ | listener.environment() | {"OMP_NUM_THREADS": "1"}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "inglenook.workers.studio", env=environment
    )
    try:
        channel = await listener.accept()
        await channel.send(OpenStudio(device="cpu", threads=1, spool=str(spool)))
        assert isinstance(await channel.receive(), Loaded)
        yield channel
        await channel.send(Shutdown())
        assert await child.wait() == 0
    finally:
        await listener.close()
        if child.returncode is None:
            child.kill()
            await child.wait()


async def until_last(channel: Channel, on: Callable[[Message], Message | None] = lambda _: None) -> list[Any]:
    """Every message up to the last word; `on` may answer each with one of the server's."""
    said: list[Message] = []
    while True:
        message = await channel.receive()
        said.append(message)
        if isinstance(message, LAST):
            return said
        answer = on(message)
        if answer is not None:
            await channel.send(answer)


def a_run(folder: Path, manifest: Path, job: str, **fields: Any) -> Train:
    return Train(
        job=job,
        task="classification",
        classes=CLASSES,
        manifest=str(manifest),
        folder=str(folder / job),
        **{"spec": spec(), **fields},
    )


def test_one_worker_trains_fails_parks_stops_and_goes_on(tmp_path: Path) -> None:
    manifest = draw_pictures(tmp_path / "pictures", 48, val=12)
    long = spec(max_epochs=300, early_stopping_patience=0)

    async def main() -> None:
        async with started(tmp_path) as channel:
            await channel.send(a_run(tmp_path, manifest, "one"))
            said = await until_last(channel)
            assert isinstance(said[-1], Trained)
            assert [m.epoch for m in said if isinstance(m, Epoch)] == [1, 2]
            assert sum(isinstance(m, Began) for m in said) == 1

            await channel.send(a_run(tmp_path, manifest, "two", spec=spec(backbone="resnet81")))
            failed = (await until_last(channel))[-1]
            assert isinstance(failed, TrainFailed)
            assert (failed.code, failed.hint) == ("train.unknown_model", "did you mean resnet18?")

            await channel.send(a_run(tmp_path, manifest, "three", spec=long))
            said = await until_last(channel, _park_then_stop())
            parked = next(m for m in said if isinstance(m, Parked))
            assert parked.after_bytes is not None
            assert any(isinstance(m, Unparked) for m in said)
            stopped = said[-1]
            assert isinstance(stopped, TrainStopped)
            assert stopped.checkpoint is not None

            await channel.send(a_run(tmp_path, manifest, "three", spec=long, resume=stopped.checkpoint))
            said = await until_last(channel, lambda m: Cancel(job="three") if isinstance(m, Batch) else None)
            began = next(m for m in said if isinstance(m, Began))
            assert (began.epoch, began.weights) == (stopped.epoch, "random")

    asyncio.run(asyncio.wait_for(main(), 240))


def _park_then_stop() -> Callable[[Message], Message | None]:
    """Park at the first batch, unpark when that is done, stop at the next batch."""
    seen: list[type] = []

    def answer(message: Message) -> Message | None:
        known = set(seen)
        seen.append(type(message))
        if isinstance(message, Parked):
            return Unpark(job="three")
        if isinstance(message, Batch) and Batch not in known:
            return Park(job="three")
        if isinstance(message, Batch) and Unparked in known:
            return Cancel(job="three")
        return None

    return answer
