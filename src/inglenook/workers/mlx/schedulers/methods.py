# SPDX-License-Identifier: Apache-2.0
"""What becomes of the latents at one step. Latents are float32 and of any shape.

A method asks the model at `timesteps[i]` about latents in which the noise is as strong as its level `i`.
Which it is asked about is said by two conventions: the latents keep their variance (`a·x + b·noise`, a² + b²
= 1; along a flow a + b = 1), or the noise is added on top (`x + σ·noise`), and the model's input is scaled
down before.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

Draw = Callable[[], np.ndarray]
"""Fresh noise of the latents' shape."""


@dataclass
class Method:
    """One run. It has state: one picture, one method.

    Attributes:
        timesteps: to ask at, all of a full run.
        predicts: `epsilon`, `v_prediction`, `sample` or `flow_prediction`.
        spread: standard deviation of the noise to begin with.
    """

    timesteps: np.ndarray
    predicts: str
    spread: float = 1.0

    def scaled(self, latents: np.ndarray, index: int) -> np.ndarray:
        """The model's input."""
        del index
        return latents

    def noised(self, latents: np.ndarray, noise: np.ndarray, index: int) -> np.ndarray:
        """Latents without noise, at the noise level that is asked about at `index`."""
        kept, rest = self.mixed(index)
        return _single(kept * latents + rest * noise)

    def mixed(self, index: int) -> tuple[float, float]:
        """Factors of the latents and of the noise in them, as the method keeps them."""
        raise NotImplementedError

    def step(self, answer: np.ndarray, latents: np.ndarray, index: int, draw: Draw) -> np.ndarray:
        """The latents after the step at `index`, whose answer this is."""
        raise NotImplementedError


def _single(x: np.ndarray) -> np.ndarray:
    return np.asarray(x, np.float32)


def clean(predicts: str, answer: np.ndarray, latents: np.ndarray, kept: float, rest: float) -> np.ndarray:
    """What the model takes the finished latents to be, of latents that are `kept·x + rest·noise`."""
    match predicts:
        case "epsilon":
            return (latents - rest * answer) / kept
        case "v_prediction":
            return kept * latents - rest * answer
        case "flow_prediction":
            return latents - rest * answer
        case _:
            return answer


# ── noise on top ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Euler(Method):
    """Euler's steps (Karras et al. 2022); ancestral ones go further down and put fresh noise on top.

    Attributes:
        levels: σ at each step, and after the last one.
    """

    levels: np.ndarray = field(default_factory=lambda: np.zeros(1))
    ancestral: bool = False

    def scaled(self, latents: np.ndarray, index: int) -> np.ndarray:
        return _single(latents / np.sqrt(self.levels[index] ** 2 + 1))

    def mixed(self, index: int) -> tuple[float, float]:
        return 1.0, float(self.levels[index])

    def step(self, answer: np.ndarray, latents: np.ndarray, index: int, draw: Draw) -> np.ndarray:
        here, there = float(self.levels[index]), float(self.levels[index + 1])
        away = self._away(answer, latents, here)
        if not self.ancestral:
            return _single(latents + away * (there - here))
        fresh = there * np.sqrt(max(here**2 - there**2, 0.0)) / here
        down = np.sqrt(max(there**2 - fresh**2, 0.0))
        return _single(latents + away * (down - here) + draw() * fresh)

    def _away(self, answer: np.ndarray, latents: np.ndarray, level: float) -> np.ndarray:
        """The direction in which the noise lies."""
        if self.predicts == "epsilon":
            return answer
        root = np.sqrt(level**2 + 1)
        found = answer if self.predicts == "sample" else latents / root**2 - answer * level / root
        return (latents - found) / level


@dataclass
class FlowEuler(Method):
    """Along a straight flow (Lipman et al. 2022; Esser et al. 2024)."""

    levels: np.ndarray = field(default_factory=lambda: np.zeros(1))

    def mixed(self, index: int) -> tuple[float, float]:
        return 1 - float(self.levels[index]), float(self.levels[index])

    def step(self, answer: np.ndarray, latents: np.ndarray, index: int, draw: Draw) -> np.ndarray:
        del draw
        return _single(latents + float(self.levels[index + 1] - self.levels[index]) * answer)


# ── variance kept ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class _ByTable(Method):
    """Attributes:
    kept: ᾱ of every timestep of the training. last: ᾱ after the last step.
    apart: timesteps between two steps. clip: the finished latents are held within this; None leaves them.
    """

    kept: np.ndarray = field(default_factory=lambda: np.ones(1))
    last: float = 1.0
    apart: int = 1
    clip: float | None = None

    def at(self, timestep: int) -> float:
        return float(self.kept[timestep]) if timestep >= 0 else self.last

    def mixed(self, index: int) -> tuple[float, float]:
        kept = self.at(int(self.timesteps[index]))
        return float(np.sqrt(kept)), float(np.sqrt(1 - kept))

    def believed(self, answer: np.ndarray, latents: np.ndarray, index: int) -> np.ndarray:
        found = clean(self.predicts, answer, latents, *self.mixed(index))
        return found if self.clip is None else np.clip(found, -self.clip, self.clip)


