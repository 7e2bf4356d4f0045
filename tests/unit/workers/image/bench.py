# SPDX-License-Identifier: Apache-2.0
"""One tiny model, drawn with by us and by diffusers' own pipelines."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from diffusers import (
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)
from PIL import Image
from tests.tiny_models import write_folder

import inglenook
from inglenook.base.clock import SystemClock
from inglenook.wire.image import Draw, Drawn, LastWord, LoadImageModel, PictureMade, SavingLevel
from inglenook.wire.message import Message
from inglenook.workers.image.device import Device
from inglenook.workers.image.drawing import Studio
from inglenook.workers.image.families.family import Family
from inglenook.workers.image.families.registry import load_family
from inglenook.workers.image.spool import Spool

STARTER = Path(inglenook.__file__).parent / "catalog" / "builtin" / "starter-339"
SIDE_PX = 64
STEPS = 5
PIPELINES: dict[tuple[bool, str], Any] = {
    (False, "text"): StableDiffusionPipeline,
    (False, "image"): StableDiffusionImg2ImgPipeline,
    (False, "inpaint"): StableDiffusionInpaintPipeline,
    (True, "text"): StableDiffusionXLPipeline,
    (True, "image"): StableDiffusionXLImg2ImgPipeline,
    (True, "inpaint"): StableDiffusionXLInpaintPipeline,
}


@dataclass
class Bench:
    """One tiny model, in our hands, and a spool folder that holds `given.png` and `mask.png`."""

    folder: Path
    spool: Path
    family: Family
    sent: list[Message] = field(default_factory=list)

    def studio(
        self,
        *,
        family: Any = None,
        saving: SavingLevel = 0,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Studio:
        """What the worker draws with; its messages go to `sent`."""
        self.sent.clear()
        return Studio(
            family=self.family if family is None else family,
            saving=saving,
            spool=Spool(self.spool),
            send=self.sent.append,
            should_stop=should_stop,
            clock=SystemClock(),
        )

    def said(self, kind: type[Any]) -> list[Any]:
        return [message for message in self.sent if isinstance(message, kind)]

    def pixels(self, file: str) -> np.ndarray:
        return np.asarray(Image.open(self.spool / file)).astype(int)

    def pictures(self) -> list[np.ndarray]:
        return [self.pixels(made.file) for made in self.said(PictureMade)]

    def execute(self, **request: Any) -> LastWord:
        return self.studio().execute(a_draw(**request))

    def ours(self, **request: Any) -> np.ndarray:
        """The first picture of a Draw through the worker's own path: int (height, width, 3)."""
        last = self.execute(**request)
        assert isinstance(last, Drawn), last
        return self.pictures()[0]

    def theirs(
        self, mode: str, scheduler: str | None, *, sigmas: str | None = None, **call: Any
    ) -> np.ndarray:
        pipeline = PIPELINES[self.family.name == "sdxl", mode].from_pretrained(
            self.folder,
            local_files_only=True,
            **({"safety_checker": None} if self.family.name != "sdxl" else {}),
        )
        pipeline.set_progress_bar_config(disable=True)
        pipeline.scheduler = _as_they_expect(self.family.schedulers.make(scheduler, sigmas))
        size = {} if mode == "image" else {"width": SIDE_PX, "height": SIDE_PX}
        picture = pipeline(num_inference_steps=STEPS, **size, **call).images[0]
        return np.asarray(picture).astype(int)


def _as_they_expect(scheduler: Any) -> Any:
    """With what the pipelines of Stable Diffusion ask of every scheduler and those along a flow lack."""
    if not hasattr(scheduler, "add_noise"):
        scheduler.init_noise_sigma = 1.0
        scheduler.scale_model_input = lambda sample, timestep: sample
        scheduler.add_noise = lambda image, noise, timestep: scheduler.scale_noise(image, timestep, noise)
    return scheduler


def bench(family: str, place: Path, **kind: Any) -> Bench:
    """Args:
    kind: what `write_folder` takes: `inpainting`, `flow`, `few_steps`.
    """
    return opened(write_folder(family, place / "model", **kind), family, place)


def opened(folder: Path, family: str, place: Path, *, variant: str = "", dtype: str = "float32") -> Bench:
    """A bench for a model folder that is there already; `place` gets the spool."""
    request = LoadImageModel(
        path=str(folder),
        layout="folder",
        family=family,
        variant=variant,
        device="cpu",
        dtype=dtype,
        spool=str(place),
    )
    spool = place / "spool"
    spool.mkdir(exist_ok=True)
    given_picture().save(spool / "given.png")
    given_mask().save(spool / "mask.png")
    return Bench(folder, spool, load_family(request, Device("cpu")))


def reload(one: Bench, *, dtype: str) -> Bench:
    """The same model, read in another precision."""
    return opened(one.folder, one.family.name, one.folder.parent, variant=one.family.variant, dtype=dtype)


def given_picture() -> Image.Image:
    noise = np.random.default_rng(3).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)


def given_mask() -> Image.Image:
    mask = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    mask[16:, 24:] = 255
    return Image.fromarray(mask)


def a_draw(**request: Any) -> Draw:
    """A Draw of one small picture, with whatever `request` says differently."""
    usual: dict[str, Any] = {
        "job": "job-1",
        "prompt": "a red fox in the snow",
        "width": SIDE_PX,
        "height": SIDE_PX,
        "steps": STEPS,
        "guidance_scale": 5.0,
        "seeds": (7,),
    }
    return Draw(**{**usual, **request})
