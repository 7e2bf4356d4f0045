# SPDX-License-Identifier: Apache-2.0
"""The MLX worker: our own networks of Stable Diffusion on Apple silicon; and the child that converts models.

| machine            | device | what it is for                                           |
|--------------------|--------|----------------------------------------------------------|
| macOS, arm64       | `mps`  | drawing                                                  |
| any other with MLX | `cpu`  | trying out, and the tests: MLX's processor code is slow  |
"""

import platform
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from inglenook.base.cancel import StopToken
from inglenook.runtime.contracts import ChildFailed, Device, Failure, LoadPlan
from inglenook.runtime.image_child import ImageChild, ImageEngine
from inglenook.runtime.visibility import NO_CUDA
from inglenook.runtime.worker import WorkerProcess
from inglenook.runtime.worker_child import Tell, WorkerChild
from inglenook.wire.image import LoadImageModel
from inglenook.wire.mlx import (
    FAMILIES,
    Converted,
    ConvertFailed,
    ConvertLastWord,
    ConvertModel,
    ConvertStopped,
    FromConverter,
    OpenConverter,
)

__all__ = ["FAMILIES", "NAME", "Converters", "MlxEngine", "dtypes", "kinds_of_devices", "missing"]

NAME: Final = "mlx"
MODULE: Final = "inglenook.workers.mlx"
CONVERTER: Final = "inglenook.workers.mlx.convert"
NOT_INSTALLED: Final = "engine.not_installed"
_PACKAGES: Final = ("mlx", "safetensors", "tokenizers")


def missing() -> tuple[str, str] | None:
    """Why it cannot draw here, and what to do; None when its packages are there. Nothing is loaded."""
    absent = [name for name in _PACKAGES if find_spec(name) is None]
    if not absent:
        return None
    return (f"MLX cannot draw here: {', '.join(absent)} not installed.", "pip install 'inglenook[mlx]'")


def kinds_of_devices() -> frozenset[str]:
    """Where it draws on this machine; empty where it is not installed."""
    if missing() is not None:
        return frozenset()
    apple = sys.platform == "darwin" and platform.machine() == "arm64"
    return frozenset({"mps"}) if apple else frozenset({"cpu"})


def dtypes(stored: str) -> Mapping[str, str]:
    """The precision to compute in by kind of device, for weights that are stored as `stored`: half precision
    where the hardware is made for it and the weights have it."""
    half = stored if stored in ("float16", "bfloat16") else "float32"
    usual = {"mps": half, "cpu": "float32"}
    return {kind: usual[kind] for kind in sorted(kinds_of_devices())}


class MlxEngine(ImageEngine):
    """Draws with MLX. See `ImageEngine`."""

    name = NAME

    async def start(self, plan: LoadPlan, device: Device) -> ImageChild:
        """`plan.options`: `path` of a converted folder, `family`, and perhaps `stored`
        (the precision of its weights), `dtype`, `variant`, `saving`.

        Raises `ChildFailed`.
        """
        absent = missing()
        if absent is not None:
            raise ChildFailed(Failure(NOT_INSTALLED, absent[0], absent[1]))
        usual = dtypes(plan.options.get("stored", "float32"))
        return await self._started(
            plan.model,
            module=MODULE,
            name=f"The MLX worker of {plan.model}",
            environment=NO_CUDA,
            load=lambda spool: LoadImageModel(
                path=str(plan.options["path"]),
                layout="folder",
                family=plan.options["family"],
                variant=plan.options.get("variant", ""),
                device="mps" if device.kind == "mps" else "cpu",
                dtype=plan.options.get("dtype", usual.get(device.kind, "float32")),
                saving=plan.options.get("saving", 0),
                spool=spool,
            ),
        )


@dataclass(frozen=True, slots=True)
class Converters:
    """Starts children that convert models. They need no accelerator, so nobody asks the scheduler for them.

    Attributes:
        spool_root: each child gets a folder of its own below it.
    """

    spool_root: Path
    start_timeout_s: float
    cancel_grace_s: float
    stop_grace_s: float

    @asynccontextmanager
    async def started(self, model: str) -> AsyncIterator["ConvertChild"]:
        """A child for the length of the block.

        Raises ChildFailed.
        """
        absent = missing()
        if absent is not None:
            raise ChildFailed(Failure(NOT_INSTALLED, absent[0], absent[1]))
        worker = WorkerProcess(
            module=CONVERTER,
            name=f"The converter of {model}",
            union=FromConverter,
            spool_root=self.spool_root,
            extra=NO_CUDA,
            grace_s=self.stop_grace_s,
        )
        await worker.start()
        try:
            child = ConvertChild(
                worker,
                OpenConverter(),
                model=model,
                what="converter",
                working="while it converted",
                last_words=(Converted, ConvertFailed, ConvertStopped),
                start_timeout_s=self.start_timeout_s,
                cancel_grace_s=self.cancel_grace_s,
                stop_grace_s=self.stop_grace_s,
            )
            await child.ready()
            yield child
        finally:
            await worker.stop(self.stop_grace_s)
            await worker.discard()


class ConvertChild(WorkerChild[ConvertLastWord]):
    """One such child."""

    async def convert(self, asked: ConvertModel, *, stop: StopToken, tell: Tell) -> ConvertLastWord:
        """See `WorkerChild.work`."""
        return await self.work(
            asked, job=asked.job, cancelled=ConvertStopped(job=asked.job), stop=stop, tell=tell
        )
