# SPDX-License-Identifier: Apache-2.0
"""One tiny model, drawn with by the image worker and, converted, by the MLX worker."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tests.mlx_models import converted
from tests.tiny_models import write_folder, write_single
from tests.unit.workers.image import bench as torch_bench
from tests.unit.workers.image.bench import SIDE_PX, a_draw, given_mask, given_picture

from inglenook.base.clock import SystemClock
from inglenook.wire.image import Drawn, LastWord, LoadImageModel, PictureMade, SavingLevel
from inglenook.wire.message import Message
from inglenook.workers.image.spool import Spool
from inglenook.workers.mlx.drawing import Studio
from inglenook.workers.mlx.model import Model

__all__ = ["SIDE_PX", "Pair", "a_draw", "converted", "load", "pair"]


@dataclass
class Pair:
    """Attributes:
    torch: the model in the image worker's hands.
    folder: the model converted. model: the same in the MLX worker's hands.
    """

    torch: torch_bench.Bench
    folder: Path
    model: Model
    sent: list[Message] = field(default_factory=list)

    @property
    def spool(self) -> Path:
        return self.torch.spool

    def studio(
        self, *, saving: SavingLevel = 0, should_stop: Callable[[], bool] = lambda: False, model: Any = None
    ) -> Studio:
        self.sent.clear()
        return Studio(
            model=self.model if model is None else model,
            saving=saving,
            spool=Spool(self.spool),
            send=self.sent.append,
            should_stop=should_stop,
            clock=SystemClock(),
        )

    def said(self, kind: type[Any]) -> list[Any]:
        return [message for message in self.sent if isinstance(message, kind)]

    def execute(self, *, saving: SavingLevel = 0, **request: Any) -> LastWord:
        return self.studio(saving=saving).execute(a_draw(**request))

    def ours(self, *, saving: SavingLevel = 0, **request: Any) -> np.ndarray:
        """The first picture by MLX: int (height, width, 3)."""
        last = self.execute(saving=saving, **request)
        assert isinstance(last, Drawn), last
        (made, *_) = self.said(PictureMade)
        return np.asarray(Image.open(self.spool / made.file)).astype(int)

    def theirs(self, **request: Any) -> np.ndarray:
        """The same by torch."""
        return self.torch.ours(**request)


def load(folder: Path, family: str, *, dtype: str = "float32", **more: Any) -> Model:
    return Model(
        LoadImageModel(
            path=str(folder),
            layout="folder",
            family=family,
            device="cpu",
            dtype=dtype,
            spool=str(folder.parent),
            **more,
        )
    )


def pair(family: str, place: Path, *, single: bool = False, variant: str = "", **kind: Any) -> Pair:
    """Args:
    single: one file with everything, rather than a folder of diffusers.
    kind: what `write_folder` or `write_single` takes.
    """
    if single:
        path = write_single(family, place / "model.safetensors", **kind)
        theirs = opened_single(path, family, place, variant)
    else:
        path = write_folder(family, place / "model", **kind)
        theirs = torch_bench.opened(path, family, place, variant=variant)
    folder = converted(path, place / "mlx" / "model", family, variant=variant)
    return Pair(theirs, folder, load(folder, family, variant=variant))


def opened_single(path: Path, family: str, place: Path, variant: str) -> torch_bench.Bench:
    request = LoadImageModel(
        path=str(path),
        layout="single",
        family=family,
        variant=variant,
        device="cpu",
        dtype="float32",
        spool=str(place),
    )
    spool = place / "spool"
    spool.mkdir(exist_ok=True)
    given_picture().save(spool / "given.png")
    given_mask().save(spool / "mask.png")
    device = torch_bench.Device("cpu")
    return torch_bench.Bench(path, spool, torch_bench.load_family(request, device))
