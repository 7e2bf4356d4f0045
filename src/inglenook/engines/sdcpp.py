# SPDX-License-Identifier: Apache-2.0
"""stable-diffusion.cpp: single files of Stable Diffusion without torch, in a child of our own.

It draws with the package cyllama, in the worker itself, on the processor: its wheel is built for nothing
else.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from inglenook.runtime.contracts import ChildFailed, Device, Failure, LoadPlan
from inglenook.runtime.image_child import ImageChild, ImageEngine
from inglenook.runtime.visibility import NONE
from inglenook.wire.image import LoadImageModel

NAME: Final = "sdcpp"
MODULE: Final = "inglenook.workers.sdcpp"
FAMILIES: Final = ("sd1", "sd2", "sdxl")
"""Families of which it draws single files."""

DEVICES: Final = ("cpu",)
_PACKAGE: Final = "cyllama"
_NOT_INSTALLED: Final = "engine.not_installed"
_HALF: Final = ("float16", "bfloat16")


def missing() -> tuple[str, str] | None:
    """Why it cannot draw here, and what to do; None when its package is there. Nothing is loaded."""
    if find_spec(_PACKAGE) is not None:
        return None
    return (
        f"stable-diffusion.cpp cannot draw here: the package {_PACKAGE} is not installed.",
        "with Python 3.11: pip install 'inglenook[sdcpp]'",
    )


def draws(*, layout: str, family: str | None, variant: str, lent: Mapping[str, object], path: Path) -> bool:
    """Whether it draws with such a model: one whole `.safetensors` file in the LDM layout.

    Args:
        lent: the parts that other files lend it. Files without all their parts have not been tried, and
            neither have those that are made for inpainting alone.
    """
    return (
        layout == "single"
        and family in FAMILIES
        and variant != "inpaint"
        and not lent
        and path.suffix.lower() == ".safetensors"
    )


def dtypes(stored: str) -> Mapping[str, str]:
    """The precision that the weights are held in by kind of device: as they are stored."""
    return {"cpu": stored if stored in _HALF else "float32"}


class SdcppEngine(ImageEngine):
    """Draws with stable-diffusion.cpp. See `ImageEngine`. The library has no way to break off a picture, so a
    child that is cancelled is ended unless the picture is done by then.

    Args:
        cpu_threads: for the numeric library; None leaves it to that.
    """

    name = NAME

    def __init__(
        self,
        *,
        spool_root: Path,
        start_timeout_s: float,
        cancel_grace_s: float,
        stop_grace_s: float,
        cpu_threads: int | None,
    ) -> None:
        super().__init__(
            spool_root=spool_root,
            start_timeout_s=start_timeout_s,
            cancel_grace_s=cancel_grace_s,
            stop_grace_s=stop_grace_s,
        )
        self._cpu_threads = cpu_threads

    async def start(self, plan: LoadPlan, device: Device) -> ImageChild:
        """`plan.options`: `path` of a single file, `family`, and perhaps `variant`, `dtype` (converts the
        weights), `saving`.

        Raises `ChildFailed`.
        """
        absent = missing()
        if absent is not None:
            raise ChildFailed(Failure(_NOT_INSTALLED, absent[0], absent[1]))
        return await self._started(
            plan.model,
            module=MODULE,
            name=f"The stable-diffusion.cpp worker of {plan.model}",
            environment=NONE,
            load=lambda spool: LoadImageModel(
                path=str(plan.options["path"]),
                layout="single",
                family=plan.options["family"],
                variant=plan.options.get("variant", ""),
                device=device.kind,
                dtype=plan.options.get("dtype", ""),
                saving=plan.options.get("saving", 0),
                threads=self._cpu_threads,
                spool=spool,
            ),
        )
