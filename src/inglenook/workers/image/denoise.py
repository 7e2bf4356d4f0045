# SPDX-License-Identifier: Apache-2.0
"""The denoising loop, one step at a time.

    begin(…) → Picture      draw the noise, find the first step
    advance(…)              one question to the model, one move of the scheduler
    believed(…)             what the model takes the finished picture to be, for a preview
    family.decode(latents)  after the last step

All state of one picture in flight is in its `Picture`: nothing is kept in the model between steps, so that
pictures can stop between any two steps, take turns, or one day share a batch.

Random numbers are taken from one generator a picture, on the CPU, always in this order: the encoded
picture, the noise, the encoded masked picture, then whatever the scheduler draws at each step. Diffusers'
own pipelines take them in the same order, which is what makes the two comparable.
"""

import inspect
from dataclasses import dataclass, field
from typing import Any

import torch

from inglenook.workers.image.errors import DrawInvalid
from inglenook.workers.image.families.family import Family, Inpaint, Posterior, Text
from inglenook.workers.image.schedulers import FLOW, Scheduler


@dataclass(frozen=True)
class Source:
    """What a picture is made from; shared by all pictures of one Draw.

    Attributes:
        image: the encoded picture; None where `latents` are given, and before either is known.
        strength: share of the noise schedule that is run on it, in (0, 1].
        mask: float32 (1, 1, height, width) of latents, 1 where to paint; None for image to image.
        mask_pixels: the same in pixels; None where `mask` is.
        masked: the encoded picture with the painted part blanked; None unless the model is shown it.
        latents: of the picture, as the model works on them, instead of `image`.
    """

    image: Posterior | None
    strength: float
    mask: torch.Tensor | None = None
    mask_pixels: torch.Tensor | None = None
    masked: Posterior | None = None
    latents: torch.Tensor | None = None

    def drawn(self, family: Family, generator: torch.Generator) -> torch.Tensor:
        """The picture's latents as the model works on them."""
        if self.latents is not None:
            return self.latents
        assert self.image is not None, "a source is complete before a picture is begun from it"
        return family.scale(self.image.sample(generator))


@dataclass(frozen=True)
class Plan:
    """What one Draw says about each of its pictures.

    Attributes:
        scheduler: a name, or None for the model's own.
        steps: of a full run.
        sigmas: a sigma schedule, or None for the scheduler's own.
    """

    text: Text
    scheduler: str | None
    steps: int
    width: int
    height: int
    source: Source | None = None
    sigmas: str | None = None


@dataclass
class Picture:
    """One picture in flight.

    Attributes:
        timesteps: those that will really be asked, on the device.
        latents: float32 (1, channels, height, width).
        noise: what the latents began with; float32, the same shape.
        kept: latents of the given picture, put back outside the mask after each step; None if nothing is.
        step_options: what this scheduler's `step` takes besides the sample.
        done: steps that are finished.
        last_asked: the model's last input, timestep and answer, for previews.
    """

    text: Text
    scheduler: Scheduler
    timesteps: torch.Tensor
    latents: torch.Tensor
    noise: torch.Tensor
    kept: torch.Tensor | None
    inpaint: Inpaint | None
    step_options: dict[str, Any] = field(default_factory=dict)
    done: int = 0
    last_asked: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None

    @property
    def steps(self) -> int:
        return len(self.timesteps)

    @property
    def finished(self) -> bool:
        return self.done == self.steps


def begin(family: Family, plan: Plan, *, seed: int) -> Picture:
    """Raises `DrawInvalid` when the scheduler does not fit the model or the mode."""
    generator = torch.Generator("cpu").manual_seed(seed)
    scheduler = family.schedulers.make(plan.scheduler, plan.sigmas)
    first = _lay_out(family, plan, scheduler) * scheduler.order
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    timesteps = scheduler.timesteps[first:]
    latents, noise, image = _starting_latents(family, plan, scheduler, timesteps, generator)
    inpaint, kept = _inpainting(family, plan.source, image, generator)
    accepted = inspect.signature(scheduler.step).parameters
    options: dict[str, Any] = {"generator": generator} if "generator" in accepted else {}
    return Picture(
        text=plan.text,
        scheduler=scheduler,
        timesteps=timesteps,
        latents=latents,
        noise=noise,
        kept=kept,
        inpaint=inpaint,
        step_options=options,
    )


def steps_of(family: Family, plan: Plan) -> int:
    """How many steps `begin` will give a picture of this plan; its source need not be complete.

    Raises `DrawInvalid` as `begin` does.
    """
    scheduler = family.schedulers.make(plan.scheduler, plan.sigmas)
    left_out = _lay_out(family, plan, scheduler) * scheduler.order
    return len(scheduler.timesteps) - left_out


def advance(family: Family, picture: Picture) -> None:
    """Take one step. Methods of second order ask the model twice for one of theirs; each counts here."""
    timestep = picture.timesteps[picture.done]
    asked = scaled(picture.scheduler, picture.latents, timestep)
    answer = family.predict(asked, timestep, picture.text, picture.inpaint)
    moved = picture.scheduler.step(
        answer, timestep, picture.latents, **picture.step_options, return_dict=False
    )[0]
    picture.last_asked = (asked, timestep, answer)
    picture.done += 1
    picture.latents = moved if picture.kept is None else _put_back(picture, moved)
    family.device.step_submitted()


