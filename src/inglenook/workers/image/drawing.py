# SPDX-License-Identifier: Apache-2.0
"""One Draw from its check to its last word."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

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
from inglenook.workers.image import denoise, hires
from inglenook.workers.image.checking import check
from inglenook.workers.image.denoise import Picture, Plan, Source
from inglenook.workers.image.device import Fetched
from inglenook.workers.image.errors import DrawInvalid, Stopped
from inglenook.workers.image.families.family import Family, Text, as_input
from inglenook.workers.image.memory import MEMORY_ERRORS, evidence_of
from inglenook.workers.image.preview import preview_levels
from inglenook.workers.image.schedulers import check_steps
from inglenook.workers.image.spool import Spool
from inglenook.workers.image.studio import DEFAULT_STRENGTH, AnyStudio
from inglenook.workers.image.textcache import TextCache, picture_key, text_key

log = logging.getLogger(__name__)


_WHAT_SAVES = {
    1: "one half of the guidance at a time",
    2: "the VAE in tiles",
    3: "only the working part of the model on the device",
}


@dataclass(frozen=True)
class Passes:
    """What one Draw says about each of its pictures, from noise and, where asked for, once more larger."""

    first: Plan
    second: Plan | None


class Studio(AnyStudio):
    """One loaded model and everything that a Draw needs around it.

    Args:
        family: the model, placed on its device at `saving`.
        saving: the level it was loaded with. It rises when memory runs out, and stays risen: the next
            request is likely to need as much.
        send: sends one message to the server.
        should_stop: asked before every step.
    """

    def __init__(
        self,
        *,
        family: Family,
        saving: SavingLevel,
        spool: Spool,
        send: Callable[[Message], None],
        should_stop: Callable[[], bool],
        clock: Clock,
    ) -> None:
        super().__init__(saving=saving, spool=spool, send=send, should_stop=should_stop, clock=clock)
        self._family = family
        self._begun: Fetched | None = None
        self._texts = TextCache(family.device.torch)

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
                self._family.loras.detach()

    def _whole(self, draw: Draw) -> LastWord:
        began = self._clock.monotonic()
        self._family.device.reset_peak()
        try:
            check(draw, self._family)
            _check_method(draw, self._family)
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
            peak_bytes=self._family.device.peak_bytes(),
        )

    def _attempt(self, draw: Draw, made: list[str]) -> OutOfMemory | None:
        """Draw what is not in `made` yet, adding to it. Returns the evidence when memory ran out.

        The error itself does not leave this function: its traceback would keep every tensor alive.
        """
        try:
            if draw.saving > self.saving:
                self.saving = draw.saving
                self._family.spare(self.saving)
            self._family.loras.apply(draw.loras)
            self._family.vaes.apply(draw.vae)
            with torch.inference_mode():
                passes = self._plan(draw)
                while len(made) < len(draw.seeds):
                    made.append(self._make(draw, passes, len(made)))
        except MEMORY_ERRORS as error:
            evidence = evidence_of(error, self._family.device)
            if evidence is None:
                raise
            log.warning("memory ran out at saving level %d: %s", self.saving, evidence)
            return evidence
        return None

    def _plan(self, draw: Draw) -> Passes:
        """Everything that the pictures of one Draw share."""
        self._stop_if_asked(0, 1)
        text = self._text(draw, draw.width, draw.height)
        if text.dropped_tokens:
            self._notice(
                draw, f"The prompt is too long for this model: its last {text.dropped_tokens} tokens are cut."
            )
        source = self._source(draw) if draw.mode in ("image", "inpaint") else None
        first = Plan(text, draw.scheduler, draw.steps, draw.width, draw.height, source, draw.sigmas)
        second = None
        if draw.hires is not None:
            larger = self._text(draw, draw.hires.width, draw.hires.height)
            second = hires.second_plan(draw, first, larger)
        self._progress(draw, "encode", 0, 1, 1)
        return Passes(first, second)

    def _text(self, draw: Draw, width: int, height: int) -> Text:
        """The prompts as the model reads them for a picture of that size, and the pictures that they speak
        about; from memory when they were read before."""
        family = self._family
        guided = draw.guidance_scale > 1 or family.embeds_guidance
        told: dict[str, Any] = {
            "guidance_scale": draw.guidance_scale if guided else None,
            "width": width,
            "height": height,
        }
        if family.reads_clip:
            told |= {"clip_skip": draw.clip_skip, "embeddings": draw.embeddings}
        names = draw.references
        if draw.mode == "inpaint" and family.max_references and draw.image is not None:
            names = names or (draw.image,)  # the instruction is about the picture that is painted on
        pictures = [self._spool.read_rgb(name) for name in names]

        def read() -> Text:
            if not pictures:
                return family.encode_text(draw.prompt, draw.negative_prompt, **told)
            return family.encode_instruction(draw.prompt, draw.negative_prompt, pictures, **told)

        key = text_key(
            draw,
            told,
            sized=family.text_knows_size,
            scaled=family.embeds_guidance,
            fingerprint=family.loras.text_fingerprint,
            pictures=tuple(map(picture_key, pictures)),
        )
        text = self._texts.recall(key, read)
        # how strongly the prompt is followed is no part of it, as long as it is followed at all
        return text if text.guidance_scale is None else replace(text, guidance_scale=draw.guidance_scale)

    def _source(self, draw: Draw) -> Source:
        assert draw.image is not None, "check() has seen to it"
        family, size = self._family, {"width": draw.width, "height": draw.height}
        pixels = as_input(self._spool.read_rgb(draw.image, **size))
        strength = DEFAULT_STRENGTH[draw.mode] if draw.strength is None else draw.strength
        if draw.mode == "image":
            return Source(family.posterior(pixels), strength)
        assert draw.mask is not None, "check() has seen to it"
        mask = torch.from_numpy(self._spool.read_mask(draw.mask, **size) >= 128).float()[None, None]
        of_latents = torch.nn.functional.interpolate(mask, size=family.latent_shape(**size)[2:])
        return Source(
            family.posterior(pixels),
            strength,
            of_latents.to(family.device.torch),
            mask.to(family.device.torch),
            family.posterior(pixels * (mask < 0.5)) if family.sees_masked_picture else None,
        )

    def _make(self, draw: Draw, passes: Passes, index: int) -> str:
        """One picture, from its noise to its file."""
        began, seed = self._clock.monotonic(), draw.seeds[index]
        picture = denoise.begin(self._family, passes.first, seed=seed)
        steps = picture.steps
        if passes.second is not None:
            steps += denoise.steps_of(self._family, passes.second)
        self._denoise(draw, picture, index, 0, steps)
        if passes.second is not None:
            before = picture.steps
            picture = denoise.begin(
                self._family, self._enlarged(draw, passes.second, picture, index, steps), seed=seed
            )
            self._denoise(draw, picture, index, before, steps)
        self._stop_if_asked(index, steps + 1)
        pixels = self._family.decode(picture.latents)
        return self._hang(draw, index, pixels, began=began)

    def _denoise(self, draw: Draw, picture: Picture, index: int, before: int, steps: int) -> None:
        """All steps of one pass. `before` of the picture's `steps` have been taken in an earlier one."""
        self._begun = None  # a preview of another pass
        while not picture.finished:
            self._stop_if_asked(index, before + picture.done + 1)
            denoise.advance(self._family, picture)
            trouble = self._family.trouble()
            if trouble is not None:
                self._notice(draw, trouble)
            done, preview = before + picture.done, self._preview(draw, picture)
            self._progress(draw, "denoise", index, done, steps, preview)

    def _enlarged(self, draw: Draw, second: Plan, first: Picture, index: int, steps: int) -> Plan:
        """The second pass with what the first has drawn."""
        assert draw.hires is not None
        if draw.hires.upscaler == "latent":
            return hires.from_latents(self._family, second, first.latents)
        self._stop_if_asked(index, first.steps + 1)
        pixels = self._family.decode(first.latents)
        self._progress(draw, "decode", index, first.steps, steps)
        self._stop_if_asked(index, first.steps + 1)
        return hires.from_pixels(self._family, second, pixels)

    def _preview(self, draw: Draw, picture: Picture) -> str | None:
        """The file of a preview that is there. Where the device runs ahead, that is the one of the step
        before: waiting for this step's own would hold the device up."""
        device, begun = self._family.device, None
        if draw.preview_every and picture.done % draw.preview_every == 0:
            begun = device.fetch(preview_levels(self._family.preview_map(), denoise.believed(picture)))
        ready, self._begun = (self._begun, begun) if device.runs_ahead else (begun, None)
        return None if ready is None else self._spool.write("preview", ready.numpy())

    def _stopped(self, draw: Draw, stop: Stopped) -> DrawCancelled:
        stop.__traceback__ = None  # it holds the frames, and the frames hold the tensors
        before = self._family.device.held_bytes()
        self._family.device.release()
        return DrawCancelled(
            job=draw.job,
            picture=stop.picture,
            step=stop.step,
            before_bytes=before,
            after_bytes=self._family.device.held_bytes(),
        )

    def _spare_more(self, draw: Draw) -> bool:
        """Go to the next saving level. False when there is none."""
        self._family.device.release()
        if self.saving >= MAX_SAVING:
            return False
        self.saving += 1
        self._family.spare(self.saving)
        self._notice(
            draw,
            f"Memory ran out; trying once more with saving level {self.saving} ({_WHAT_SAVES[self.saving]}), "
            "which is slower.",
        )
        return True

    def _out_of_memory(self, draw: Draw, evidence: OutOfMemory) -> DrawFailed:
        self._family.device.release()
        return DrawFailed(
            job=draw.job,
            code="draw.out_of_memory",
            message=f"Memory ran out on {self._family.device.torch} at {draw.width} x {draw.height} pixels, "
            f"also at saving level {self.saving} of {MAX_SAVING}: {_figures(evidence)}.",
            out_of_memory=evidence,
        )


def _check_method(draw: Draw, family: Family) -> None:
    scheduler = family.schedulers.make(draw.scheduler, draw.sigmas)
    check_steps(scheduler, draw.steps)
    if draw.hires is not None and draw.hires.steps is not None:
        check_steps(scheduler, draw.hires.steps)


def _figures(evidence: OutOfMemory) -> str:
    """What the allocator said, in MiB."""
    figures = {
        "asked for": evidence.requested_bytes,
        "free": evidence.free_bytes,
        "in all": evidence.total_bytes,
    }
    said = [f"{what} {amount / 2**20:,.0f} MiB" for what, amount in figures.items() if amount is not None]
    return ", ".join(said) if said else "the allocator gave no figures"
