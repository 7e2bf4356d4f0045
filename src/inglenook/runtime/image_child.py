# SPDX-License-Identifier: Apache-2.0
"""A child that answers `wire/image`, whichever library it draws with, and how one is started."""

from collections.abc import Callable, Mapping
from typing import Final

from inglenook.base.cancel import StopToken
from inglenook.base.ids import ModelId
from inglenook.runtime.worker import WorkerProcess
from inglenook.runtime.worker_child import Tell, WorkerChild
from inglenook.runtime.worker_engine import WorkerEngine
from inglenook.wire.image import (
    Draw,
    DrawCancelled,
    DrawFailed,
    Drawn,
    FromImageWorker,
    LastWord,
    LoadImageModel,
)

DRAWING: Final = "while it drew"


class ImageChild(WorkerChild[LastWord]):
    """One image worker with one model. Draws one `Draw` at a time: its lease capacity is 1."""

    def __init__(
        self,
        worker: WorkerProcess,
        load: LoadImageModel,
        *,
        model: str,
        start_timeout_s: float,
        cancel_grace_s: float,
        stop_grace_s: float,
    ) -> None:
        super().__init__(
            worker,
            load,
            model=model,
            what="image worker",
            working=DRAWING,
            last_words=(Drawn, DrawFailed, DrawCancelled),
            start_timeout_s=start_timeout_s,
            cancel_grace_s=cancel_grace_s,
            stop_grace_s=stop_grace_s,
        )

    async def draw(self, draw: Draw, *, stop: StopToken, tell: Tell) -> LastWord:
        """Make the pictures of `draw`; see `WorkerChild.work`."""
        cancelled = DrawCancelled(job=draw.job, picture=-1, step=-1)
        return await self.work(draw, job=draw.job, cancelled=cancelled, stop=stop, tell=tell)


class ImageEngine(WorkerEngine):
    """What the engines that draw in a worker of ours have in common."""

    async def _started(
        self,
        model: ModelId,
        *,
        module: str,
        name: str,
        environment: Mapping[str, str],
        load: Callable[[str], LoadImageModel],
    ) -> ImageChild:
        """A child of that module. `load`: what it is to read, given its spool folder.

        Raises `ChildFailed`.
        """
        worker = await self._process(module, name=name, union=FromImageWorker, environment=environment)
        return ImageChild(worker, load(str(worker.spool)), model=str(model), **self._patience)
