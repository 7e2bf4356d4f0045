# SPDX-License-Identifier: Apache-2.0
"""One Draw from its check to its last word."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

from inglenook.base.clock import Clock
from inglenook.wire.image import (
    MAX_SAVING,
    Draw,
    DrawCancelled,
    DrawFailed,
    Drawn,
    LastWord,
    SavingLevel,
)
from inglenook.wire.message import Message, OutOfMemory
from inglenook.workers.image.checking import check
from inglenook.workers.image.errors import DrawInvalid, Stopped
from inglenook.workers.image.spool import Spool
from inglenook.workers.image.studio import DEFAULT_STRENGTH, AnyStudio
from inglenook.workers.mlx import hires, memory, sampling
from inglenook.workers.mlx.model import Model, Text
from inglenook.workers.mlx.pixels import as_input, at_size, mask_of
from inglenook.workers.mlx.preview import preview_pixels
from inglenook.workers.mlx.sampling import Picture, Plan, Source

log = logging.getLogger(__name__)

_WHAT_SAVES = {1: "one half of the guidance at a time", 2: "the VAE in tiles", 3: "the VAE in tiles"}
_TEXTS_KEPT = 8


@dataclass(frozen=True)
class Passes:
    """What one Draw says about each of its pictures, from noise and, where asked for, once more larger."""

    first: Plan
    second: Plan | None


class Studio(AnyStudio):
    """One loaded model and everything that a Draw needs around it.

    Args:
        saving: the level it was loaded with. It rises when memory runs out, and stays risen.
        send: sends one message to the server.
        should_stop: asked before every step.
    """

    def __init__(
        self,
        *,
        model: Model,
        saving: SavingLevel,
        spool: Spool,
        send: Callable[[Message], None],
        should_stop: Callable[[], bool],
        clock: Clock,
    ) -> None:
        super().__init__(saving=saving, spool=spool, send=send, should_stop=should_stop, clock=clock)
        self._model = model
        self._texts: OrderedDict[Hashable, Text] = OrderedDict()

    def execute(self, draw: Draw) -> LastWord:
        """Draw all pictures. When memory runs out, go on once with the next saving level.

        Returns the last word; raises only what is nobody's business to foresee.
        """
        last: LastWord | None = None
        try:
            last = self._whole(draw)
            return last
        finally:
            if not isinstance(last, Drawn):
                self._model.loras.detach()

    def _whole(self, draw: Draw) -> LastWord:
        began = self._clock.monotonic()
        memory.reset_peak()
        try:
            check(draw, self._model)
            _check_here(draw, self._model)
            made: list[str] = []
            evidence = self._attempt(draw, made)
            if evidence is not None and self._spare_more(draw):
                evidence = self._attempt(draw, made)
        except DrawInvalid as error:
            return DrawFailed(job=draw.job, code=error.code, message=str(error))
        except Stopped as stop:
            return self._stopped(draw, stop)
        if evidence is not None:
            return self._out_of_memory(draw, evidence)
        return Drawn(
            job=draw.job,
            seconds=self._clock.monotonic() - began,
            saving=self.saving,
            peak_bytes=memory.peak_bytes(),
        )

    def _attempt(self, draw: Draw, made: list[str]) -> OutOfMemory | None:
        """Draw what is not in `made` yet, adding to it. Returns the evidence when memory ran out.

        The error itself does not leave this function: its traceback would keep every array alive.
        """
        try:
            if draw.saving > self.saving:
                self.saving = draw.saving
            self._model.spare(self.saving)
            self._model.loras.apply(draw.loras)
            passes = self._plan(draw)
            while len(made) < len(draw.seeds):
                made.append(self._make(draw, passes, len(made)))
        except memory.MEMORY_ERRORS as error:
            evidence = memory.evidence_of(error)
            if evidence is None:
                raise
            log.warning("memory ran out at saving level %d: %s", self.saving, evidence)
            return evidence
        return None

    def _plan(self, draw: Draw) -> Passes:
        """Everything that the pictures of one Draw share."""
        self._stop_if_asked(0, 1)
        text = self._text(draw, draw.width, draw.height)
        source = self._source(draw) if draw.mode in ("image", "inpaint") else None
        first = Plan(text, draw.scheduler, draw.steps, draw.width, draw.height, source, draw.sigmas)
        second = None
        if draw.hires is not None:
            larger = self._text(draw, draw.hires.width, draw.hires.height)
            second = _second_plan(draw, first, larger)
        self._progress(draw, "encode", 0, 1, 1)
        return Passes(first, second)

    def _text(self, draw: Draw, width: int, height: int) -> Text:
        """The prompts as the model reads them for a picture of that size; from memory when they were read
        before."""
        guided = draw.guidance_scale > 1 or self._model.embeds_guidance
        key = (draw.prompt, draw.negative_prompt, guided, width, height, draw.clip_skip, draw.loras)
        if key not in self._texts:
            self._texts[key] = self._model.encode_text(
                draw.prompt,
                draw.negative_prompt,
                guidance_scale=draw.guidance_scale if guided else None,
                width=width,
                height=height,
                clip_skip=draw.clip_skip,
            )
            while len(self._texts) > _TEXTS_KEPT:
                self._texts.popitem(last=False)
        self._texts.move_to_end(key)
        text = self._texts[key]
        # how strongly the prompt is followed is no part of it, as long as it is followed at all
        return text if text.guidance_scale is None else replace(text, guidance_scale=draw.guidance_scale)

    def _source(self, draw: Draw) -> Source:
        assert draw.image is not None, "check() has seen to it"
        model = self._model
        pixels = as_input(self._spool.read_rgb(draw.image, width=draw.width, height=draw.height))
        strength = DEFAULT_STRENGTH[draw.mode] if draw.strength is None else draw.strength
        if draw.mode == "image":
            return Source(model.posterior(pixels), strength)
        assert draw.mask is not None, "check() has seen to it"
        mask = mask_of(self._spool.read_mask(draw.mask, width=draw.width, height=draw.height))
        of_latents = at_size(mask, *model.latent_shape(draw.width, draw.height)[2:])
        masked = model.posterior(pixels * (mask < 0.5)) if model.sees_masked_picture else None
        return Source(model.posterior(pixels), strength, of_latents, masked)

    def _make(self, draw: Draw, passes: Passes, index: int) -> str:
        """One picture, from its noise to its file."""
        began, seed = self._clock.monotonic(), draw.seeds[index]
        picture = sampling.begin(self._model, passes.first, seed=seed)
        steps = picture.steps
        if passes.second is not None:
            steps += sampling.steps_of(self._model, passes.second)
        self._denoise(draw, picture, index, 0, steps)
        if passes.second is not None:
            before = picture.steps
            second = self._enlarged(draw, passes.second, picture, index, steps)
            picture = sampling.begin(self._model, second, seed=seed)
            self._denoise(draw, picture, index, before, steps)
        self._stop_if_asked(index, steps + 1)
        pixels = self._model.decode(picture.latents)
        return self._hang(draw, index, pixels, began=began)

    def _denoise(self, draw: Draw, picture: Picture, index: int, before: int, steps: int) -> None:
        """All steps of one pass. `before` of the picture's `steps` have been taken in an earlier one."""
        while not picture.finished:
            self._stop_if_asked(index, before + picture.done + 1)
            sampling.advance(self._model, picture)
            preview = self._preview(draw, picture)
            self._progress(draw, "denoise", index, before + picture.done, steps, preview)

    def _enlarged(self, draw: Draw, second: Plan, first: Picture, index: int, steps: int) -> Plan:
        """The second pass with what the first has drawn."""
        assert draw.hires is not None
        if draw.hires.upscaler == "latent":
            return hires.from_latents(self._model, second, first.latents)
        self._stop_if_asked(index, first.steps + 1)
        pixels = self._model.decode(first.latents)
        self._progress(draw, "decode", index, first.steps, steps)
        self._stop_if_asked(index, first.steps + 1)
        return hires.from_pixels(self._model, second, pixels)

    def _preview(self, draw: Draw, picture: Picture) -> str | None:
        if not draw.preview_every or picture.done % draw.preview_every:
            return None
        pixels = preview_pixels(self._model.preview_map(), sampling.believed(picture))
        return self._spool.write("preview", pixels)

    def _stopped(self, draw: Draw, stop: Stopped) -> DrawCancelled:
        stop.__traceback__ = None  # it holds the frames, and the frames hold the arrays
        before = memory.held_bytes()
        memory.release()
        return DrawCancelled(
            job=draw.job,
            picture=stop.picture,
            step=stop.step,
            before_bytes=before,
            after_bytes=memory.held_bytes(),
        )

    def _spare_more(self, draw: Draw) -> bool:
        """Go to the next saving level that spares anything. False when there is none."""
        memory.release()
        if self.saving >= 2:
            return False
        self.saving += 1
        self._notice(
            draw,
            f"Memory ran out; trying once more with saving level {self.saving} ({_WHAT_SAVES[self.saving]}), "
            "which is slower.",
        )
        return True

    def _out_of_memory(self, draw: Draw, evidence: OutOfMemory) -> DrawFailed:
        memory.release()
        asked = evidence.requested_bytes
        figure = (
            "the allocator gave no figures" if asked is None else f"{asked / 2**20:,.0f} MiB were asked for"
        )
        return DrawFailed(
            job=draw.job,
            code="draw.out_of_memory",
            message=f"Memory ran out at {draw.width} x {draw.height} pixels, also at saving level "
            f"{self.saving} of {MAX_SAVING}: {figure}.",
            out_of_memory=evidence,
        )


def _check_here(draw: Draw, model: Model) -> None:
    """Raises `DrawInvalid` for what the image worker can and this one cannot, and for a scheduler that does
    not follow this model."""
    if draw.embeddings:
        raise DrawInvalid(
            "The MLX engine reads no textual inversions.",
            hint="draw with the model itself, in torch",
            field="prompt",
        )
    if draw.vae is not None:
        raise DrawInvalid(
            "The MLX engine draws with the VAE that was converted with the model.",
            hint="leave the VAE out, or draw with the model itself, in torch",
            field="vae",
        )
    model.schedulers.make(draw.scheduler, draw.sigmas, draw.steps)
    if draw.hires is not None and draw.hires.steps is not None:
        model.schedulers.make(draw.scheduler, draw.sigmas, draw.hires.steps)


def _second_plan(draw: Draw, first: Plan, text: Text) -> Plan:
    """What the second passes of all pictures share; its source has no picture yet."""
    assert draw.hires is not None
    return replace(
        first,
        text=text,
        steps=draw.steps if draw.hires.steps is None else draw.hires.steps,
        width=draw.hires.width,
        height=draw.hires.height,
        source=Source(None, draw.hires.strength),
    )