def believed(picture: Picture) -> torch.Tensor:
    """The finished latents as the model saw them at its last step: float32 (1, channels, height, width).

    The model is always asked at `timestep` about `a * latents + b * noise` with a² + b² = 1 (a + b = 1 for
    a flow), whichever scheduler is used; so its answer can be solved for the latents without the scheduler.
    """
    assert picture.last_asked is not None, "no step has been taken yet"
    asked, timestep, answer = picture.last_asked
    config = picture.scheduler.config
    prediction = config.get("prediction_type", "epsilon")
    if prediction == FLOW or not hasattr(picture.scheduler, "alphas_cumprod"):
        return asked - answer * (timestep.to(torch.float32) / config["num_train_timesteps"])
    if prediction == "sample":
        return answer
    index = timestep.round().long().clamp(0, config["num_train_timesteps"] - 1)
    # The table goes to the device rather than the index to the host, which would have to wait for it.
    signals = picture.scheduler.alphas_cumprod.to(asked.device, torch.float32)
    signal = signals[index.to(asked.device)].clamp(min=1e-4)
    if prediction == "v_prediction":
        return signal.sqrt() * asked - (1 - signal).sqrt() * answer
    return (asked - (1 - signal).sqrt() * answer) / signal.sqrt()


def scaled(scheduler: Scheduler, latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """The latents as the model expects them at `timestep`."""
    if hasattr(scheduler, "scale_model_input"):
        return scheduler.scale_model_input(latents, timestep)
    return latents


def noised(
    scheduler: Any, latents: torch.Tensor, noise: torch.Tensor, timestep: torch.Tensor
) -> torch.Tensor:
    """The latents at the noise level of `timestep`, (1,): the one that the scheduler asks about next."""
    if hasattr(scheduler, "add_noise"):
        return scheduler.add_noise(latents, noise, timestep)
    return scheduler.scale_noise(latents, timestep, noise)


def _can_begin_from_a_picture(scheduler: Any) -> bool:
    return hasattr(scheduler, "add_noise") or hasattr(scheduler, "scale_noise")


def _lay_out(family: Family, plan: Plan, scheduler: Scheduler) -> int:
    """Set the timesteps. Returns how many steps of the run are left out at its start."""
    if plan.source is not None and family.spreads_steps and _takes_strength(scheduler):
        within = scheduler.config["original_inference_steps"]
        strength = max(plan.source.strength, 1 / within)
        steps = max(1, min(plan.steps, int(within * strength)))
        scheduler.set_timesteps(steps, device=family.device.torch, strength=strength)  # type: ignore[call-arg]
        return 0
    family.set_timesteps(scheduler, plan.steps, width=plan.width, height=plan.height)
    return _first_step(plan)


def _takes_strength(scheduler: Scheduler) -> bool:
    return "strength" in inspect.signature(scheduler.set_timesteps).parameters


def _first_step(plan: Plan) -> int:
    """How many steps of the full run are left out. At least one is taken, however small the strength."""
    if plan.source is None:
        return 0
    taken = max(1, min(int(plan.steps * plan.source.strength), plan.steps))
    return plan.steps - taken


def _starting_latents(
    family: Family, plan: Plan, scheduler: Scheduler, timesteps: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Latents to begin with, the noise in them, and the given picture's latents where they are needed."""
    source = plan.source
    painting = source is not None and source.mask is not None
    only_noise = source is None or (painting and source.strength == 1.0)
    image: torch.Tensor | None = None
    unused = only_noise and family.sees_masked_picture and not family.samples_picture_first
    if source is not None and not unused:
        image = source.drawn(family, generator)
    shape = family.latent_shape(plan.width, plan.height)
    noise = torch.randn(shape, generator=generator).to(family.device.torch)
    if only_noise:
        # a flow ends in noise of spread 1, and its schedulers do not say so
        return noise * getattr(scheduler, "init_noise_sigma", 1.0), noise, image
    assert image is not None
    if not _can_begin_from_a_picture(scheduler):
        raise DrawInvalid(
            f"The model's own scheduler ({type(scheduler).__name__}) cannot begin from a picture.",
            hint=f"choose one of {', '.join(family.schedulers.usable())}",
            field="scheduler",
        )
    return noised(scheduler, image, noise, timesteps[:1]), noise, image


def _inpainting(
    family: Family, source: Source | None, image: torch.Tensor | None, generator: torch.Generator
) -> tuple[Inpaint | None, torch.Tensor | None]:
    """What the model is shown of the mask, and what the loop puts back by itself."""
    if source is None or source.mask is None or source.mask_pixels is None:
        return None, None
    if family.sees_masked_picture:
        assert source.masked is not None
        masked = family.scale(source.masked.sample(generator))
        return Inpaint(source.mask, source.mask_pixels, masked), None
    if source.image is not None and source.image.std is not None:
        source.image.draw(generator)  # keeps the order of random numbers; see the module's docstring
    return Inpaint(source.mask, source.mask_pixels, None), image


def _put_back(picture: Picture, moved: torch.Tensor) -> torch.Tensor:
    """Outside the mask, the given picture at the noise level that comes next."""
    assert picture.kept is not None
    assert picture.inpaint is not None
    kept = picture.kept
    if not picture.finished:
        following = picture.timesteps[picture.done : picture.done + 1]
        kept = noised(picture.scheduler, kept, picture.noise, following)
    mask = picture.inpaint.mask
    return (1 - mask) * kept + mask * moved
