# SPDX-License-Identifier: Apache-2.0
"""One Draw from its check to its last word."""

from collections.abc import Callable
from typing import Final

import numpy as np

from inglenook.base.clock import Clock
from inglenook.wire.image import (
    Draw,
    DrawCancelled,
    DrawFailed,
    Drawn,
    LastWord,
    SavingLevel,
)
from inglenook.wire.message import Message
from inglenook.workers.image.checking import check
from inglenook.workers.image.errors import DrawInvalid, Stopped
from inglenook.workers.image.spool import Spool
from inglenook.workers.image.studio import DEFAULT_STRENGTH, AnyStudio
from inglenook.workers.sdcpp.painting import Painter, Painting
from inglenook.workers.sdcpp.samplers import sampler

TILING_FROM: Final[SavingLevel] = 1


class Abilities:
    """What stable-diffusion.cpp can be asked for with the families that this engine draws; see `checking`."""

    reads_clip = True
    multiple_px = 8
    max_references = 0
    sees_masked_picture = False


class Studio(AnyStudio):
    """One loaded model and everything that a Draw needs around it.

    Args:
        saving: the level it was loaded with; from 1 up the VAE works in tiles.
        send: sends one message to the server.
        should_stop: asked before every picture.
    """

    def __init__(
        self,
        *,
        painter: Painter,
        saving: SavingLevel,
        spool: Spool,
        send: Callable[[Message], None],
        should_stop: Callable[[], bool],
        clock: Clock,
    ) -> None:
        super().__init__(saving=saving, spool=spool, send=send, should_stop=should_stop, clock=clock)
        self._painter = painter

    def execute(self, draw: Draw) -> LastWord:
        """Returns the last word. Raises `PaintFailed`."""
        began = self._clock.monotonic()
        try:
            check(draw, Abilities())
            check_here(draw)
            self.saving = max(self.saving, draw.saving)
            for index in range(len(draw.seeds)):
                self._make(draw, index)
        except DrawInvalid as error:
            return DrawFailed(job=draw.job, code=error.code, message=str(error))
        except Stopped as stop:
            return DrawCancelled(job=draw.job, picture=stop.picture, step=stop.step)
        return Drawn(job=draw.job, seconds=self._clock.monotonic() - began, saving=self.saving)

    def _make(self, draw: Draw, index: int) -> None:
        """One picture, from its noise to its file. It reads the prompt anew, so that comes before each."""
        self._stop_if_asked(index, 1)
        began, done = self._clock.monotonic(), 0
        painting = self._painting(draw, draw.seeds[index])

        def step(number: int, steps: int, preview: np.ndarray | None) -> None:
            nonlocal done
            if number <= done:
                return
            done = number
            file = None if preview is None else self._spool.write("preview", preview)
            self._progress(draw, "denoise", index, number, steps, file)

        pixels = self._painter.paint(painting, step=step)
        self._hang(draw, index, kept_outside(pixels, painting), began=began)

    def _painting(self, draw: Draw, seed: int) -> Painting:
        image = mask = None
        if draw.image is not None and draw.mode in DEFAULT_STRENGTH:
            image = self._spool.read_rgb(draw.image, width=draw.width, height=draw.height)
        if draw.mask is not None and draw.mode == "inpaint":
            levels = self._spool.read_mask(draw.mask, width=draw.width, height=draw.height)
            mask = np.where(levels >= 128, 255, 0).astype(np.uint8)
        strength = DEFAULT_STRENGTH.get(draw.mode, 1.0) if draw.strength is None else draw.strength
        method, schedule = sampler(draw.scheduler, draw.sigmas)
        return Painting(
            prompt=draw.prompt,
            negative_prompt=draw.negative_prompt,
            width=draw.width,
            height=draw.height,
            steps=draw.steps,
            guidance_scale=max(draw.guidance_scale, 1.0),
            seed=seed,
            method=method,
            schedule=schedule,
            image=image,
            mask=mask,
            strength=strength,
            clip_skip=draw.clip_skip,
            tiled=self.saving >= TILING_FROM,
            preview_every=draw.preview_every,
        )


def kept_outside(pixels: np.ndarray, painting: Painting) -> np.ndarray:
    """With the picture's own pixels where the mask is dark: stable-diffusion.cpp keeps their latents, and its
    VAE does not give the same pixels back."""
    if painting.image is None or painting.mask is None:
        return pixels
    return np.where(painting.mask[..., None] == 255, pixels, painting.image)


def check_here(draw: Draw) -> None:
    """Raises `DrawInvalid` for what other engines can and this one cannot."""
    sampler(draw.scheduler, draw.sigmas)
    for given, field, words in (
        (draw.loras, "loras", "applies no LoRAs"),
        (draw.embeddings, "prompt", "reads no textual inversions here"),
        (draw.vae is not None, "vae", "draws with the VAE that is in the model's file"),
        (draw.hires is not None, "hires", "draws no second pass here"),
    ):
        if given:
            raise DrawInvalid(
                f"The engine stable-diffusion.cpp {words}.",
                hint="leave it out, or take engine torch",
                field=field,
            )
