# SPDX-License-Identifier: Apache-2.0
"""A model in the worker's own hands, without a process and without files: what is measured as "ours"."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from inglenook.base.clock import SystemClock
from inglenook.wire.image import Draw, Drawn, LoadImageModel
from inglenook.wire.message import Message
from inglenook.workers.image.device import Device
from inglenook.workers.image.drawing import Studio
from inglenook.workers.image.families.family import Family
from inglenook.workers.image.families.registry import load_family
from inglenook.workers.image.spool import Spool


class LastPicture(Spool):
    """Keeps the last picture instead of writing it; gives out `references` by name.

    Args:
        previews: where previews are really written; None keeps them to itself too.
    """

    def __init__(self, previews: Path | None = None) -> None:
        super().__init__(previews or Path())
        self._writes_previews = previews is not None
        self.last: Any = None
        self.references: dict[str, Any] = {}

    def write(self, stem: str, pixels: Any) -> str:
        self.last = pixels
        return super().write(stem, pixels) if stem == "preview" and self._writes_previews else stem

    def read_rgb(self, name: str, *, width: int | None = None, height: int | None = None) -> Any:
        return self.references[name]


class Worker:
    """Attributes:
    family: the loaded model.
    spool: its last picture, and the pictures that it can be given.
    """

    def __init__(
        self,
        family: Family,
        *,
        send: Callable[[Message], None] = lambda message: None,
        previews: Path | None = None,
    ) -> None:
        self.family = family
        self.spool = LastPicture(previews)
        self._studio = Studio(
            family=family,
            saving=0,
            spool=self.spool,
            send=send,
            should_stop=lambda: False,
            clock=SystemClock(),
        )

    def draw(self, **request: Any) -> Any:
        """One picture: uint8 (height, width, 3)."""
        last = self._studio.execute(Draw(job="j", **request))
        assert isinstance(last, Drawn), last
        return self.spool.last


def loaded(folder: Path, family: str, variant: str = "") -> Family:
    request = LoadImageModel(
        path=str(folder), layout="folder", family=family, variant=variant, device="cpu", dtype="float32",
        spool="",
    )  # fmt: skip
    return load_family(request, Device("cpu"))
