# SPDX-License-Identifier: Apache-2.0
"""The denoising loop, one step at a time.

    begin(…) → Picture      draw the noise, find the first step
    advance(…)              one question to the model, one move of the scheduler
    believed(…)             what the model takes the finished picture to be, for a preview

Random numbers are taken from one generator a picture in the order of the image worker's `denoise`: the
encoded picture, the noise, the encoded masked picture, then whatever the scheduler draws at each step. That
is what makes the pictures of the two the same.
"""

from dataclasses import dataclass

import numpy as np

from inglenook.workers.mlx.model import Inpaint, Model, Posterior, Text
from inglenook.workers.mlx.noise import Noise
from inglenook.workers.mlx.schedulers.methods import Method, clean


@dataclass(frozen=True)
class Source:
    """What a picture is made from; shared by all pictures of one Draw.

    Attributes:
        image: the encoded picture; None before it is known.
        strength: share of the noise schedule that is run on it, in (0, 1].
        mask: float32 (1, 1, height, width) of latents, 1 where to paint; None for image to image.
        masked: the encoded picture with the painted part blanked; None unless the model is shown it.
        latents: of the picture, as the model works on them, instead of `image`.
    """

    image: Posterior | None
    strength: float
    mask: np.ndarray | None = None
    masked: Posterior | None = None
    latents: np.ndarray | None = None

    def drawn(self, model: Model, random: Noise) -> np.ndarray:
        """The picture's latents as the model works on them."""
        if self.latents is not None:
            return self.latents
        assert self.image is not None, "a source is complete before a picture is begun from it"
        return model.scale(self.image.sample(random))


@dataclass(frozen=True)
class Plan:
    """What one Draw says about each of its pictures.

    Attributes:
        scheduler: a name, or None for the model's own. steps: of a full run.
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
        first: steps of the full run that are left out.
        latents, noise: float32 (1, channels, height, width).
        kept: latents of the given picture, put back outside the mask after each step; None if nothing is.
        asked: the model's last input, the step it was asked at and its answer, for previews.
    """

    text: Text
    method: Method
    first: int
    latents: np.ndarray
    noise: np.ndarray
    random: Noise
    kept: np.ndarray | None
    inpaint: Inpaint | None
    done: int = 0
    asked: tuple[np.ndarray, int, np.ndarray] | None = None

    @property
    def steps(self) -> int:
        return len(self.method.timesteps) - self.first

    @property
    def finished(self) -> bool:
        return self.done == self.steps


def begin(model: Model, plan: Plan, *, seed: int) -> Picture:
    """Raises `DrawInvalid` when the scheduler does not fit the model or the mode."""
    random = Noise(seed)
    method, first = _laid_out(model, plan)
    latents, noise, image = _starting_latents(model, plan, method, first, random)
    inpaint, kept = _inpainting(model, plan.source, image, random)
    return Picture(plan.text, method, first, latents, noise, random, kept, inpaint)


def steps_of(model: Model, plan: Plan) -> int:
    """How many steps `begin` will give a picture of this plan; its source need not be complete."""
    method, first = _laid_out(model, plan)
    return len(method.timesteps) - first


def advance(model: Model, picture: Picture) -> None:
    """Take one step."""
    index = picture.first + picture.done
    method = picture.method
    given = method.scaled(picture.latents, index)
    answer = model.predict(given, float(method.timesteps[index]), picture.text, picture.inpaint)
    moved = method.step(answer, picture.latents, index, lambda: picture.random.normal(picture.latents.shape))
    picture.asked = (given, index, answer)
    picture.done += 1
    picture.latents = moved if picture.kept is None else _put_back(picture, moved)


def believed(picture: Picture) -> np.ndarray:
    """The finished latents as the model saw them at its last step.

    What it is asked about is `kept·x + rest·noise` with kept² + rest² = 1, or with kept + rest = 1 along a
    flow, whatever the method keeps.
    """
    assert picture.asked is not None, "no step has been taken yet"
    given, index, answer = picture.asked
    kept, rest = picture.method.mixed(index)
    length = 1.0 if picture.method.predicts == "flow_prediction" else float(np.hypot(kept, rest))
    return clean(picture.method.predicts, answer, given, max(kept / length, 1e-2), rest / length)


def _laid_out(model: Model, plan: Plan) -> tuple[Method, int]:
    """The method, and how many steps of its run are left out."""
    within = model.schedulers.spreads_within(plan.scheduler) if model.spreads_steps else None
    if plan.source is not None and within is not None:
        strength = max(plan.source.strength, 1 / within)
        steps = max(1, min(plan.steps, int(within * strength)))
        return model.schedulers.make(plan.scheduler, plan.sigmas, steps, strength=strength), 0
    method = model.schedulers.make(plan.scheduler, plan.sigmas, plan.steps)
    if plan.source is None:
        return method, 0
    taken = max(1, min(int(plan.steps * plan.source.strength), plan.steps))
    return method, plan.steps - taken


def _starting_latents(
    model: Model, plan: Plan, method: Method, first: int, random: Noise
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Latents to begin with, the noise in them, and the given picture's latents where they are needed."""
    source = plan.source
    painting = source is not None and source.mask is not None
    only_noise = source is None or (painting and source.strength == 1.0)
    image: np.ndarray | None = None
    if source is not None and not (only_noise and model.sees_masked_picture):
        image = source.drawn(model, random)
    noise = random.normal(model.latent_shape(plan.width, plan.height))
    if only_noise:
        return noise * np.float32(method.spread), noise, image
    assert image is not None
    return method.noised(image, noise, first), noise, image


def _inpainting(
    model: Model, source: Source | None, image: np.ndarray | None, random: Noise
) -> tuple[Inpaint | None, np.ndarray | None]:
    """What the model is shown of the mask, and what the loop puts back by itself."""
    if source is None or source.mask is None:
        return None, None
    if model.sees_masked_picture:
        assert source.masked is not None
        return Inpaint(source.mask, model.scale(source.masked.sample(random))), None
    if source.image is not None and source.image.std is not None:
        random.normal(
            source.image.mean.shape
        )  # keeps the order of random numbers; see the module's docstring
    return Inpaint(source.mask, None), image


def _put_back(picture: Picture, moved: np.ndarray) -> np.ndarray:
    """Outside the mask, the given picture at the noise level that comes next."""
    assert picture.kept is not None
    assert picture.inpaint is not None
    kept = picture.kept
    if not picture.finished:
        kept = picture.method.noised(kept, picture.noise, picture.first + picture.done)
    mask = picture.inpaint.mask
    return np.asarray((1 - mask) * kept + mask * moved, np.float32)