class Ddim(_ByTable):
    """Deterministic (Song et al. 2020, formula 12, η = 0)."""

    def step(self, answer: np.ndarray, latents: np.ndarray, index: int, draw: Draw) -> np.ndarray:
        del draw
        kept, rest = self.mixed(index)
        found = self.believed(answer, latents, index)
        match self.predicts:
            case "epsilon":
                noise = answer
            case "v_prediction":
                noise = kept * answer + rest * latents
            case _:
                noise = (latents - kept * found) / rest
        following = self.at(int(self.timesteps[index]) - self.apart)
        return _single(np.sqrt(following) * found + np.sqrt(1 - following) * noise)


class Lcm(_ByTable):
    """Latent consistency: each answer is a finished picture, noise is put back (Luo et al. 2023)."""

    data = 0.5
    stretch = 10.0

    def step(self, answer: np.ndarray, latents: np.ndarray, index: int, draw: Draw) -> np.ndarray:
        time = float(self.timesteps[index]) * self.stretch
        skip, out = self.data**2 / (time**2 + self.data**2), time / np.sqrt(time**2 + self.data**2)
        found = out * self.believed(answer, latents, index) + skip * latents
        if index + 1 >= len(self.timesteps):
            return _single(found)
        kept, rest = self.mixed(index + 1)
        return _single(kept * found + rest * draw())


@dataclass
class Pndm(_ByTable):
    """Pseudo numerical methods, the linear multistep part (Liu et al. 2022): its second timestep is asked
    twice."""

    answers: list[np.ndarray] = field(default_factory=list)
    begun: np.ndarray | None = None
    taken: int = 0

    def step(self, answer: np.ndarray, latents: np.ndarray, index: int, draw: Draw) -> np.ndarray:
        del draw
        here = int(self.timesteps[index])
        following = here - self.apart
        if self.taken == 1:  # the first step once more, by the mean of both its ends
            here, following = here + self.apart, here
            answer = (answer + self.answers[-1]) / 2
            assert self.begun is not None
            latents, self.begun = self.begun, None
        else:
            self.answers = [*self.answers[-3:], answer]
            answer = self._extrapolated()
        if self.taken == 0:
            self.begun = latents
        self.taken += 1
        return self._moved(answer, latents, here, following)

    def _extrapolated(self) -> np.ndarray:
        """Adams and Bashforth's formulas."""
        known = self.answers[::-1]
        match len(known):
            case 1:
                return known[0]
            case 2:
                return (3 * known[0] - known[1]) / 2
            case 3:
                return (23 * known[0] - 16 * known[1] + 5 * known[2]) / 12
            case _:
                return (55 * known[0] - 59 * known[1] + 37 * known[2] - 9 * known[3]) / 24

    def _moved(self, answer: np.ndarray, latents: np.ndarray, here: int, following: int) -> np.ndarray:
        """Formula 9 of the paper, which is DDIM's step."""
        kept, then = self.at(here), self.at(following)
        if self.predicts == "v_prediction":
            answer = np.sqrt(kept) * answer + np.sqrt(1 - kept) * latents
        found = (latents - np.sqrt(1 - kept) * answer) / np.sqrt(kept)
        return _single(np.sqrt(then) * found + np.sqrt(1 - then) * answer)


@dataclass
class Dpm(Method):
    """DPM-Solver++, first and second order, multistep, midpoint (Lu et al. 2022); `fresh` is its stochastic
    form.

    Attributes:
        levels: σ at each step and after the last one; along a flow the noise's own factor.
        order: 1 or 2. short_last: the last step is of first order.
    """

    levels: np.ndarray = field(default_factory=lambda: np.zeros(1))
    order: int = 2
    fresh: bool = False
    short_last: bool = True
    before: np.ndarray | None = None

    def mixed(self, index: int) -> tuple[float, float]:
        level = float(self.levels[index])
        if self.predicts == "flow_prediction":
            return 1 - level, level
        kept = 1 / np.sqrt(level**2 + 1)
        return float(kept), float(level * kept)

    def step(self, answer: np.ndarray, latents: np.ndarray, index: int, draw: Draw) -> np.ndarray:
        found = clean(self.predicts, answer, latents, *self.mixed(index))
        before, self.before = self.before, found
        (kept, rest), (_, from_rest) = self.mixed(index + 1), self.mixed(index)
        here = self._log_ratio(index)
        ahead = self._log_ratio(index + 1) - here  # infinite at the last step
        shrink = float(np.exp(-ahead))
        slope: np.ndarray | float = 0.0
        last = index == len(self.timesteps) - 1 and self.short_last
        if self.order > 1 and before is not None and not last:
            back = here - self._log_ratio(index - 1)
            slope = (ahead / back) * (found - before)
        if not self.fresh:
            return _single((rest / from_rest) * latents + kept * (1 - shrink) * (found + 0.5 * slope))
        moved = (rest / from_rest * shrink) * latents + kept * (1 - shrink**2) * (found + 0.5 * slope)
        return _single(moved + rest * np.sqrt(1 - shrink**2) * draw())

    def _log_ratio(self, index: int) -> float:
        kept, rest = self.mixed(index)
        with np.errstate(divide="ignore"):
            return float(np.log(kept) - np.log(rest))
